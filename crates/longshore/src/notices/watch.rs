//! Looks now and then at which endpoints and which sources fail, in the eyes of the whole fleet.

use std::time::Duration;

use longshore_store::Store;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Between two looks. A success at an endpoint counts for other processes after at most this long.
const EVERY: Duration = Duration::from_secs(2);
/// How long a source may fail before somebody is told.
const FAILING_FOR: Duration = Duration::from_secs(60);

/// Runs until `stop`.
pub(super) async fn run(store: &Store, stop: CancellationToken) {
    loop {
        // A database that is away is told of elsewhere; the next look sees it all again.
        let looked = async {
            store.refresh_failing().await?;
            store.watch_sources(FAILING_FOR).await
        };
        if let Some(Err(error)) = stop.run_until_cancelled(Box::pin(looked)).await {
            debug!(%error, "failing endpoints and sources not looked at");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}
