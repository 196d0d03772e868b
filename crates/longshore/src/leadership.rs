//! What one process does for all: whoever holds the lease does it, and another one takes over when it dies.
//!
//! Invariant: the work is told to stop before the lease is over, by the clock of this process; what it has begun then may end
//! a moment later, which every duty must bear.

use std::future::Future;
use std::time::Duration;

use longshore_store::Store;
use longshore_store::leadership::Candidate;
use metrics::gauge;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Runs what `work` makes for as long as this process has the duty, until `stop`. The work's token is cancelled when the duty
/// is lost; it must return soon after.
pub(crate) async fn lead<W, F>(
    duty: &'static str,
    store: Store,
    lease: Duration,
    stop: CancellationToken,
    mut work: W,
) where
    W: FnMut(CancellationToken) -> F,
    F: Future<Output = ()>,
{
    let who = Candidate::new(hostname());
    let is_leader = gauge!("maintenance_is_leader", "duty" => duty);
    is_leader.set(0.0);
    while !stop.is_cancelled() {
        let asked = Instant::now();
        match store.lead(duty, &who, lease).await {
            Ok(true) => {
                info!(duty, "this process leads");
                is_leader.set(1.0);
                let mine = stop.child_token();
                let kept = keep(duty, &store, &who, asked + lease, lease, mine.clone());
                tokio::join!(work(mine.clone()), async {
                    kept.await;
                    mine.cancel();
                });
                is_leader.set(0.0);
                // Another process may begin at once; if Postgres is away, the lease ends by itself.
                if let Err(error) = store.stop_leading(duty, &who).await {
                    warn!(duty, %error, "the lease is not given back; it ends by itself");
                }
                info!(duty, "this process leads no more");
            }
            Ok(false) => {}
            Err(error) => warn!(duty, %error, "nobody knows who leads; asking again"),
        }
        if stop.run_until_cancelled(sleep(lease / 4)).await.is_none() {
            return;
        }
    }
}

/// Renews the lease until it cannot be, or `stop`.
async fn keep(
    duty: &str,
    store: &Store,
    who: &Candidate,
    mut until: Instant,
    lease: Duration,
    stop: CancellationToken,
) {
    // A part of the lease is left for what has begun.
    let margin = lease / 5;
    loop {
        if stop.run_until_cancelled(sleep(lease / 4)).await.is_none() {
            return;
        }
        let asked = Instant::now();
        match timeout_at(until - margin, store.lead(duty, who, lease)).await {
            Ok(Ok(true)) => until = asked + lease,
            Ok(Ok(false)) => return warn!(duty, "another process leads: this one was silent for too long"),
            Ok(Err(error)) => {
                warn!(duty, %error, "the lease is not renewed; trying again");
                if Instant::now() >= until - margin {
                    return;
                }
            }
            Err(_) => return warn!(duty, "Postgres does not answer: the lease ends"),
        }
    }
}

/// This machine's name, for people.
fn hostname() -> String {
    let name = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    name.unwrap_or_default().trim().to_owned()
}
