//! Claims due deliveries from Postgres: retries, spilled surplus, and what dead processes left.
//!
//! A regular poll asks which endpoints have something due: one index look-up per endpoint with a backlog, so it costs next
//! to nothing when there is none. Between polls, endpoints that had more than was taken, and those of which a retry falls
//! due, are claimed from without asking again. Claims take no more than memory has room for, and no more at once than
//! a few megabytes of bodies.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::ports::{ClaimedDelivery, DeliveryQueue, Demand, EventLog, StoreError};
use longshore_core::{EndpointId, ProjectId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::rates::most_held;
use crate::ledger::{Claimable, Ledger};

/// Endpoints looked at per poll.
const ENDPOINTS: u32 = 10_000;
/// Attempts at once of an endpoint that is gone: what waits for it is discarded.
const OF_GONE: u16 = 500;
/// Deliveries claimed at once, at most and at least.
const AT_ONCE: (usize, usize) = (32, 1_000);
/// Bytes of bodies claimed at once, as far as those claimed before tell how large they are.
const BYTES_AT_ONCE: usize = 8 << 20;
/// A body is this large, until some were claimed.
const BODY: usize = 16 << 10;
/// Two looks are at least this far apart, however many hints come in.
const APART: Duration = Duration::from_millis(10);
/// Polling takes at most one part in so many of a connection's time.
const POLL_SHARE: u32 = 10;
/// Hints kept; polling finds the rest.
const HINTS: usize = 10_000;
/// What a claim's lease has beside the time in the queue and on the wire.
pub(super) const MARGIN: Duration = Duration::from_secs(30);

/// How long a claim of one of the endpoint's deliveries lasts: it queues behind at most twice the endpoint's concurrency,
/// then it is sent; before that it may wait for a request to be full.
pub(super) fn claim_lease(endpoint: &Arc<Endpoint>) -> Duration {
    let wait = endpoint.settings.batch.map_or(Duration::ZERO, |batch| batch.max_wait.0);
    3 * endpoint.http_timeout + wait + MARGIN
}

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
    /// When retries fall due, and of which endpoint.
    pub(super) due: mpsc::UnboundedReceiver<(Instant, EndpointId)>,
    /// Unbounded, but every item owns room in the ledger.
    pub(super) claimed: mpsc::UnboundedSender<Claimed>,
    /// Told which endpoints have something due.
    pub(super) waits: watch::Sender<HashSet<EndpointId>>,
    pub(super) poll: Duration,
    pub(super) stop: CancellationToken,
}

/// What is known of the work that waits.
struct Backlog {
    /// Endpoints that may have something due.
    endpoints: HashSet<EndpointId>,
    /// Bytes of a body, on average.
    body: usize,
    /// When Postgres is asked again which endpoints have something due.
    poll_at: Instant,
    /// Whether there was more than is claimed at once: then nothing has to happen before the next look.
    is_cut_short: bool,
}

