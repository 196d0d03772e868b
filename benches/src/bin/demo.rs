//! The demo's driver; `scripts/demo` is what people run.

#![expect(clippy::print_stdout, reason = "the demo talks to people")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use longshore_benches::demo::run::Places;
use longshore_benches::demo::{plan, prepare, receive, run};

/// Publishes, receives and verifies; called by `scripts/demo`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Postgres' URL.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    postgres: String,
    /// RabbitMQ's URL.
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    broker: String,
    /// Name of this run's database and queue.
    #[arg(long, env = "DEMO_NAME")]
    name: String,
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes database and queue, writes `DIR/demo.yaml`, prints the database's URL.
    Prepare { dir: PathBuf },
    /// Publishes, receives, judges.
    Run {
        /// The gateway's database.
        #[arg(long, env = "LONGSHORE__DATABASE__URL", hide_env_values = true)]
        database: String,
    },
    /// Receives and prints until ended.
    Receive,
    /// Prints commands to play with.
    Hints,
    /// Removes database and queue.
    Clean,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { command, postgres, broker, name, receiver, gateway, ops } = Arguments::parse();
    match command {
        Command::Prepare { dir } => {
            println!("{}", prepare::prepare(&dir, &name, &postgres, &broker, receiver).await?);
        }
        Command::Run { database } => {
            let places = Places { gateway, ops, receiver, database, broker, queue: name };
            if !Box::pin(run::run(&places)).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Receive => receive::receive(receiver).await,
        Command::Hints => print!("{}", plan::hints(gateway, ops, &broker, &name)),
        Command::Clean => prepare::clean(&name, &postgres, &broker).await?,
    }
    Ok(ExitCode::SUCCESS)
}
