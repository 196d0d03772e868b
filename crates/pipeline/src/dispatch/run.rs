//! The dispatch driver: one per process.

mod holds;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::EndpointStatus;
use longshore_core::ports::{
    BreakerBoard, ClaimedDelivery, DeliveryQueue, EventLog, Next, RateLanes, SlotAsk,
};
use longshore_core::retry::RetryGuard;
use longshore_core::{Attempt, AttemptOutcome, Clock, EndpointId, Snapshot};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::DispatchLimits;
use super::attempt::{Load, Sending, Turn, attempt, skip, turn};
use super::breakers::board::{Board, News, Order};
use super::breakers::{Breakers, Probing};
use super::claims::{Claimed, Claims};
use super::lease::{Lease, keep_alive};
use super::rates::Rates;
use super::rates::slices::{Granted, Slices};
use super::recorder::{Done, Recorder};
use super::scheduler::{Ended, Gather, Limit, Picked, Queued, Scheduler, Slot};
use super::transport::Transport;
use crate::ledger::Ledger;

/// How long a task may take to end after a hard stop.
const MOMENT: Duration = Duration::from_secs(1);
/// How often breakers are looked at for what time alone changes.
const TICK: Duration = Duration::from_secs(1);
/// Orders to the board of breakers that may wait for it.
const ORDERS: usize = 16;
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
    Q: DeliveryQueue + EventLog + RateLanes + BreakerBoard,
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
    let (waits_sender, waits) = watch::channel(HashSet::new());
    let (ask_sender, asks) = mpsc::unbounded_channel();
    let (granted_sender, granted) = mpsc::unbounded_channel();
    let (order_sender, orders) = mpsc::channel(ORDERS);
    let (news_sender, news) = mpsc::unbounded_channel();
    let slices =
        Slices { queue: Arc::clone(&queue), asks, granted: granted_sender, stop: claims_stop.clone() };
    helpers.spawn(slices.run());
    let board = Board {
        queue: Arc::clone(&queue),
        config: config.clone(),
        lease: lease.clone(),
        waits,
        orders,
        news: news_sender,
        stop: claims_stop.clone(),
    };
    helpers.spawn(board.run());
    let claims = Claims {
        queue: Arc::clone(&queue),
        ledger: ledger.clone(),
        config: config.clone(),
        lease: lease.clone(),
        due,
        claimed: claimed_sender.clone(),
        waits: waits_sender,
        poll: limits.poll,
        stop: claims_stop.clone(),
    };
    helpers.spawn(claims.run());
    let recorder = Recorder {
        queue: Arc::clone(&queue),
        ledger: ledger.clone(),
        done,
        due: due_sender,
        claimed: claimed_sender,
        config: config.clone(),
        gather: limits.gather,
        stop: stop.clone(),
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
        rates: Rates::default(),
        asks: ask_sender,
        breakers: Breakers::default(),
        orders: order_sender,
        ticks: 0,
    };
    let inputs = Inputs { fresh, claimed, lease, granted, news };
    driver.run(inputs, &stop, &hard).await;
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
    in_flight: HashMap<Id, (Load, Slot, Probing)>,
    done: mpsc::UnboundedSender<Done>,
    /// Slots of endpoints with a rate limit.
    rates: Rates,
    asks: mpsc::UnboundedSender<SlotAsk>,
    breakers: Breakers,
    orders: mpsc::Sender<Order>,
    ticks: u64,
}

/// What the driver hears.
struct Inputs {
    fresh: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
    claimed: mpsc::UnboundedReceiver<Claimed>,
    lease: watch::Receiver<Lease>,
    granted: mpsc::UnboundedReceiver<Granted>,
    news: mpsc::UnboundedReceiver<News>,
}

