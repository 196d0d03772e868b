//! `keys …`

use clap::Subcommand;

use super::ListArgs;

/// `keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Prints a new master key, a new API key and a new endpoint secret, none of which is stored anywhere.
    Generate,
    /// Shows with which master key stored credentials are sealed, and whether a previous one can be removed.
    ///
    /// Opens every one of them. Fails when one does not open with any of the configured keys.
    Status(ListArgs),
    /// Seals every stored credential with the current master key, while everything runs.
    ///
    /// First give the new key to every process: docs/operations.md has the steps. Safe to repeat, and to run from several
    /// places at once.
    Rotate,
}
