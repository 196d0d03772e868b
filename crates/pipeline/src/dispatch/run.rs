//! The dispatch driver: one per process.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::{ClaimedDelivery, DeliveryQueue, EventLog, Next};
use longshore_core::retry::RetryGuard;
use longshore_core::{Attempt, AttemptOutcome, Clock, EndpointId, Snapshot};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DispatchLimits;
use super::attempt::{Load, Sending, Turn, attempt, skip, turn};
use super::claims::{Claimed, Claims};
use super::lease::{Lease, keep_alive};
use super::recorder::{Done, Recorder};
use super::scheduler::{Ended, Gather, Limit, Picked, Queued, Scheduler, Slot};
use super::transport::Transport;
use crate::ledger::Ledger;

/// How long a task may take to end after a hard stop.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a delivery waits whose attempt ended by a fault of ours.
const AFTER_FAULT: Duration = Duration::from_secs(60);

/// What the dispatcher works with.
#[derive(Debug)]
pub struct Dispatch<Q, T, C> {
    /// Claims and outcomes.
    pub queue: Arc<Q>,
    /// Carries the requests.
    pub transport: T,
    /// The configuration, following changes.
    pub config: watch::Receiver<Arc<Snapshot>>,
    /// What is held in memory.
    pub ledger: Ledger,
    /// Fresh deliveries from ingest, already claimed.
    pub fresh: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
    /// Bounds.
    pub limits: DispatchLimits,
    /// The time.
    pub clock: C,
    /// Seeds the jitter of retries.
    pub rng: SmallRng,
}

/// Sends deliveries until `stop` is cancelled; then waits for the attempts in flight, records them and gives its lease
/// back, so that others go on with the rest at once. `hard` ends the waiting; the lease's end does the rest.
pub async fn run<Q, T, C>(dispatch: Dispatch<Q, T, C>, stop: CancellationToken, hard: CancellationToken)
where
    Q: DeliveryQueue + EventLog,
    T: Transport,
    C: Clock,
{
    let Dispatch { queue, transport, config, ledger, fresh, limits, clock, rng } = dispatch;
    let (lease_sender, lease) = watch::channel(Lease::starting_now(limits.lease));
    let (due_sender, due) = mpsc::unbounded_channel();
    let (claimed_sender, claimed) = mpsc::unbounded_channel();
    let (done_sender, done) = mpsc::unbounded_channel();
    // The lease outlives the attempts in flight.
    let lease_stop = CancellationToken::new();
    let claims_stop = stop.child_token();
    let mut helpers = JoinSet::new();
    helpers.spawn(keep_alive(
        Arc::clone(&queue),
        ledger.clone(),
        lease_sender,
        limits.lease,
        lease_stop.clone(),
    ));
    let claims = Claims {
        queue: Arc::clone(&queue),
        ledger: ledger.clone(),
        config: config.clone(),
        lease: lease.clone(),
        due,
        claimed: claimed_sender,
        poll: limits.poll,
        stop: claims_stop.clone(),
    };
    helpers.spawn(claims.run());
    let recorder = Recorder {
        queue: Arc::clone(&queue),
        ledger: ledger.clone(),
        done,
        due: due_sender,
        gather: limits.gather,
        hard: hard.clone(),
    };
    let mut recording = JoinSet::new();
    recording.spawn(recorder.run());
    let driver = Driver {
        queue: Arc::clone(&queue),
        transport,
        config,
        ledger: ledger.clone(),
        limits,
        clock,
        rng,
        scheduler: Scheduler::new(limits.attempts, limits.slow_share, limits.retry_share),
        guard: RetryGuard::default(),
        attempts: JoinSet::new(),
        in_flight: HashMap::new(),
        done: done_sender,
    };
    driver.run(fresh, claimed, lease, &stop, &hard).await;
    claims_stop.cancel();
    // The driver's end closes the recorder's channel; it ends once everything is recorded.
    ended(recording, &hard).await;
    lease_stop.cancel();
    ended(helpers, &hard).await;
    if let Err(error) = queue.resign(ledger.oldest()).await {
        tracing::warn!(%error, "lease not given back; others wait for its end");
    }
}

/// Waits for tasks to end; after `hard`, only a moment: a call of a store that never answers must not keep the rest.
async fn ended(mut tasks: JoinSet<()>, hard: &CancellationToken) {
    let cut = async {
        hard.cancelled().await;
        tokio::time::sleep(MOMENT).await;
    };
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = cut => {}
    }
}

