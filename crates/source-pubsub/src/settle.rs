//! Tells the service how messages ended: acknowledge, give back, or hold and give back later.
//!
//! A task of its own, so that settling never waits for somebody to receive. Calls hold many ids each, and while a few
//! are under way the next ones gather. Invariants: an acknowledgement counts only when the service has confirmed it; a
//! message keeps its slot until then; of one ordering key, messages are acknowledged in order.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backoff::backoff::Backoff as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longshore_source::{Settled, Settlement, Settlements, Status};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api::{Api, MOST_IDS};
use crate::error::{Fate, fates};
use crate::lease::{AckId, Leases};
use crate::order::{Admission, Order};
use crate::stream::pauses;

/// How many settlements are taken at once.
const ROUND: usize = 4096;
/// How many calls are under way at once.
const CALLS: usize = 4;
/// A message is held back at most this long.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// How long the last call, which gives back what is left, may take.
const LAST_CALL: Duration = Duration::from_secs(2);

/// What Pub/Sub calls a delivery.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) id: AckId,
    /// The ordering key, unless it is empty.
    pub(crate) key: Option<String>,
}

type Item = Settlement<Handle>;

/// The ordering keys, which the receiving half admits to and the settling half settles.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedOrder(Arc<Mutex<Order<Item>>>);

impl SharedOrder {
    pub(crate) fn admit(&self, key: &str, message_id: &str, id: &AckId) -> Admission {
        self.lock().admit(key, message_id, id)
    }

    fn lock(&self) -> MutexGuard<'_, Order<Item>> {
        // Nothing in here is left half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Settler {
    pub(crate) api: Api,
    pub(crate) settlements: Settlements<Handle>,
    /// What goes back without ever having been handed out.
    pub(crate) returns: mpsc::UnboundedReceiver<AckId>,
    pub(crate) order: SharedOrder,
    pub(crate) leases: Leases,
    pub(crate) status: Status,
    /// For how long a call is tried again: after that, the leases are over.
    pub(crate) patience: Duration,
    pub(crate) work: Work,
}

/// What is not settled at the service yet.
#[derive(Default)]
pub(crate) struct Work {
    /// Messages without an ordering key that wait before they go back, by the time when they are due.
    held: BTreeMap<(Instant, u64), Item>,
    count: u64,
    to_ack: Vec<Item>,
    to_return: Vec<(AckId, Option<Item>)>,
    calls: FuturesUnordered<Call>,
    acking: usize,
    /// Acknowledgements that the service has not confirmed since `close` was called.
    lost: usize,
    closing: bool,
}

type Call = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    Acked(Vec<(Item, Fate)>),
    Returned(Vec<Item>),
}

impl Settler {
    /// Runs until the source is dropped, or is closed and everything is settled or the deadline that `close` sends
    /// has passed. Returns how many acknowledgements the service has not confirmed meanwhile.
    pub(crate) async fn run(mut self, mut close: oneshot::Receiver<Instant>) -> usize {
        let (mut round, mut returns) = (Vec::new(), Vec::new());
        let mut deadline = None;
        // Whether there are tokens out, and a receiving half.
        let (mut tokens, mut receiving) = (true, true);
        loop {
            self.dispatch();
            if self.work.closing && self.is_done() {
                break;
            }
            let due = self.next_due();
            tokio::select! {
                biased;
                at = &mut close, if deadline.is_none() => {
                    let Ok(at) = at else { return self.work.lost };
                    deadline = Some(at);
                    self.work.closing = true;
                    self.give_back_held(None);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => break,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.give_back_held(Some(Instant::now()));
                }
                Some(done) = self.work.calls.next(), if !self.work.calls.is_empty() => self.finish(done),
                count = self.returns.recv_many(&mut returns, ROUND), if receiving => {
                    receiving = count > 0;
                    self.work.to_return.extend(returns.drain(..).map(|id| (id, None)));
                }
                count = self.settlements.next_many(&mut round, ROUND), if tokens => {
                    tokens = count > 0;
                    self.settle(&mut round);
                }
            }
        }
        give_back_rest(&self.api, &self.leases).await;
        self.work.lost + self.work.acking + self.work.to_ack.len() + self.order.lock().waiting()
    }

    fn is_done(&self) -> bool {
        let work = &self.work;
        let idle = work.calls.is_empty() && work.to_ack.is_empty() && work.to_return.is_empty();
        idle && self.returns.is_empty() && self.settlements.taken() == 0
    }