impl<Q, T, C> Driver<Q, T, C>
where
    Q: DeliveryQueue,
    T: Transport,
    C: Clock,
{
    async fn run(mut self, inputs: Inputs, stop: &CancellationToken, hard: &CancellationToken) {
        let Inputs { mut fresh, mut claimed, mut lease, mut granted, mut news } = inputs;
        let mut generation = lease.borrow().generation;
        let (mut fresh_ended, mut claimed_ended) = (false, false);
        // Set anew only when the instant changes: that is seldom, and the loop turns often.
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now()));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut snapshot = Arc::clone(&self.config.borrow());
        while !(stop.is_cancelled() && self.attempts.is_empty()) {
            if self.config.has_changed().unwrap_or(false) {
                snapshot = Arc::clone(&self.config.borrow_and_update());
                self.reconfigured(&snapshot);
            }
            let mut wake = None;
            if !stop.is_cancelled() && lease.borrow().is_valid() {
                self.review_due(&snapshot);
                self.start(&snapshot);
                // Without a place for it, whatever is let go has to wait for an attempt's end anyway.
                let next = [self.scheduler.next_wake(), self.rates.next_review()].into_iter().flatten().min();
                wake = next.filter(|_| self.attempts.len() < self.limits.attempts);
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
                Some(granted) = granted.recv() => self.granted(granted, &snapshot),
                Some(news) = news.recv() => self.learn(news, &snapshot),
                _ = ticks.tick() => self.tick(&snapshot),
                Ok(()) = self.config.changed() => self.config.mark_changed(),
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
        let mut bound = HashSet::new();
        for delivery in deliveries {
            if delivery.owner == owner {
                let limit = self.limit(snapshot, delivery.endpoint, at);
                if self.is_bound(snapshot, delivery.endpoint) {
                    bound.insert(delivery.endpoint);
                }
                self.scheduler.push(Queued { delivery, until, at }, limit);
            } else {
                // Claimed before the lease was lost, and on its way until now.
                self.release(&delivery);
            }
        }
        for endpoint in bound {
            self.settle(endpoint, snapshot, at);
        }
    }

    fn release(&self, delivery: &ClaimedDelivery) {
        self.ledger.release(delivery.id, delivery.endpoint, delivery.event.body.len(), false);
    }

    /// Starts as many attempts as may run, in fair turns.
    fn start(&mut self, snapshot: &Arc<Snapshot>) {
        let now = Instant::now();
        loop {
            let (rates, breakers) = (&self.rates, &self.breakers);
            let limit_of = |endpoint| limit(snapshot, rates, breakers, endpoint, now);
            let Some(Picked { first, more, slot }) = self.scheduler.next(now, limit_of) else { return };
            let endpoint = first.delivery.endpoint;
            let Some(load) = self.load(first, more, now, snapshot) else {
                let limit = self.limit(snapshot, endpoint, now);
                self.scheduler.done(slot, Ended::Unsent, limit);
                continue;
            };
            let turn = match turn(endpoint, snapshot) {
                Turn::Send(endpoint) => self.hold_up(&load, snapshot).unwrap_or(Turn::Send(endpoint)),
                skip @ Turn::Skip(_) => skip,
            };
            match turn {
                Turn::Skip(next) => self.finish(skipped(&load, next), slot, Probing::default(), snapshot),
                Turn::Send(endpoint) => {
                    let id = endpoint.id;
                    let probing = self.breakers.began(id);
                    if endpoint.settings.rate_limit.is_some() {
                        self.rates.take(id, now);
                    }
                    let (transport, clock) = (self.transport.clone(), self.clock.clone());
                    let config = Arc::clone(snapshot);
                    let mut rng = SmallRng::from_rng(&mut self.rng);
                    let copy = load.clone();
                    let task = self.attempts.spawn(async move {
                        attempt(&load, &endpoint, &config, &transport, &clock, &mut rng).await
                    });
                    self.in_flight.insert(task.id(), (copy, slot, probing));
                    if self.is_bound(snapshot, id) {
                        self.settle(id, snapshot, now);
                    }
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
        let Some((load, slot, probing)) = self.in_flight.remove(&task) else { return };
        let done = done.unwrap_or_else(|| skipped(&load, Next::Parked(AFTER_FAULT)));
        self.finish(done, slot, probing, snapshot);
    }

    /// Ends the turn of deliveries to one endpoint.
    fn finish(&mut self, done: Vec<Done>, slot: Slot, probing: Probing, snapshot: &Snapshot) {
        let tried = done.first().and_then(|done| done.outcome.attempt.as_ref());
        let ended = match tried {
            Some(Attempt { outcome, duration, .. }) if *outcome != AttemptOutcome::Unsendable => {
                Ended::Tried { outcome: *outcome, took: *duration }
            }
            _ => Ended::Unsent,
        };
        let (endpoint, now) = (slot.endpoint(), Instant::now());
        self.breakers.ended(endpoint, tried.map(|attempt| &attempt.outcome), probing, snapshot, now);
        if probing.is_probe() {
            self.conclude(snapshot, now);
        }
        let limit = self.limit(snapshot, endpoint, now);
        self.scheduler.done(slot, ended, limit);
        let is_retry_through = |done: &Done| done.outcome.attempts > 1 && done.outcome.next == Next::Success;
        if done.iter().any(is_retry_through) {
            self.guard.note(endpoint, true);
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

/// How many attempts the endpoint takes at once right now; what belongs to nobody any more, or to an endpoint that is
/// switched off, is let go without a limit of rate.
fn limit(
    snapshot: &Snapshot,
    rates: &Rates,
    breakers: &Breakers,
    endpoint: EndpointId,
    now: Instant,
) -> Limit {
    let Some(found) = snapshot.endpoint(endpoint) else {
        return Limit { most: usize::MAX, is_adaptive: false, gather: None };
    };
    let most = found.max_concurrency.into();
    let most = match found.status {
        EndpointStatus::Active if found.settings.rate_limit.is_some() && !rates.has_slot(endpoint, now) => 0,
        EndpointStatus::Active => breakers.limit(endpoint, most, snapshot, now),
        EndpointStatus::Paused | EndpointStatus::Inactive => most,
    };
    Limit { most, is_adaptive: found.settings.adaptive_concurrency, gather: Gather::of(found) }
}
