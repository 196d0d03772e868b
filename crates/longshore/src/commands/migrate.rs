//! `longshore migrate`: the schema.

use anyhow::{Context, bail};

use crate::cli::MigrateCommand;
use crate::commands::open_schema;
use crate::config::Config;
use crate::failure::say;

/// Applies or lists migrations.
pub(super) async fn run(command: &MigrateCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    let before = store.migrations().await.context("cannot read the schema's version")?;
    let pending: Vec<_> = before.iter().filter(|migration| !migration.is_applied).collect();
    match command {
        MigrateCommand::Up => {
            store.migrate().await.context("cannot migrate")?;
            for migration in &pending {
                say(&format!("applied {:04} {}", migration.version, migration.description));
            }
            if pending.is_empty() {
                say("nothing to do: the schema is up to date");
            }
        }
        MigrateCommand::Status => {
            for migration in &before {
                let state = if migration.is_applied { "applied" } else { "pending" };
                say(&format!("{:04} {state:<8} {}", migration.version, migration.description));
            }
            if !pending.is_empty() {
                bail!("{} migrations are pending; run `longshore migrate up`", pending.len());
            }
        }
    }
    store.close().await;
    Ok(())
}