impl<Q: DeliveryQueue + EventLog> Claims<Q> {
    /// Runs until `stop` is cancelled.
    pub(super) async fn run(mut self) {
        let mut hints: BinaryHeap<Reverse<(Instant, EndpointId)>> = BinaryHeap::new();
        let mut earliest = Instant::now();
        let mut backlog = Backlog {
            endpoints: HashSet::new(),
            body: BODY,
            poll_at: earliest + self.poll,
            is_cut_short: false,
        };
        let mut failing = false;
        loop {
            let hint = hints.peek().map(|Reverse((at, _))| (*at).max(earliest));
            let more = backlog.is_cut_short.then_some(earliest);
            let next = [hint, more].into_iter().flatten().fold(backlog.poll_at, Instant::min);
            tokio::select! {
                () = self.stop.cancelled() => return,
                endpoints = self.ledger.due() => {
                    hints.extend(endpoints.into_iter().map(|endpoint| Reverse((Instant::now(), endpoint))));
                    continue;
                }
                Some(hint) = self.due.recv() => {
                    if hints.len() < HINTS {
                        hints.push(Reverse(hint));
                    }
                    continue;
                }
                () = room_after(&self.ledger, earliest), if !backlog.endpoints.is_empty() => {}
                () = tokio::time::sleep_until(next) => {}
            }
            let now = Instant::now();
            while let Some(Reverse((_, endpoint))) = hints.peek().copied().filter(|hint| hint.0.0 <= now) {
                hints.pop();
                backlog.endpoints.insert(endpoint);
            }
            match self.look(&mut backlog, now).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "no claims; going on trying");
                    }
                }
            }
            // At most half of the time goes into looking, however much there is to look at.
            earliest = Instant::now() + APART.max(now.elapsed());
        }
    }

    /// Polls if it is time, and claims what there is room for.
    async fn look(&self, backlog: &mut Backlog, now: Instant) -> Result<(), StoreError> {
        backlog.is_cut_short = false;
        let is_poll = backlog.poll_at <= now;
        if is_poll {
            backlog.poll_at = now + self.poll;
        }
        if !self.lease.borrow().is_valid() {
            return Ok(());
        }
        if is_poll {
            backlog.endpoints = self.poll().await?;
            backlog.poll_at = backlog.poll_at.max(Instant::now() + POLL_SHARE * now.elapsed());
        }
        if backlog.endpoints.is_empty() {
            return Ok(());
        }
        self.take(backlog).await
    }

    /// Endpoints with something due. Those of which nothing is due any more need not spill for the sake of order.
    async fn poll(&self) -> Result<HashSet<EndpointId>, StoreError> {
        let started = Instant::now();
        let waiting = self.queue.waiting(ENDPOINTS).await?;
        metrics::histogram!("dispatch_poll_seconds").record(started.elapsed().as_secs_f64());
        let due: HashSet<EndpointId> = waiting
            .iter()
            .filter(|waiting| waiting.due_in.is_zero())
            .map(|waiting| waiting.endpoint)
            .collect();
        let through = self.ledger.spilled_lanes().into_iter().filter(|endpoint| !due.contains(endpoint));
        self.ledger.spilled(through.collect::<Vec<_>>().into_iter(), false);
        self.waits.send_replace(due.clone());
        Ok(due)
    }

    /// Claims from the backlog. Who has no more leaves it; who has no room stays for when there is some.
    async fn take(&self, backlog: &mut Backlog) -> Result<(), StoreError> {
        let snapshot = Arc::clone(&self.config.borrow());
        let claimable = self.claimable(backlog, &snapshot).await?;
        let most = (BYTES_AT_ONCE / backlog.body).clamp(AT_ONCE.0, AT_ONCE.1);
        let room = self.ledger.reserve_claims(&claimable, most);
        let is_short = room.iter().sum::<usize>() == most;
        let demand: Vec<Demand> = claimable
            .iter()
            .zip(room)
            .filter(|(_, room)| *room > 0)
            .map(|(claim, room)| Demand {
                endpoint: claim.endpoint,
                max: u32::try_from(room).unwrap_or(u32::MAX),
            })
            .collect();
        if demand.is_empty() {
            return Ok(());
        }
        let timeouts = demand.iter().filter_map(|want| snapshot.endpoint(want.endpoint));
        let longest = timeouts.map(claim_lease).max();
        let lease = longest.unwrap_or(MARGIN);
        // Measured from before the call: the database's clock starts later.
        let until = Instant::now() + lease;
        let claimed = self.queue.claim(&demand, lease).await;
        self.settle(&demand, claimed.as_deref().unwrap_or(&[]), backlog, claimed.is_ok());
        let deliveries = claimed?;
        if !deliveries.is_empty() {
            backlog.is_cut_short = is_short;
            metrics::counter!("dispatch_deliveries_claimed_total").increment(deliveries.len() as u64);
            // Fails only when the dispatcher has ended; the claims end with the lease.
            let _ = self.claimed.send(Claimed { deliveries, until });
        }
        Ok(())
    }

    /// The endpoints of the backlog that can be claimed from.
    async fn claimable(
        &self,
        backlog: &mut Backlog,
        snapshot: &Snapshot,
    ) -> Result<Vec<Claimable>, StoreError> {
        // Paused ones wait for a poll.
        backlog.endpoints.retain(|endpoint| {
            snapshot.endpoint(*endpoint).is_none_or(|found| found.status != EndpointStatus::Paused)
        });
        let is_any_unknown = backlog.endpoints.iter().any(|endpoint| snapshot.endpoint(*endpoint).is_none());
        // Then it may be newer than our snapshot rather than gone.
        let is_behind = is_any_unknown && self.queue.config_version().await? > snapshot.version();
        let claimable = backlog.endpoints.iter().filter_map(|id| match snapshot.endpoint(*id) {
            Some(endpoint) => Some(Claimable {
                endpoint: *id,
                project: endpoint.project,
                concurrency: endpoint.max_concurrency,
                per_request: endpoint.settings.events_per_request(),
                // What is for an endpoint that is switched off is discarded: no rate for that.
                most: match endpoint.status {
                    EndpointStatus::Active => most_held(&endpoint.settings),
                    EndpointStatus::Paused | EndpointStatus::Inactive => usize::MAX,
                },
            }),
            // What belongs to an endpoint that is gone is claimed to be discarded.
            None if !is_behind => Some(Claimable {
                endpoint: *id,
                project: ProjectId::from_u128(0),
                concurrency: OF_GONE,
                per_request: 1,
                most: usize::MAX,
            }),
            None => None,
        });
        Ok(claimable.collect())
    }

    /// Gives back the room that was not used. Endpoints whose demand was not met in full have no more.
    fn settle(
        &self,
        demand: &[Demand],
        claimed: &[ClaimedDelivery],
        backlog: &mut Backlog,
        is_answered: bool,
    ) {
        let bytes: usize = claimed.iter().map(|delivery| delivery.event.body.len()).sum();
        self.ledger.add_bytes(bytes);
        if let Some(average) = bytes.checked_div(claimed.len()) {
            backlog.body = (3 * backlog.body + average) / 4 + 1;
        }
        let mut counts: HashMap<EndpointId, usize> = HashMap::with_capacity(demand.len());
        for delivery in claimed {
            *counts.entry(delivery.endpoint).or_default() += 1;
        }
        for want in demand {
            let got = counts.get(&want.endpoint).copied().unwrap_or(0);
            let unused = (want.max as usize).saturating_sub(got);
            if unused > 0 {
                self.ledger.unreserve_claims(want.endpoint, unused);
                if is_answered {
                    backlog.endpoints.remove(&want.endpoint);
                }
            }
        }
    }
}
