//! `longshore config`: is it right, and what is it.

use anyhow::bail;
use longshore_store::Store;

use crate::cli::ConfigCommand;
use crate::commands::{block_on, open_store};
use crate::config::load::load;
use crate::config::print::print;
use crate::config::{Config, Inputs, validate};
use crate::failure::say;
use crate::sources::check::{Candidate, check};
use crate::sources::declared::stored_broker;

/// Checks or prints.
pub(super) fn run(command: &ConfigCommand, inputs: &Inputs) -> anyhow::Result<()> {
    let loaded = load(inputs)?;
    match command {
        ConfigCommand::Print => say(print(&loaded).trim_end()),
        ConfigCommand::Check { connect } => {
            validate::require(&loaded.config, true)?;
            if *connect {
                block_on(connections(&loaded.config))?;
            }
            say("ok");
        }
    }
    Ok(())
}

/// Tries everything before it complains, so that one run names every fault.
async fn connections(config: &Config) -> anyhow::Result<()> {
    // The brokers' clients that speak TLS ask for it; see `runtime::serve`.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let in_file = config.sources.iter().map(|source| Candidate {
        name: format!("source `{}` (configuration file)", source.name),
        broker: source.broker(),
    });
    let mut candidates: Vec<Candidate> = in_file.collect();
    let mut problems = Vec::new();
    match stored(config).await {
        Ok(stored) => {
            say("database: ok");
            candidates.extend(stored);
        }
        Err(problem) => problems.push(format!("\n  - database: {problem:#}")),
    }
    for checked in check(candidates).await {
        match checked.outcome {
            Ok(_) => say(&checked.lines()),
            Err(_) => problems.push(format!("\n  - {}", checked.lines())),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("not everything can be used:{}", problems.concat());
}

/// The sources of the database, which must have its whole schema.
async fn stored(config: &Config) -> anyhow::Result<Vec<Candidate>> {
    let store = open_store(config).await?;
    let stored = stored_in(&store).await;
    store.close().await;
    stored
}

pub(super) async fn stored_in(store: &Store) -> anyhow::Result<Vec<Candidate>> {
    if !store.migrations().await?.iter().all(|migration| migration.is_applied) {
        bail!("migrations are pending; run `longshore migrate up`");
    }
    let resources = store.load_config().await?;
    let enabled = resources.sources.iter().filter(|record| !record.is_disabled);
    Ok(enabled
        .map(|record| {
            let project = resources.snapshot.project(record.project).map_or("?", |project| &project.name);
            Candidate { name: format!("source `{project}/{}`", record.name), broker: stored_broker(record) }
        })
        .collect())
}
