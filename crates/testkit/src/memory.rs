//! The store in memory: the ports of [`longshore_core::ports`], with fault knobs and a look inside.
//!
//! For model tests of the pipeline under paused time. It is no product and keeps everything for ever, but it
//! keeps the ports' promises to the letter, so that what passes here is wrong about Postgres only where the
//! ports' documentation is. Invariant: a call changes everything it should or nothing, and [`Fault::LostReply`]
//! is the only way to an error after a change.
//!
//! [`MemoryDatabase`] is what all processes share; [`MemoryStore`] is one process's connection to it, with an
//! owner and a lease of its own.

mod breakers;
mod faults;
mod lanes;
mod log;
mod notices;
mod queue;
mod rates;
mod replay;
mod rows;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::ports::{Breaker, DynamicEndpoint, NewEvent, QuarantinedMessage, StoreError};
use longshore_core::{
    Clock, DeliveryId, DeliveryState, EndpointId, EventId, ProcessId, QuarantineId, Snapshot, SourceId,
    Timestamp,
};
use tokio::sync::watch;

use crate::clock::TokioClock;
use faults::Faults;
use rows::Tables;

pub use faults::{Fault, Op};
pub use rows::{StoredDelivery, StoredEvent};

/// How long a process may be silent before others take its deliveries over, unless a test says otherwise.
pub const PROCESS_LEASE: Duration = Duration::from_secs(15);

/// What all processes share. Clones are the same database.
#[derive(Clone, Debug)]
pub struct MemoryDatabase {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: TokioClock,
    lease: Duration,
    tables: Mutex<Tables>,
    faults: Mutex<Faults>,
    version: watch::Sender<u64>,
}

/// One process's connection: implements the ports. Clones are the same process.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    owner: Arc<Mutex<ProcessId>>,
}

impl MemoryDatabase {
    /// An empty database whose clock is `clock`.
    #[must_use]
    pub fn new(clock: TokioClock) -> Self {
        Self::with_lease(clock, PROCESS_LEASE)
    }