struct Driver<Q, T, C> {
    queue: Arc<Q>,
    transport: T,
    config: watch::Receiver<Arc<Snapshot>>,
    ledger: Ledger,
    limits: DispatchLimits,
    clock: C,
    rng: SmallRng,
    scheduler: Scheduler,
    guard: RetryGuard<EndpointId>,
    attempts: JoinSet<Vec<Done>>,
    /// What the attempts in flight deliver, and the places they take.
    in_flight: HashMap<Id, (Load, Slot)>,
    done: mpsc::UnboundedSender<Done>,
}

impl<Q, T, C> Driver<Q, T, C>
where
    Q: DeliveryQueue,
    T: Transport,
    C: Clock,
{
    async fn run(
        mut self,
        mut fresh: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
        mut claimed: mpsc::UnboundedReceiver<Claimed>,
        mut lease: watch::Receiver<Lease>,
        stop: &CancellationToken,
        hard: &CancellationToken,
    ) {
        let mut generation = lease.borrow().generation;
        let (mut fresh_ended, mut claimed_ended) = (false, false);
        // Set anew only when the instant changes: that is seldom, and the loop turns often.
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now()));
        while !(stop.is_cancelled() && self.attempts.is_empty()) {
            let snapshot = Arc::clone(&self.config.borrow());
            let mut wake = None;
            if !stop.is_cancelled() && lease.borrow().is_valid() {
                self.start(&snapshot);
                // Without a place for it, whatever is let go has to wait for an attempt's end anyway.
                wake = self.scheduler.next_wake().filter(|_| self.attempts.len() < self.limits.attempts);
            }
            if let Some(wake) = wake.filter(|wake| *wake != alarm.deadline()) {
                alarm.as_mut().reset(wake);
            }
            tokio::select! {
                // Finished attempts first: they make room.
                biased;
                () = hard.cancelled() => return,
                Some(done) = self.attempts.join_next_with_id() => {
                    self.end(done, &snapshot);
                    while let Some(done) = self.attempts.try_join_next_with_id() {
                        self.end(done, &snapshot);
                    }
                }
                deliveries = claimed.recv(), if !claimed_ended => match deliveries {
                    Some(Claimed { deliveries, until }) => self.queue_up(deliveries, Some(until), &snapshot),
                    None => claimed_ended = true,
                },
                deliveries = fresh.recv(), if !fresh_ended => match deliveries {
                    Some(deliveries) => self.queue_up(deliveries, None, &snapshot),
                    None => fresh_ended = true,
                },
                Ok(()) = lease.changed() => {
                    let now = lease.borrow_and_update().generation;
                    if std::mem::replace(&mut generation, now) != now {
                        self.drop_lost_claims();
                    }
                }
                () = &mut alarm, if wake.is_some() => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
            metrics::gauge!("dispatch_attempts_in_flight").set(self.attempts.len() as f64);
            metrics::gauge!("dispatch_slow_attempts_in_flight").set(self.scheduler.slow_in_flight() as f64);
            metrics::gauge!("dispatch_queued_deliveries").set(self.scheduler.queued() as f64);
        }
    }

    fn queue_up(&mut self, deliveries: Vec<ClaimedDelivery>, until: Option<Instant>, snapshot: &Snapshot) {
        let owner = self.queue.owner();
        let at = Instant::now();
        for delivery in deliveries {
            if delivery.owner == owner {
                let limit = limit(snapshot, delivery.endpoint);
                self.scheduler.push(Queued { delivery, until, at }, limit);
            } else {
                // Claimed before the lease was lost, and on its way until now.
                self.release(&delivery);
            }
        }
    }

    fn release(&self, delivery: &ClaimedDelivery) {
        self.ledger.release(delivery.id, delivery.endpoint, delivery.event.body.len(), false);
    }

    /// Starts as many attempts as may run, in fair turns.
    fn start(&mut self, snapshot: &Arc<Snapshot>) {
        let now = Instant::now();
        while let Some(Picked { first, more, slot }) =
            self.scheduler.next(now, |endpoint| limit(snapshot, endpoint))
        {
            let endpoint = first.delivery.endpoint;
            let Some(load) = self.load(first, more, now, snapshot) else {
                self.scheduler.done(slot, Ended::Unsent, limit(snapshot, endpoint));
                continue;
            };
            let turn = match turn(endpoint, snapshot) {
                Turn::Send(endpoint) => self.hold_up(&load, snapshot).unwrap_or(Turn::Send(endpoint)),
                skip @ Turn::Skip(_) => skip,
            };
            match turn {
                Turn::Skip(next) => self.finish(skipped(&load, next), slot, snapshot),
                Turn::Send(endpoint) => {
                    let (transport, clock) = (self.transport.clone(), self.clock.clone());
                    let snapshot = Arc::clone(snapshot);
                    let mut rng = SmallRng::from_rng(&mut self.rng);
                    let copy = load.clone();
                    let task = self.attempts.spawn(async move {
                        attempt(&load, &endpoint, &snapshot, &transport, &clock, &mut rng).await
                    });
                    self.in_flight.insert(task.id(), (copy, slot));
                }
            }
        }
    }

    /// Keeps a request back that holds nothing but retries and would be one too many for its endpoint.
    fn hold_up(&mut self, load: &Load, snapshot: &Snapshot) -> Option<Turn> {
        let first = &load.first.delivery;
        if load.deliveries().any(|delivery| delivery.attempts == 0) {
            self.guard.note(first.endpoint, false);
            return None;
        }
        let share = snapshot.project(first.event.project)?.settings.retry_policy.storm_guard()?;
        let wait = self.guard.hold_up(first.endpoint, share, self.clock.now(), &mut self.rng)?;
        metrics::counter!("dispatch_retries_held_total").increment(1 + load.more.len() as u64);
        Some(Turn::Skip(Next::Parked(wait)))
    }

    /// What was picked and can still be sent; the rest is given up.
    fn load(&self, first: Queued, more: Vec<Queued>, now: Instant, snapshot: &Snapshot) -> Option<Load> {
        let owner = self.queue.owner();
        let endpoint = snapshot.endpoint(first.delivery.endpoint);
        let timeout = endpoint.map_or(Duration::ZERO, |found| found.http_timeout);
        let take = |Queued { delivery, until, .. }: Queued| {
            // The lease may have been lost and a new one taken since the last look: then what was queued under the old one
            // belongs to others. Or it waited so long for its turn that its claim would end before the attempt does.
            if delivery.owner != owner || until.is_some_and(|until| now + timeout >= until) {
                self.release(&delivery);
                return None;
            }
            Some(Sending { id: self.ledger.ids().attempt(self.clock.now()), delivery })
        };
        let mut more = more.into_iter();
        let first = take(first).or_else(|| more.find_map(take))?;
        Some(Load { first, more: more.filter_map(take).collect() })
    }

    fn end(&mut self, ended: Result<(Id, Vec<Done>), JoinError>, snapshot: &Snapshot) {
        let (task, done) = match ended {
            Ok((task, done)) => (task, Some(done)),
            Err(error) => {
                tracing::error!(%error, "an attempt ended abnormally; its delivery waits");
                (error.id(), None)
            }
        };
        let Some((load, slot)) = self.in_flight.remove(&task) else { return };
        let done = done.unwrap_or_else(|| skipped(&load, Next::Parked(AFTER_FAULT)));
        self.finish(done, slot, snapshot);
    }

    /// Ends the turn of deliveries to one endpoint.
    fn finish(&mut self, done: Vec<Done>, slot: Slot, snapshot: &Snapshot) {
        let tried = done.first().and_then(|done| done.outcome.attempt.as_ref());
        let ended = match tried {
            Some(Attempt { outcome, duration, .. }) if *outcome != AttemptOutcome::Unsendable => {
                Ended::Tried { outcome: *outcome, took: *duration }
            }
            _ => Ended::Unsent,
        };
        let slot_endpoint = slot.endpoint();
        let limit = limit(snapshot, slot_endpoint);
        self.scheduler.done(slot, ended, limit);
        let is_retry_through = |done: &Done| done.outcome.attempts > 1 && done.outcome.next == Next::Success;
        if done.iter().any(is_retry_through) {
            self.guard.note(slot_endpoint, true);
        }
        for done in done {
            // Fails only when the recorder has ended, at a hard stop.
            let _ = self.done.send(done);
        }
    }

    /// The lease was lost: what was queued under it belongs to whoever took it over.
    fn drop_lost_claims(&mut self) {
        let dropped = self.scheduler.drop_foreign(self.queue.owner());
        for delivery in &dropped {
            self.release(delivery);
        }
        tracing::warn!(deliveries = dropped.len(), "claims lost with the lease; others deliver them");
    }
}

fn skipped(load: &Load, next: Next) -> Vec<Done> {
    load.deliveries().map(|delivery| Done::of(skip(delivery, next), delivery)).collect()
}

/// How many attempts the endpoint takes at once; what belongs to nobody any more is discarded without limit.
fn limit(snapshot: &Snapshot, endpoint: EndpointId) -> Limit {
    snapshot.endpoint(endpoint).map_or(
        Limit { most: usize::MAX, is_adaptive: false, gather: None },
        |endpoint| Limit {
            most: endpoint.max_concurrency.into(),
            is_adaptive: endpoint.settings.adaptive_concurrency,
            gather: Gather::of(endpoint),
        },
    )
}
