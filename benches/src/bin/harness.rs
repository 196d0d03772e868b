//! End-to-end figures of the gateway as JSON: `scripts/bench` builds and calls it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures go to standard output, progress to standard error"
)]

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use longshore_benches::scenarios::{
    Amount, backlog, crash, endpoints, fanout, http, isolation, latency, rows, slow, waiting,
};
use longshore_benches::{report, setup};
use longshore_testkit::broker::BrokerKind;
use serde_json::Value;

/// Measures the gateway from outside, each scenario with a database and a queue of its own.
///
/// Prints a JSON array to standard output, one object for each scenario, and how it is getting on to standard error.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; everything when none is named.
    scenarios: Vec<Scenario>,
    /// Events of `backlog`, `http` and `batch`; deliveries of `endpoints` and `fanout`.
    #[arg(long, default_value_t = 50_000)]
    events: u32,
    /// Messages that wait at the broker in `waiting`.
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u32,
    /// Events of `rows`, each with a delivery.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u32,
    /// Seconds of load of `latency`, `crash`, `slow` and `isolation`.
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
    /// 32 producers by HTTP, each with batches of a hundred.
    Batch,
    /// 200 events per second, end to end.
    Latency,
    /// `kill -9` under load.
    Crash,
    /// A full queue for a thousand endpoints, all healthy and beside fifty that hang and fifty that fail.
    Endpoints,
    /// One event for a thousand endpoints, again and again.
    Fanout,
    /// Nine hundred healthy endpoints beside fifty that hang and fifty that fail.
    Isolation,
    /// One hanging endpoint beside ten healthy ones.
    Slow,
    /// Memory while a million messages wait at the broker.
    Waiting,
    /// Lists of the public API over ten million rows.
    Rows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broker {
    Rabbitmq,
    Kafka,
    Sqs,
    Pubsub,
}

impl Broker {
    const fn kind(self) -> BrokerKind {
        match self {
            Self::Rabbitmq => BrokerKind::RabbitMq,
            Self::Kafka => BrokerKind::Kafka,
            Self::Sqs => BrokerKind::Sqs,
            Self::Pubsub => BrokerKind::PubSub,
        }
    }
}

impl Scenario {
    async fn run(self, kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
        match self {
            Self::Backlog => backlog::run(kind, amount).await,
            Self::Http => http::run(kind, amount).await,
            Self::Batch => http::run_batch(kind, amount).await,
            Self::Latency => latency::run(kind, amount).await,
            Self::Crash => crash::run(kind, amount).await,
            Self::Endpoints => endpoints::run(kind, amount).await,
            Self::Fanout => fanout::run(kind, amount).await,
            Self::Isolation => isolation::run(kind, amount).await,
            Self::Slow => slow::run(kind, amount).await,
            Self::Waiting => waiting::run(kind, amount).await,
            Self::Rows => rows::run(kind, amount).await,
        }
    }
}

// One thread: load and sink cost least that way, and there are few cores to share.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Arguments { events, waiting, rows, seconds, .. } = arguments;
    let (amount, kind) = (Amount { events, waiting, rows, seconds }, arguments.broker.kind());
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::value_variants(),
        some => some,
    };
    let mut figures = Vec::new();
    for scenario in scenarios {
        eprintln!("{scenario:?}");
        let surroundings = serde_json::json!({ "surroundings": setup::surroundings(kind).await? });
        let measured = Box::pin(scenario.run(kind, amount)).await.with_context(|| format!("{scenario:?}"))?;
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
