//! `longshore config`: is it right, and what is it.

use anyhow::bail;

use crate::cli::ConfigCommand;
use crate::commands::{block_on, open_store};
use crate::config::load::load;
use crate::config::print::print;
use crate::config::{Config, Inputs, validate};
use crate::failure::say;
use crate::sources::Broker;

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
    let mut problems = Vec::new();
    match open_store(config).await {
        Ok(store) => {
            match store.migrations().await {
                Ok(migrations) if migrations.iter().all(|migration| migration.is_applied) => {}
                Ok(_) => {
                    problems.push("database: migrations are pending; run `longshore migrate up`".to_owned());
                }
                Err(error) => problems.push(format!("database: {error}")),
            }
            store.close().await;
        }
        Err(error) => problems.push(format!("database: {error:#}")),
    }
    for source in &config.sources {
        let broker = Broker::parse(&source.kind, source.rabbitmq.as_ref().map(|table| &table.0));
        let probed = match broker {
            Ok(broker) => broker.probe().await,
            Err(problem) => Err(problem),
        };
        if let Err(problem) = probed {
            problems.push(format!("source `{}`: {problem}", source.name));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("not everything can be used:\n  - {}", problems.join("\n  - "))
}
