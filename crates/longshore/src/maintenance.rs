//! Partitions created ahead and dropped by retention, on a slow clock.

use std::time::Duration;

use longshore_store::Store;
use longshore_store::partitions::Retention;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often it looks. Partitions exist days ahead, so that a missed look does no harm.
const EVERY: Duration = Duration::from_secs(1_800);

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
        if drops {
            drop_notices(&store, retention.events).await;
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

async fn drop_notices(store: &Store, kept: Duration) {
    loop {
        match store.drop_notices(kept).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return warn!(%error, "old meta events not dropped; trying again later"),
        }
    }
}
