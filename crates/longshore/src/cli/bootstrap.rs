//! `bootstrap`

use clap::Args;

/// `bootstrap`
#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// The organisation's name. The projects of resource files belong to `default`.
    #[arg(long, value_name = "NAME")]
    pub(crate) organisation: String,
    /// The owner's address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: String,
    /// Makes a project of this name as well.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
}
