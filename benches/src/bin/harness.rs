//! End-to-end figures of the gateway as JSON: `scripts/bench` builds and calls it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures go to standard output, progress to standard error"
)]

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use longshore_benches::scenarios::{Amount, backlog, crash, http, latency, slow};
use longshore_benches::{report, setup};
use serde_json::Value;

/// Measures the gateway from outside, each scenario with a database and a queue of its own.
///
/// Prints a JSON array to standard output, one object for each scenario, and how it is getting on to standard error.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything when none is named.
    scenarios: Vec<Scenario>,
    /// Events of `backlog` and `http`.
    #[arg(long, default_value_t = 50_000)]
    events: u32,
    /// Seconds of load of `latency`, `crash` and `slow`.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// The broker events come from.
    #[arg(long, env = "BROKER", value_enum, default_value_t = Broker::Rabbitmq)]
    broker: Broker,
    /// Where the figures are written as well.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A full queue, drained.
    Backlog,
    /// 64 producers by HTTP.
    Http,
    /// 200 events per second, end to end.
    Latency,
    /// `kill -9` under load.
    Crash,
    /// One hanging endpoint beside ten healthy ones.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broker {
    Rabbitmq,
}

impl Scenario {
    async fn run(self, amount: Amount) -> anyhow::Result<Value> {
        match self {
            Self::Backlog => backlog::run(amount).await,
            Self::Http => http::run(amount).await,
            Self::Latency => latency::run(amount).await,
            Self::Crash => crash::run(amount).await,
            Self::Slow => slow::run(amount).await,
        }
    }
}

// One thread: load and sink cost least that way, and there are few cores to share.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let amount = Amount { events: arguments.events, seconds: arguments.seconds };
    let Broker::Rabbitmq = arguments.broker;
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    let mut figures = Vec::new();
    for scenario in scenarios {
        eprintln!("{scenario:?}");
        let surroundings = serde_json::json!({ "surroundings": setup::surroundings().await? });
        let measured = Box::pin(scenario.run(amount)).await.with_context(|| format!("{scenario:?}"))?;
        let measured = report::merge([measured, surroundings]);
        eprintln!("{measured:#}");
        figures.push(measured);
    }
    let figures = format!("{:#}\n", Value::Array(figures));
    if let Some(out) = arguments.out {
        std::fs::write(&out, &figures).with_context(|| format!("cannot write `{}`", out.display()))?;
    }
    print!("{figures}");
    Ok(())
}
