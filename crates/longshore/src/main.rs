//! The `longshore` program: configuration, commands, lifecycle. The only place where all crates meet.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | what can be configured, read from its layers |
//! | [`commands`] | one file per command |
//! | [`apply`] | resource files: read, compared, shown |
//! | [`sources`] | what is declared, what runs, how it is; the one `match` over the kinds of brokers |
//! | [`watermarks`] | where the stored events of a log end |
//! | [`lifecycle`] | tasks with owners, signals, the two-phase stop |
//! | [`supervisor`] | keeps running what is declared |
//! | [`telemetry`], [`ops`] | logs, metrics and health |
//! | [`runtime`] | what `serve` starts and how its parts are joined |
//! | [`data`] | the data plane's tasks |
//! | [`gate`] | who may post events |
//! | [`public_keys`] | what receivers verify `v1a` signatures with |
//! | [`notices`] | meta events and alerts on their way out |
//! | [`leadership`] | what one process does for all |
//! | [`maintenance`] | partitions, retention and whatever else is upkeep |

mod apply;
mod cli;
mod commands;
mod config;
mod control;
mod data;
mod egress;
mod failure;
mod gate;
mod inbox;
mod leadership;
mod lifecycle;
mod maintenance;
mod notices;
mod ops;
mod public_keys;
mod registration;
mod replays;
mod runtime;
mod sources;
mod supervisor;
mod telemetry;
mod watermarks;

use std::env;
use std::process::ExitCode;

use clap::Parser;

/// Steadier memory than the system's allocator under many small bodies.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let env = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let inputs = cli.inputs(env.collect());
    match commands::run(cli.command, &inputs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
