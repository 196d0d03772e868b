//! `endpoints …`

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use longshore_core::duration;
use longshore_core::endpoint::KeyType;

use super::ListArgs;

/// `endpoints …`
#[derive(Debug, Subcommand)]
pub(crate) enum EndpointsCommand {
    /// Lists a project's endpoints.
    List {
        /// The project: its name or id.
        project: String,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Shows one endpoint with its keys; of secrets only when they sign, of ed25519 keys the public half.
    Show(NamedEndpoint),
    /// Makes its deliveries wait until it is activated again. Running processes follow within a second.
    Pause(NamedEndpoint),
    /// Sends what waits for it, and what comes. Also for an endpoint that was disabled.
    Activate(NamedEndpoint),
    /// Gives it a new secret, which signs at once, beside the old ones until they expire.
    ///
    /// Prints the new secret once, unless it comes from a file.
    RollSecret(RollArgs),
}

/// One endpoint of a project.
#[derive(Debug, Args)]
pub(crate) struct NamedEndpoint {
    /// The project: its name or id.
    pub(crate) project: String,
    /// The endpoint: its name or id.
    pub(crate) endpoint: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `endpoints roll-secret`
#[derive(Debug, Args)]
pub(crate) struct RollArgs {
    #[command(flatten)]
    pub(crate) endpoint: NamedEndpoint,
    /// The new secret is in this file: `whsec_…`, `whsk_…` or any text. One is generated otherwise.
    #[arg(long, value_name = "FILE", conflicts_with = "key_type")]
    pub(crate) secret_file: Option<PathBuf>,
    /// How long the old secrets go on signing, at most; `0s` ends them at once.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    pub(crate) expire_in: Duration,
    /// What is generated: `hmac` or `ed25519`.
    #[arg(long, value_name = "TYPE", default_value_t)]
    pub(crate) key_type: KeyType,
}
