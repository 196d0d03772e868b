//! Claims due deliveries from Postgres: retries, spilled surplus, and what dead processes left.
//!
//! Polls endpoint by endpoint and takes no more than memory has room for. A poll is one index look-up per endpoint with
//! a backlog, so it costs next to nothing when there is none.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::EndpointStatus;
use longshore_core::ports::{ClaimedDelivery, DeliveryQueue, Demand, EventLog, StoreError};
use longshore_core::{EndpointId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use crate::ledger::Ledger;

/// Endpoints looked at per poll.
const ENDPOINTS: u32 = 10_000;
/// Deliveries claimed per poll and endpoint at most.
const PER_ENDPOINT: usize = 500;
/// Two polls are at least this far apart, however many hints come in.
const APART: Duration = Duration::from_millis(10);
/// Hints kept; polling finds the rest.
const HINTS: usize = 10_000;
/// What a claim's lease has beside the time in the queue and on the wire.
const MARGIN: Duration = Duration::from_secs(30);

/// Completes once room was released, not before `earliest`.
async fn room_after(ledger: &Ledger, earliest: Instant) {
    ledger.released().await;
    tokio::time::sleep_until(earliest).await;
}

/// Deliveries claimed together.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) deliveries: Vec<ClaimedDelivery>,
    /// From then on they are due again for everybody.
    pub(super) until: Instant,
}

/// The task that claims.
pub(super) struct Claims<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) ledger: Ledger,
    pub(super) config: watch::Receiver<Arc<Snapshot>>,
    pub(super) lease: watch::Receiver<Lease>,
    /// When retries fall due.
    pub(super) due: mpsc::UnboundedReceiver<Instant>,
    /// Unbounded, but every item owns room in the ledger.
    pub(super) claimed: mpsc::UnboundedSender<Claimed>,
    pub(super) poll: Duration,
    pub(super) stop: CancellationToken,
}

impl<Q: DeliveryQueue + EventLog> Claims<Q> {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(mut self) {
        let mut hints: BinaryHeap<Reverse<Instant>> = BinaryHeap::new();
        // Whether more may be due than memory had room for: then released room is a reason to look again.
        let mut may_have_more = false;
        let mut last = Instant::now();
        let mut failing = false;
        loop {
            let regular = last + self.poll;
            let next = hints.peek().map_or(regular, |Reverse(hint)| regular.min((*hint).max(last + APART)));
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(hint) = self.due.recv() => {
                    if hints.len() < HINTS {
                        hints.push(Reverse(hint));
                    }
                    continue;
                }
                () = room_after(&self.ledger, last + APART), if may_have_more => {}
                () = tokio::time::sleep_until(next) => {}
            }
            last = Instant::now();
            while hints.peek().is_some_and(|Reverse(hint)| *hint <= last) {
                hints.pop();
            }
            if !self.lease.borrow().is_valid() {
                continue;
            }
            match self.look().await {
                Ok(more) => (may_have_more, failing) = (more, false),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "no claims; going on trying");
                    }
                }
            }
        }
    }

    /// One poll. True when it took all it had room for, so that there may be more. An endpoint without any room is no reason
    /// to look again before the next regular poll: it does not move, or has a second's work in memory.
    async fn look(&self) -> Result<bool, StoreError> {
        let waiting = self.queue.waiting(ENDPOINTS).await?;
        let due: HashSet<EndpointId> = waiting
            .iter()
            .filter(|waiting| waiting.due_in.is_zero())
            .map(|waiting| waiting.endpoint)
            .collect();
        let through = self.ledger.spilled_lanes().into_iter().filter(|endpoint| !due.contains(endpoint));
        self.ledger.spilled(through.collect::<Vec<_>>().into_iter(), false);
        if due.is_empty() {
            return Ok(false);
        }
        let snapshot = Arc::clone(&self.config.borrow());
        let mut demand = Vec::new();
        let mut longest = Duration::ZERO;
        let mut newest = None;
        for endpoint in due {
            // What belongs to an endpoint that is gone or switched off is claimed to be discarded.
            let (concurrency, timeout) = match snapshot.endpoint(endpoint) {
                Some(found) if found.status == EndpointStatus::Paused => continue,
                Some(found) => (found.max_concurrency, found.http_timeout),
                None => {
                    let newest = match newest {
                        Some(version) => version,
                        None => *newest.insert(self.queue.config_version().await?),
                    };
                    if newest > snapshot.version() {
                        // It may be newer than our snapshot rather than gone.
                        continue;
                    }
                    (PER_ENDPOINT as u16, Duration::ZERO)
                }
            };
            let room = self.ledger.reserve_claims(endpoint, concurrency, PER_ENDPOINT);
            if room > 0 {
                longest = longest.max(timeout);
                demand.push(Demand { endpoint, max: u32::try_from(room).unwrap_or(u32::MAX) });
            }
        }
        if demand.is_empty() {
            return Ok(false);
        }
        // Queued behind at most twice the endpoint's concurrency, then sent.
        let lease = 3 * longest + MARGIN;
        // Measured from before the call: the database's clock starts later.
        let until = Instant::now() + lease;
        let claimed = self.queue.claim(&demand, lease).await;
        let may_have_more = self.settle(&demand, claimed.as_deref().unwrap_or(&[]));
        let deliveries = claimed?;
        if !deliveries.is_empty() {
            metrics::counter!("dispatch_deliveries_claimed_total").increment(deliveries.len() as u64);
            // Fails only when the dispatcher has ended; the claims end with the lease.
            let _ = self.claimed.send(Claimed { deliveries, until });
        }
        Ok(may_have_more)
    }

    /// Gives back the room that was not used; true when some demand was met in full, so that there may be more.
    fn settle(&self, demand: &[Demand], claimed: &[ClaimedDelivery]) -> bool {
        self.ledger.add_bytes(claimed.iter().map(|delivery| delivery.event.body.len()).sum());
        let mut counts: HashMap<EndpointId, usize> = HashMap::with_capacity(demand.len());
        for delivery in claimed {
            *counts.entry(delivery.endpoint).or_default() += 1;
        }
        let mut is_met_in_full = false;
        for want in demand {
            let got = counts.get(&want.endpoint).copied().unwrap_or(0);
            let unused = (want.max as usize).saturating_sub(got);
            is_met_in_full |= unused == 0;
            self.ledger.unreserve_claims(want.endpoint, unused);
        }
        is_met_in_full
    }
}
