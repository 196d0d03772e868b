//! Partitions created ahead and dropped by retention, whatever else is over removed, lanes tended, on slow clocks.
//!
//! Everybody creates; what removes is done by one process for all ([`crate::leadership`]).

use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_store::Store;
use longshore_store::partitions::Retention;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often it looks. Partitions exist days ahead, so that a missed look does no harm.
const EVERY: Duration = Duration::from_secs(1_800);
/// How long closed breakers, and the events of all, are kept.
const BREAKERS: Duration = Duration::from_secs(7 * 86_400);

/// How often figures are rolled up, and how long they are kept.
const ROLL_UP_EVERY: Duration = Duration::from_secs(60);
const FIGURES: Duration = Duration::from_secs(400 * 86_400);

/// How long a lane is remembered in which nothing waits. As long as the clocks of processes differ by less, the numbers of
/// its deliveries go on growing when it comes again.
const IDLE_LANE: Duration = Duration::from_secs(3_600);
/// How often lanes are looked at that wait for somebody although their subscription keeps no order any more.
const FREE_LANES_EVERY: Duration = Duration::from_secs(10);

/// Lets lanes go on that changes of subscriptions left blocked, until `stop`.
pub(crate) async fn free_lanes(store: Store, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(FREE_LANES_EVERY)).await.is_some() {
        match store.free_unordered_lanes().await {
            Ok(0) => {}
            Ok(lanes) => info!(lanes, "lanes go on: their subscriptions keep no order any more"),
            Err(error) => warn!(%error, "blocked lanes not looked at; trying again later"),
        }
    }
}

/// What every process does, until `stop`: so that the data plane goes on for as long as it must without a control plane.
pub(crate) async fn run(store: Store, retention: Retention, stop: CancellationToken) {
    loop {
        if let Err(error) = store.create_partitions(retention.days_ahead).await {
            warn!(%error, "partitions not created; trying again later");
        }
        if let Err(error) = store.tend_lanes(IDLE_LANE).await {
            warn!(%error, "lanes not tended; trying again later");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// What one control plane does for all, until `stop`. Whatever of it is cut off is done by whoever leads next.
pub(crate) async fn run_led(store: Store, retention: Retention, stop: CancellationToken) {
    tokio::join!(sweep(&store, retention, &stop), roll_up(&store, retention.events, &stop));
}

/// Rolls up the figures of hours, and forgets those of long ago.
async fn roll_up(store: &Store, events_kept: Duration, stop: &CancellationToken) {
    loop {
        let round = async {
            let now = SystemClock.now();
            if let Err(error) = store.roll_up(now, events_kept).await {
                warn!(%error, "figures not rolled up; trying again later");
            }
            if let Err(error) = store.drop_stats(now.before(FIGURES)).await {
                warn!(%error, "old figures not dropped; trying again later");
            }
            tokio::time::sleep(ROLL_UP_EVERY).await;
        };
        if stop.run_until_cancelled(Box::pin(round)).await.is_none() {
            return;
        }
    }
}

async fn sweep(store: &Store, retention: Retention, stop: &CancellationToken) {
    loop {
        let round = async {
            drop_what_is_over(store, &retention).await;
            // After retention: it may have taken the head of a lane.
            if let Err(error) = store.tend_lanes(IDLE_LANE).await {
                warn!(%error, "lanes not tended; trying again later");
            }
        };
        let next = async {
            round.await;
            tokio::time::sleep(EVERY).await;
        };
        if stop.run_until_cancelled(Box::pin(next)).await.is_none() {
            return;
        }
    }
}

async fn drop_what_is_over(store: &Store, retention: &Retention) {
    if let Err(error) = store.drop_partitions(retention).await {
        warn!(%error, "old partitions not dropped; trying again later");
    }
    match store.remove_expired(retention.events).await {
        Ok(0) => {}
        Ok(events) => info!(events, "removed: their projects keep events for less long"),
        Err(error) => warn!(%error, "events of projects not removed; trying again later"),
    }
    if let Err(error) = store.sweep_breakers(BREAKERS).await {
        warn!(%error, "old breakers not swept; trying again later");
    }
    if let Err(error) = store.drop_requests().await {
        warn!(%error, "answers to old requests not dropped; trying again later");
    }
    drop_notices(store, retention.events).await;
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
