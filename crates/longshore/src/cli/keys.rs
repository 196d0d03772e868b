//! `keys …`

use clap::{ArgGroup, Args, Subcommand};
use longshore_core::access::{Role, Scope};
use longshore_core::{ApiKeyId, Timestamp};

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
    /// Lists the API keys of a project or of a person, without their texts.
    List(ListKeysArgs),
    /// Makes an API key of a project or of a person, and prints it: this once.
    Create(CreateKeyArgs),
    /// Revokes an API key: it is refused within a second.
    Revoke(RevokeKeyArgs),
}

/// Whose keys are meant.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("owner").required(true).args(["project", "email"])))]
pub(crate) struct KeyOwnerArgs {
    /// A project's: its name or id.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// A person's: the address.
    #[arg(long)]
    pub(crate) email: Option<String>,
}

/// `keys list`
#[derive(Debug, Args)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    pub(crate) owner: KeyOwnerArgs,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `keys create`
#[derive(Debug, Args)]
pub(crate) struct CreateKeyArgs {
    #[command(flatten)]
    pub(crate) owner: KeyOwnerArgs,
    /// For people.
    #[arg(long)]
    pub(crate) name: String,
    /// At most what this role may: `owner`, `admin`, `developer` or `viewer`. By default `admin` for a project's key, and
    /// whatever the person may for a person's.
    #[arg(long)]
    pub(crate) role: Option<Role>,
    /// Narrows it down to this, e.g. `events:write`. Repeatable.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<Scope>,
    /// From when on it is refused, e.g. `2026-12-31T00:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Timestamp>,
}

/// `keys revoke`
#[derive(Debug, Args)]
pub(crate) struct RevokeKeyArgs {
    #[command(flatten)]
    pub(crate) owner: KeyOwnerArgs,
    /// The key's id, as `list` prints it.
    #[arg(value_name = "ID")]
    pub(crate) id: ApiKeyId,
}
