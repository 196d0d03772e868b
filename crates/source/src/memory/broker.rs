//! The in-memory broker: a queue with leases, and knobs to make it fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::ack::Settled;
use crate::message::{Headers, LogOffset};

/// Later instants may not exist.
pub(super) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a producer publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The raw bytes.
    pub body: Bytes,
    /// The headers.
    pub headers: Headers,
    /// The producer's id of the message.
    pub message_id: Option<String>,
    /// The producer's timestamp in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Where it is addressed to.
    pub address: String,
    /// Where it stands in its log, when the broker plays one.
    pub offset: Option<LogOffset>,
}

impl<T: Into<Bytes>> From<T> for Publication {
    fn from(body: T) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

/// What a [`MemoryBroker`] counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Published so far.
    pub published: u64,
    /// Waiting for a consumer, those whose delay has not passed included.
    pub ready: u64,
    /// Delivered and neither acknowledged nor given back.
    pub unacked: u64,
    /// Acknowledged so far.
    pub acked: u64,
    /// Refused so far ([`Settled::Refuse`]): gone without having been stored.
    pub refused: u64,
    /// Deliveries so far that were not a message's first.
    pub redelivered: u64,
    /// Settlements so far of deliveries that were not out any more.
    pub stale: u64,
}

/// A queue with leases in memory. Clones are the same broker.
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

struct Shared {
    lease: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Ready messages in the order of their publication.
    ready: BTreeMap<u64, Stored>,
    /// Deliveries that are out, by their id.
    out: HashMap<u64, Out>,
    open: BTreeSet<u64>,
    /// The ids of messages, deliveries and connections.
    next: u64,
    stalled: bool,
    down: bool,
    stats: Stats,
}

struct Stored {
    publication: Publication,
    deliveries: u32,
    not_before: Option<Instant>,
}

struct Out {
    number: u64,
    stored: Stored,
    connection: u64,
    expires: Instant,
}

pub(super) struct Delivery {
    pub(super) id: u64,
    pub(super) publication: Publication,
    pub(super) attempt: u32,
}

pub(super) enum Received {
    Deliveries(Vec<Delivery>),
    HungUp,
}

impl MemoryBroker {
    /// An empty broker; a delivery that is not settled comes back after `lease`, unless it is extended.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        let shared = Shared { lease, state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// How long a delivery may stay unsettled without an extension.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.shared.lease
    }

    /// Adds a message at the end.
    pub fn publish(&self, publication: impl Into<Publication>) {
        let stored = Stored { publication: publication.into(), deliveries: 0, not_before: None };
        self.change(|state| {
            let number = state.id();
            state.ready.insert(number, stored);
            state.stats.published += 1;
        });
    }

    /// What it counts right now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut state = self.lock();
        state.expire(Instant::now());
        Stats { ready: state.ready.len() as u64, unacked: state.out.len() as u64, ..state.stats }
    }

    /// Fault: breaks every connection. What is out is ready again, and its settlements count for nothing. Sources
    /// connect anew by themselves.
    pub fn crash(&self) {
        self.change(State::take_all_back);
    }

    /// Fault: while `down`, nothing is delivered and settlements are lost; going down is a crash.
    pub fn set_down(&self, down: bool) {
        self.change(|state| {
            state.down = down;
            if down {
                state.take_all_back();
            }
        });
    }

    /// Fault: while `stalled`, nothing is delivered; settlements count.
    pub fn set_stalled(&self, stalled: bool) {
        self.change(|state| state.stalled = stalled);
    }

    /// Fault: every source that is connected now ends with [`crate::SourceError::Disconnected`]. What it has out
    /// comes back when its lease runs out.
    pub fn disconnect(&self) {
        self.change(|state| state.open.clear());
    }

    pub(super) fn open(&self) -> u64 {
        let mut state = self.lock();
        let connection = state.id();
        state.open.insert(connection);
        connection
    }

    /// Waits for at least one message for `connection`, and takes at most `max`. Cancel-safe.
    pub(super) async fn receive(&self, connection: u64, max: usize) -> Received {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Armed before looking, so that no change is missed.
            changed.as_mut().enable();
            let next = {
                let now = Instant::now();
                let mut state = self.lock();
                state.expire(now);
                if !state.open.contains(&connection) {
                    return Received::HungUp;
                }
                let taken = state.take(connection, max, now, now + self.shared.lease);
                if !taken.is_empty() {
                    return Received::Deliveries(taken);
                }
                state.next_event(now)
            };
            match next {
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Whether the delivery was still out.
    pub(super) fn settle(&self, delivery: u64, how: &Settled) -> bool {
        self.change(|state| {
            let now = Instant::now();
            state.expire(now);
            let Some(out) = state.out.remove(&delivery) else {
                state.stats.stale += 1;
                return false;
            };
            match how {
                Settled::Ack(_) => state.stats.acked += 1,
                Settled::Refuse(_) => state.stats.refused += 1,
                Settled::Retry(after) => {
                    let not_before = after.map(|after| now + after.min(LONGEST));
                    state.ready.insert(out.number, Stored { not_before, ..out.stored });
                }
            }
            true
        })
    }

    /// Extends the lease of everything that `connection` has out.
    pub(super) fn extend(&self, connection: u64) {
        let now = Instant::now();
        let mut state = self.lock();
        state.expire(now);
        for out in state.out.values_mut().filter(|out| out.connection == connection) {
            out.expires = now + self.shared.lease;
        }
    }

    /// No more deliveries to `connection`.
    pub(super) fn stop(&self, connection: u64) {
        self.lock().open.remove(&connection);
    }

    /// Takes back what `connection` has out.
    pub(super) fn hang_up(&self, connection: u64) {
        self.change(|state| state.take_back(|out| out.connection == connection));
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.lock());
        self.shared.changed.notify_waiters();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn expire(&mut self, now: Instant) {
        self.take_back(|out| out.expires <= now);
    }

    fn take_all_back(&mut self) {
        self.take_back(|_| true);
    }

    fn take_back(&mut self, which: impl Fn(&Out) -> bool) {
        for (_, out) in self.out.extract_if(|_, out| which(out)) {
            self.ready.insert(out.number, out.stored);
        }
    }

    fn take(&mut self, connection: u64, max: usize, now: Instant, expires: Instant) -> Vec<Delivery> {
        if self.stalled || self.down {
            return Vec::new();
        }
        let due = |stored: &Stored| stored.not_before.is_none_or(|at| at <= now);
        let numbers = self.ready.iter().filter(|(_, stored)| due(stored)).map(|(number, _)| *number);
        let numbers = numbers.take(max).collect::<Vec<_>>();
        let mut taken = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(mut stored) = self.ready.remove(&number) else { continue };
            stored.deliveries += 1;
            self.stats.redelivered += u64::from(stored.deliveries > 1);
            let id = self.id();
            let (publication, attempt) = (stored.publication.clone(), stored.deliveries);
            taken.push(Delivery { id, publication, attempt });
            self.out.insert(id, Out { number, stored, connection, expires });
        }
        taken
    }

    /// When something becomes ready by itself.
    fn next_event(&self, now: Instant) -> Option<Instant> {
        let delays = self.ready.values().filter_map(|stored| stored.not_before).filter(|at| *at > now);
        delays.chain(self.out.values().map(|out| out.expires)).min()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("lease", &self.shared.lease).finish_non_exhaustive()
    }
}
