//! `longshore apply` (comes next).

use crate::cli::ApplyArgs;
use crate::config::Config;

/// Makes the database's resources what a file says.
#[expect(clippy::unused_async, reason = "becomes asynchronous with the next step")]
pub(super) async fn run(_args: &ApplyArgs, _config: &Config) -> anyhow::Result<()> {
    Ok(())
}
