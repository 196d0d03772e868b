//! The demo's driver; `scripts/demo` is what people run.

#![expect(clippy::print_stdout, reason = "the demo talks to people")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use longshore_benches::demo::channel::{Broker, Channel};
use longshore_benches::demo::run::Places;
use longshore_benches::demo::{plan, prepare, receive, run};
use longshore_testkit::receiver::Receiver;
use tokio::signal::unix::{SignalKind, signal};

/// Publishes, receives and verifies; called by `scripts/demo`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Postgres' URL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    postgres: String,
    /// Name of this run's database.
    #[arg(long, env = "DEMO_NAME")]
    name: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes database and queue, writes `DIR/demo.yaml` and then `DIR/database`, its URL; publishes once the gateway is
    /// ready, receives, judges and writes `DIR/verdict`. With `--keep` it goes on receiving until it is ended.
    Run {
        dir: PathBuf,
        #[arg(long, env = "DEMO_BROKER", value_enum)]
        broker: Broker,
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        places: Addresses,
    },
    /// Removes the database.
    Clean,
}

#[derive(Debug, clap::Args)]
struct Addresses {
    /// Where the receiver listens.
    #[arg(long, env = "DEMO_RECEIVER")]
    receiver: SocketAddr,
    /// Where the gateway takes events.
    #[arg(long, env = "LONGSHORE__HTTP__BIND")]
    gateway: SocketAddr,
    /// Where it serves health and metrics.
    #[arg(long, env = "LONGSHORE__OPS__BIND")]
    ops: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, postgres, name } = Arguments::parse();
    match command {
        Command::Clean => {
            prepare::clean(&name, &postgres).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { dir, broker, keep, places } => {
            let mut ended = signal(SignalKind::terminate())?;
            let channel = Channel::open(broker).await?;
            let database = prepare::database(&name, &postgres).await?;
            let is_well = tokio::select! {
                is_well = Box::pin(play(&dir, &channel, database, &places, keep)) => is_well?,
                _ = ended.recv() => true,
            };
            channel.close().await;
            Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

async fn play(
    dir: &Path,
    channel: &Channel,
    database: String,
    addresses: &Addresses,
    keep: bool,
) -> anyhow::Result<bool> {
    let Addresses { receiver, gateway, ops } = *addresses;
    std::fs::write(dir.join("demo.yaml"), prepare::resources(channel, receiver)?)?;
    write_whole(&dir.join("database"), &database)?;
    let receiver = Receiver::start_at(receiver).await;
    let is_well = run::run(&Places { gateway, ops, database }, channel, &receiver).await?;
    if keep && is_well {
        println!("{}", plan::hints(gateway, ops, channel));
        write_whole(&dir.join("verdict"), "well")?;
        let mut log = std::fs::File::create(dir.join("webhooks.log")).context("the log of webhooks")?;
        receive::write_down(&receiver, receiver.count(), &mut log).await?;
    }
    write_whole(&dir.join("verdict"), if is_well { "well" } else { "failed" })?;
    Ok(is_well)
}

/// Whoever waits for the file finds it complete.
fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, path).with_context(|| format!("`{}` cannot be written", path.display()))
}
