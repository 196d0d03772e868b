//! Speaks with the board of breakers: follows changes, hands in counts, judges, and begins probes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::breaker::{BreakerState, Shift};
use longshore_core::ports::{Breaker, BreakerBoard, BreakerCount, BreakerShift, StoreError};
use longshore_core::{EndpointId, ProjectId, Snapshot};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::settings;
use crate::dispatch::lease::Lease;

/// How often changes are asked for.
const POLL: Duration = Duration::from_millis(250);
/// A breaker is judged once everybody has had time to notice that it is watched, and to hand in counts.
const HEARD: Duration = Duration::from_millis(1_500);

/// What the driver wants from the board.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Order {
    /// Endpoints that look sick and have no breaker.
    pub(super) watch: Vec<(EndpointId, ProjectId)>,
    pub(super) counts: Vec<BreakerCount>,
    /// What probes have shown.
    pub(super) shifts: Vec<BreakerShift>,
}

impl Order {
    pub(in crate::dispatch) fn of(shifts: Vec<BreakerShift>) -> Self {
        Self { shifts, ..Self::default() }
    }

    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.watch.is_empty() && self.counts.is_empty() && self.shifts.is_empty()
    }
}

/// What the driver is told.
#[derive(Debug)]
pub(in crate::dispatch) struct News {
    /// After the call that brought them.
    pub(super) at: Instant,
    /// Breakers, and whether this process made them what they are.
    pub(super) breakers: Vec<(Breaker, bool)>,
    /// Closed breakers under whose version nobody has counted a failure.
    pub(super) recovered: Vec<(EndpointId, i64)>,
}

/// The task.
pub(in crate::dispatch) struct Board<Q> {
    pub(in crate::dispatch) queue: Arc<Q>,
    pub(in crate::dispatch) config: watch::Receiver<Arc<Snapshot>>,
    pub(in crate::dispatch) lease: watch::Receiver<Lease>,
    /// Endpoints with something due.
    pub(in crate::dispatch) waits: watch::Receiver<HashSet<EndpointId>>,
    pub(in crate::dispatch) orders: mpsc::Receiver<Order>,
    /// Unbounded, but only changes of breakers are sent, a batch per call.
    pub(in crate::dispatch) news: mpsc::UnboundedSender<News>,
    pub(in crate::dispatch) stop: CancellationToken,
}

/// Breakers that are not closed, and when their time is over.
type Ajar = HashMap<EndpointId, (Breaker, Instant)>;

impl<Q: BreakerBoard> Board<Q> {
    /// Runs until `stop` is cancelled.
    pub(in crate::dispatch) async fn run(mut self) {
        let stop = self.stop.clone();
        stop.run_until_cancelled(async {
            let mut ticks = tokio::time::interval(POLL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (mut since, mut ajar, mut failing) = (-1, Ajar::new(), false);
            loop {
                let done = tokio::select! {
                    Some(order) = self.orders.recv() => self.carry_out(order, &mut ajar).await,
                    _ = ticks.tick() => self.follow(&mut since, &mut ajar).await,
                };
                match done {
                    Ok(()) => failing = false,
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(%error, "breakers stay as they are");
                    }
                    Err(_) => {}
                }
            }
        })
        .await;
    }

    /// Asks for changes, and begins a probe where the time has come and something waits.
    async fn follow(&self, since: &mut i64, ajar: &mut Ajar) -> Result<(), StoreError> {
        let changes = self.queue.breaker_changes(*since).await?;
        *since = changes.version;
        self.tell(changes.breakers, false, ajar);
        if !self.lease.borrow().is_valid() || ajar.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        let ripe: Vec<BreakerShift> = {
            let (snapshot, waits) = (Arc::clone(&self.config.borrow()), self.waits.borrow());
            let ripe =
                ajar.values().filter(|(breaker, until)| *until <= now && waits.contains(&breaker.endpoint));
            let shift = |(breaker, _): &(Breaker, Instant)| {
                let (endpoint, ..) = settings(&snapshot, breaker.endpoint)?;
                let shift = super::probe(endpoint);
                Some(BreakerShift { endpoint: breaker.endpoint, version: breaker.version, shift })
            };
            ripe.filter_map(shift).collect()
        };
        self.shift(&ripe, ajar).await
    }