    fn settle(&mut self, round: &mut Vec<Item>) {
        let order = self.order.clone();
        let mut order = order.lock();
        for item in round.drain(..) {
            let (id, key) = (AckId::clone(&item.handle.id), item.handle.key.clone());
            match (&item.how, key) {
                (Settled::Ack(_), None) => self.work.to_ack.push(item),
                (Settled::Ack(_), Some(key)) => match order.ack(&key, &id, item) {
                    Ok(run) => self.work.to_ack.extend(run),
                    Err(_) => self.stale(1),
                },
                (how, key) => {
                    let now = Instant::now();
                    let due = match how {
                        Settled::Retry(Some(after)) if !self.work.closing => now + (*after).min(LONGEST_HOLD),
                        _ => now,
                    };
                    match key {
                        Some(key) => {
                            if order.retry(&key, &id, due, item).is_err() {
                                self.status.returned(1);
                            }
                        }
                        None if due > now => {
                            self.work.count += 1;
                            self.work.held.insert((due, self.work.count), item);
                        }
                        None => self.work.to_return.push((id, Some(item))),
                    }
                }
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let held = self.work.held.first_key_value().map(|(&(due, _), _)| due);
        held.into_iter().chain(self.order.lock().next_due()).min()
    }

    /// Gives back what is due; everything that is held without a time.
    fn give_back_held(&mut self, now: Option<Instant>) {
        let later = now.map(|now| self.work.held.split_off(&(now, u64::MAX))).unwrap_or_default();
        let ready = std::mem::replace(&mut self.work.held, later).into_values();
        self.work.to_return.extend(ready.map(|item| (AckId::clone(&item.handle.id), Some(item))));
        let mut order = self.order.lock();
        for released in order.release(now) {
            let items = released.settlements.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
            self.work.to_return.extend(released.ids.into_iter().zip(items));
        }
        order.sweep();
    }

    /// Starts calls while there is something to say.
    fn dispatch(&mut self) {
        let work = &mut self.work;
        while work.calls.len() < CALLS {
            let (api, patience) = (self.api.clone(), self.patience);
            if !work.to_return.is_empty() {
                let batch = work.to_return.drain(..work.to_return.len().min(MOST_IDS));
                let (ids, items): (Vec<_>, Vec<_>) = batch.unzip();
                // First, or the lease could be extended behind the back of this call.
                self.leases.remove(ids.iter());
                work.calls.push(Box::pin(async move {
                    tell(&api, ids, Verb::Return, patience).await;
                    Done::Returned(items.into_iter().flatten().collect())
                }));
            } else if !work.to_ack.is_empty() {
                let items: Vec<_> = work.to_ack.drain(..work.to_ack.len().min(MOST_IDS)).collect();
                let ids = items.iter().map(|item| AckId::clone(&item.handle.id)).collect();
                work.acking += items.len();
                work.calls.push(Box::pin(async move {
                    let fates = tell(&api, ids, Verb::Ack, patience).await;
                    Done::Acked(items.into_iter().zip(fates).collect())
                }));
            } else {
                return;
            }
        }
    }

    fn finish(&mut self, done: Done) {
        let items = match done {
            Done::Returned(items) => return self.status.returned(items.len()),
            Done::Acked(items) => items,
        };
        self.work.acking -= items.len();
        self.leases.remove(items.iter().map(|(item, _)| &item.handle.id));
        let order = self.order.clone();
        let mut order = order.lock();
        let (mut acked, mut lost, mut keys) = (0, 0, BTreeSet::new());
        for (item, fate) in items {
            if fate == Fate::Done {
                acked += 1;
                keys.extend(item.handle.key);
                continue;
            }
            lost += 1;
            if let Some(key) = item.handle.key.clone() {
                // It comes again, and so must what is behind it.
                let id = AckId::clone(&item.handle.id);
                let _ = order.retry(&key, &id, Instant::now(), item);
                keys.insert(key);
            } else {
                self.status.stale(1);
            }
        }
        for key in keys {
            self.work.to_ack.extend(order.sent(&key));
        }
        drop(order);
        self.status.acked(acked);
        self.work.lost += if self.work.closing { lost } else { 0 };
    }

    fn stale(&mut self, acks: usize) {
        self.status.stale(acks);
        self.work.lost += if self.work.closing { acks } else { 0 };
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.status.stopped();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Ack,
    Return,
}

/// Says it to the service until it has heard, or can never accept it, or `patience` is over. Returns what became of each.
async fn tell(api: &Api, ids: Vec<AckId>, verb: Verb, patience: Duration) -> Vec<Fate> {
    let begun = Instant::now();
    let mut pauses = pauses();
    let mut outcome = vec![Fate::Again; ids.len()];
    loop {
        let left: Vec<usize> = (0..ids.len()).filter(|index| outcome[*index] == Fate::Again).collect();
        let request = left.iter().map(|index| ids[*index].to_string()).collect();
        let told = match verb {
            Verb::Ack => api.acknowledge(request).await,
            Verb::Return => api.modify_ack_deadline(request, 0).await,
        };
        let fates = match &told {
            Ok(()) => vec![Fate::Done; left.len()],
            Err(status) => {
                tracing::debug!(subscription = api.subscription(), %status, count = left.len(), "not settled");
                fates(status, left.iter().map(|index| ids[*index].as_ref()))
            }
        };
        for (index, fate) in left.into_iter().zip(fates) {
            outcome[index] = fate;
        }
        if !outcome.contains(&Fate::Again) || begun.elapsed() >= patience {
            return outcome;
        }
        sleep(pauses.next_backoff().unwrap_or(patience)).await;
    }
}

/// Gives back whatever is still leased, so that others need not wait for the leases to end.
async fn give_back_rest(api: &Api, leases: &Leases) {
    let rest = leases.drain();
    let calls = rest.chunks(MOST_IDS).map(|ids| {
        let ids = ids.iter().map(|id| id.to_string()).collect();
        api.modify_ack_deadline(ids, 0)
    });
    if timeout(LAST_CALL, futures_util::future::join_all(calls)).await.is_err() {
        tracing::debug!(subscription = api.subscription(), "what was left comes back when its lease ends");
    }
}
