//! The command line: the public API, features, the doctor.

use clap::{Args, Subcommand};

/// `api …`
#[derive(Debug, Subcommand)]
pub(crate) enum ApiCommand {
    /// Prints the whole OpenAPI 3.1 document, features included that no installation has by itself.
    Document,
}

/// `features`
#[derive(Debug, Args)]
pub(crate) struct FeaturesArgs {
    /// As they are in this project: its name or id.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Leaves the sources alone: no broker is connected to.
    #[arg(long)]
    pub(crate) no_connect: bool,
    /// One JSON object per line.
    #[arg(long)]
    pub(crate) json: bool,
}
