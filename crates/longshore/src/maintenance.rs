//! Partitions created ahead and dropped by retention, and old breakers swept, on a slow clock.

use std::time::Duration;

use longshore_store::Store;
use longshore_store::partitions::Retention;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often it looks. Partitions exist days ahead, so that a missed look does no harm.
const EVERY: Duration = Duration::from_secs(1_800);
/// How long closed breakers, and the events of all, are kept.
const BREAKERS: Duration = Duration::from_secs(7 * 86_400);

/// Runs until `stop`. Only the control plane drops; everybody creates, so that the data plane goes on for as long as it
/// must without a control plane.
pub(crate) async fn run(store: Store, retention: Retention, drops: bool, stop: CancellationToken) {
    loop {
        if let Err(error) = store.create_partitions(retention.days_ahead).await {
            warn!(%error, "partitions not created; trying again later");
        }
        if drops && let Err(error) = store.drop_partitions(&retention).await {
            warn!(%error, "old partitions not dropped; trying again later");
        }
        if drops && let Err(error) = store.sweep_breakers(BREAKERS).await {
            warn!(%error, "old breakers not swept; trying again later");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}