    /// An empty database with another lease of processes.
    #[must_use]
    pub fn with_lease(clock: TokioClock, lease: Duration) -> Self {
        let (tables, faults) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { clock, lease, tables, faults, version: watch::Sender::new(0) }) }
    }

    /// Connects a process, with a lease from now on.
    #[must_use]
    pub fn process(&self) -> MemoryStore {
        let owner = self.shared.tables().register(self.shared.clock.now(), self.shared.lease);
        MemoryStore { shared: Arc::clone(&self.shared), owner: Arc::new(Mutex::new(owner)) }
    }

    /// Makes the next calls of `op` meet these faults, one each, after those already planned.
    pub fn plan(&self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults().plan(op, faults);
    }

    /// Makes the next `n` calls of `op` fail as unavailable, with nothing done.
    pub fn fail_next(&self, op: Op, n: usize) {
        self.plan(op, std::iter::repeat_n(Fault::Unavailable, n));
    }

    /// Makes the next `n` calls of `op` do everything and fail as unavailable all the same.
    pub fn lose_replies(&self, op: Op, n: usize) {
        self.plan(op, std::iter::repeat_n(Fault::LostReply, n));
    }

    /// While true, every call of every kind fails as unavailable, with nothing done.
    pub fn set_outage(&self, out: bool) {
        self.shared.faults().outage = out;
        self.shared.touch();
    }

    /// Makes every call take this long, before it does anything.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.faults().latency = latency;
    }

    /// Refuses, for good, every batch with an event for which this is true.
    pub fn reject(&self, refuses: impl Fn(&NewEvent) -> bool + Send + 'static) {
        self.shared.faults().reject = Some(Box::new(refuses));
    }

    /// Refuses, for good, to register endpoints among which there is one for which this is true.
    pub fn reject_endpoints(&self, refuses: impl Fn(&DynamicEndpoint) -> bool + Send + 'static) {
        self.shared.faults().reject_endpoints = Some(Box::new(refuses));
    }

    /// Sets what [`longshore_core::ports::EventLog::id_window`] says; everything, unless set.
    pub fn set_id_window(&self, from: Timestamp, to: Timestamp) {
        self.shared.tables().id_window = (from, to);
    }

    /// Sets what [`longshore_core::ports::EventLog::config_version`] says; 1, unless set.
    pub fn set_config_version(&self, version: i64) {
        self.shared.tables().config_version = version;
        self.shared.touch();
    }

    /// Takes a process's lease away at once, as if it had been silent for too long and another had noticed.
    pub fn expire(&self, owner: ProcessId) {
        let now = self.shared.clock.now();
        self.shared.tables().reap(owner, now);
        self.shared.touch();
    }

    /// Calls of `op` so far, failed ones included.
    #[must_use]
    pub fn calls(&self, op: Op) -> usize {
        self.shared.faults().calls(op)
    }

    /// Every stored event, in the order of their ids.
    #[must_use]
    pub fn events(&self) -> Vec<StoredEvent> {
        self.shared.tables().events.values().cloned().collect()
    }

    /// A stored event.
    #[must_use]
    pub fn event(&self, id: EventId) -> Option<StoredEvent> {
        self.shared.tables().events.get(&id).cloned()
    }

    /// Every delivery, in the order of their ids.
    #[must_use]
    pub fn deliveries(&self) -> Vec<StoredDelivery> {
        self.shared.tables().deliveries.values().cloned().collect()
    }

    /// A delivery.
    #[must_use]
    pub fn delivery(&self, id: DeliveryId) -> Option<StoredDelivery> {
        self.shared.tables().deliveries.get(&id).cloned()
    }

    /// When that process lost its claims; `None` while it has them.
    #[must_use]
    pub fn ended_at(&self, process: ProcessId) -> Option<Timestamp> {
        self.shared.tables().ended_at(process)
    }

    /// Deliveries in that state.
    #[must_use]
    pub fn count_in(&self, state: DeliveryState) -> usize {
        self.shared.tables().deliveries.values().filter(|delivery| delivery.state == state).count()
    }

    /// Every quarantined message, in the order of their ids.
    #[must_use]
    pub fn quarantined(&self) -> Vec<QuarantinedMessage> {
        self.shared.tables().quarantined.values().cloned().collect()
    }

    /// How far the logs of a source are stored.
    #[must_use]
    pub fn source_offsets(&self, source: SourceId) -> HashMap<String, u64> {
        let tables = self.shared.tables();
        let of_source = tables.offsets.iter().filter(|((of, _), _)| *of == source);
        of_source.filter_map(|((_, log), (next, _))| Some((log.clone(), (*next)?))).collect()
    }

    /// Forgets how far a log is stored; what was received before no longer counts.
    pub fn forget_source_offset(&self, source: SourceId, log: &str) {
        let now = self.shared.clock.now();
        self.shared.tables().offsets.insert((source, log.to_owned()), (None, now));
        self.shared.touch();
    }

    /// What became of replaying a quarantined message: the event, and whether it is over.
    #[must_use]
    pub fn replayed(&self, id: QuarantineId) -> Option<(Option<EventId>, bool)> {
        self.shared.tables().replays.get(&id).copied()
    }

    /// Sets the configuration that a replay sees.
    pub fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.shared.tables().snapshot = snapshot;
        self.shared.touch();
    }

    /// The breaker of an endpoint; `None` for one that has none, which is closed.
    #[must_use]
    pub fn breaker(&self, endpoint: EndpointId) -> Option<Breaker> {
        let now = self.shared.clock.now();
        self.shared.tables().breakers.get(&endpoint).map(|stored| stored.seen(endpoint, now))
    }

    /// Every endpoint that a `dynamic` event registered.
    #[must_use]
    pub fn dynamic_endpoints(&self) -> Vec<DynamicEndpoint> {
        self.shared.tables().dynamic.values().cloned().collect()
    }

    /// Waits until `done` is true of the database; it is asked now and after every change. Wrap it in a timeout.
    pub async fn wait_until(&self, mut done: impl FnMut(&Self) -> bool) {
        let mut version = self.shared.version.subscribe();
        let changed = version.wait_for(|_| done(self)).await;
        changed.expect("the sender lives in `self`");
    }
}

impl MemoryStore {
    /// The database behind this connection.
    #[must_use]
    pub fn database(&self) -> MemoryDatabase {
        MemoryDatabase { shared: Arc::clone(&self.shared) }
    }

    fn current_owner(&self) -> ProcessId {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_owner(&self, to: ProcessId) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    /// Runs `work` as one transaction, with the faults planned for `op`.
    async fn call<T>(
        &self,
        op: Op,
        work: impl FnOnce(&mut Tables, Timestamp) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let (latency, fault) = self.shared.faults().next(op);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let unavailable = |what: &str| Err(StoreError::Unavailable(format!("{what} ({op:?})")));
        match fault {
            Some(Fault::Unavailable) => return unavailable("planned fault"),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Misconfigured) => return Err(StoreError::Misconfigured("planned fault".to_owned())),
            Some(Fault::LostReply) | None => {}
        }
        let now = self.shared.clock.now();
        let result = work(&mut self.shared.tables(), now);
        self.shared.touch();
        match fault {
            Some(Fault::LostReply) if result.is_ok() => unavailable("planned loss of the reply"),
            _ => result,
        }
    }
}

impl Shared {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }
}
