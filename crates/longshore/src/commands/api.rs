//! `longshore api`: the public API's document.

use longshore_api::v1::api_document;

use crate::cli::ApiCommand;
use crate::failure::say;

/// Prints.
pub(super) fn run(command: &ApiCommand) -> anyhow::Result<()> {
    match command {
        ApiCommand::Document => say(&serde_json::to_string_pretty(&api_document())?),
    }
    Ok(())
}