    async fn carry_out(&self, order: Order, ajar: &mut Ajar) -> Result<(), StoreError> {
        // What a probe has shown is not asked for again when it is lost: then the prober's time runs out.
        self.shift(&order.shifts, ajar).await?;
        if !order.watch.is_empty() {
            self.queue.watch(&order.watch).await?;
        }
        if order.counts.is_empty() {
            return Ok(());
        }
        let counts = self.queue.count(&order.counts).await?;
        let at = Instant::now();
        let snapshot = Arc::clone(&self.config.borrow());
        let heard = counts.iter().filter(|count| count.age >= HEARD);
        let opened = heard.clone().filter_map(|count| {
            let (_, settings, _) = settings(&snapshot, count.endpoint)?;
            let shift = settings.judge(count.requests, count.failures)?;
            Some(BreakerShift { endpoint: count.endpoint, version: count.version, shift })
        });
        let opened: Vec<BreakerShift> = opened.collect();
        let recovered = heard.filter(|count| count.failures == 0);
        let recovered = recovered.map(|count| (count.endpoint, count.version)).collect();
        // Fails only when the dispatcher has ended.
        let _ = self.news.send(News { at, breakers: Vec::new(), recovered });
        self.shift(&opened, ajar).await
    }

    async fn shift(&self, shifts: &[BreakerShift], ajar: &mut Ajar) -> Result<(), StoreError> {
        if shifts.is_empty() {
            return Ok(());
        }
        let changed = self.queue.shift(shifts).await?;
        let asked: HashMap<EndpointId, Shift> =
            shifts.iter().map(|wanted| (wanted.endpoint, wanted.shift)).collect();
        for breaker in &changed {
            log(breaker, asked.get(&breaker.endpoint).copied());
        }
        self.tell(changed, true, ajar);
        Ok(())
    }

    fn tell(&self, breakers: Vec<Breaker>, is_mine: bool, ajar: &mut Ajar) {
        if breakers.is_empty() {
            return;
        }
        let at = Instant::now();
        for breaker in &breakers {
            match breaker.state {
                BreakerState::Closed => drop(ajar.remove(&breaker.endpoint)),
                _ => drop(ajar.insert(breaker.endpoint, (*breaker, at + breaker.until_in))),
            }
        }
        let breakers = breakers.into_iter().map(|breaker| (breaker, is_mine)).collect();
        // Fails only when the dispatcher has ended.
        let _ = self.news.send(News { at, breakers, recovered: Vec::new() });
    }
}

/// Tells of a change, once in the fleet.
fn log(breaker: &Breaker, shift: Option<Shift>) {
    let Breaker { endpoint, project, trips, .. } = breaker;
    let to = if shift == Some(Shift::Disable) { "disabled" } else { breaker.state.as_str() };
    metrics::counter!("dispatch_breaker_changes_total", "to" => to).increment(1);
    match shift {
        Some(Shift::Open(_)) => {
            tracing::warn!(endpoint.id = %endpoint, project.id = %project, trips, "breaker opened: deliveries are parked");
        }
        Some(Shift::Disable) => {
            tracing::warn!(endpoint.id = %endpoint, project.id = %project, "endpoint switched off: its breaker opened too often");
        }
        Some(Shift::Probe(_)) => {
            tracing::info!(endpoint.id = %endpoint, project.id = %project, trips, "breaker half-open: sending probes");
        }
        Some(Shift::Close) | None => {
            tracing::info!(endpoint.id = %endpoint, project.id = %project, "breaker closed: deliveries go out again");
        }
    }
}
