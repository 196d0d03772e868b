//! Tells the broker how messages ended: deletes them, or makes them visible again.
//!
//! A task of its own, so that settling never waits for somebody to receive. Requests of up to ten entries; several are
//! under way at once; what does not fill one waits a moment for company. A request that fails leaves nothing worse
//! than a redelivery.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry as Entry;
use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longshore_source::{Settled, Settlement, Settlements, SourceError, Status};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::Queue;
use crate::config::LONGEST_LEASE_SECS;
use crate::error::explain;
use crate::groups::{Act, Groups, Lot, Place};
use crate::leases::{BATCH, Leases, by_place, change_visibility, hand_back};

/// What SQS calls a delivery.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Its number in [`Leases`].
    pub(crate) number: u64,
    pub(crate) receipt: String,
    /// Its place in its message group, on a FIFO queue.
    pub(crate) place: Option<Place>,
}

/// How many settlements are taken at once.
const ROUND: usize = 1024;
/// Requests under way at once.
const AT_ONCE: usize = 16;
/// How long a request that is not full waits for more entries.
const LINGER: Duration = Duration::from_millis(10);
/// How long a request that fails is tried again, at most; and less where the lease is shorter.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long handing back may take at the deadline of a close.
const GOODBYE: Duration = Duration::from_secs(2);

struct Item {
    settlement: Settlement<Handle>,
    /// Whether the lease was lost, which is counted already.
    lost: bool,
    seconds: i32,
}

/// What became of a request.
#[derive(Default)]
struct Done {
    /// The lots that may go on.
    lots: Vec<Arc<Lot>>,
    /// Acknowledgements that were in it.
    acks: u64,
    /// Those of them that did not reach the broker.
    lost: u64,
}

pub(crate) struct Settler {
    settlements: Settlements<Handle>,
    broker: Broker,
    leases: Arc<Leases>,
    groups: Groups<Settlement<Handle>>,
    deletes: Vec<Item>,
    returns: Vec<Item>,
    flying: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// Acknowledgements in `flying`.
    acks: u64,
    /// Acknowledgements that did not reach the broker since `close` was called.
    lost: u64,
}

#[derive(Clone)]
struct Broker {
    queue: Queue,
    status: Status,
    patience: Duration,
}

impl Settler {
    pub(crate) fn new(
        settlements: Settlements<Handle>,
        queue: Queue,
        leases: Arc<Leases>,
        status: Status,
    ) -> Self {
        let patience = (leases.visibility() / 2).clamp(Duration::from_secs(1), PATIENCE);
        Self {
            settlements,
            broker: Broker { queue, status, patience },
            leases,
            groups: Groups::default(),
            deletes: Vec::new(),
            returns: Vec::new(),
            flying: FuturesUnordered::new(),
            acks: 0,
            lost: 0,
        }
    }

    /// Runs until the tracker and every token are gone and everything is told, or until the deadline that `close`
    /// sends. Returns how many acknowledgements did not reach the broker after `close`.
    pub(crate) async fn run(mut self, mut close: oneshot::Receiver<Instant>) -> u64 {
        let mut round = Vec::new();
        let (mut deadline, mut linger, mut ended) = (None, None, false);
        loop {
            if ended && self.flying.is_empty() {
                self.flush();
                if self.flying.is_empty() {
                    return self.lost;
                }
            }
            // Biased: what is done makes room, and a full request does not wait behind new settlements.
            tokio::select! {
                biased;
                at = &mut close, if deadline.is_none() => {
                    let Ok(at) = at else { return self.lost };
                    (deadline, self.lost) = (Some(at), 0);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return self.give_up().await;
                }
                Some(done) = self.flying.next() => self.done(done),
                () = sleep_until(linger.unwrap_or_else(Instant::now)), if linger.is_some() => self.flush(),
                count = self.settlements.next_many(&mut round, ROUND), if !ended && self.flying.len() < AT_ONCE => {
                    ended = count == 0;
                    for settlement in round.drain(..) {
                        self.settle(settlement);
                    }
                }
            }
            // Nobody adds to a request any more when everything is settled.
            if deadline.is_some() || ended {
                self.flush();
            }
            let waits = !self.deletes.is_empty() || !self.returns.is_empty();
            linger = waits.then(|| linger.unwrap_or_else(|| Instant::now() + LINGER));
        }
    }

    fn settle(&mut self, settlement: Settlement<Handle>) {
        let place = settlement.handle.place.clone();
        let act = match (&settlement.how, place) {
            (Settled::Ack(_), None) => Some(Act::Delete(vec![settlement])),
            (Settled::Ack(_), Some(place)) => self.groups.ack(&place, settlement),
            // Nothing was stored of what is refused, so it must not vanish.
            (how, place) => {
                let after = if let Settled::Retry(Some(after)) = how { *after } else { Duration::ZERO };
                Some(match place {
                    None => Act::Return(vec![(settlement, after)]),
                    Some(place) => self.groups.give_back(&place, settlement, after),
                })
            }
        };
        self.act(act);
    }

    fn act(&mut self, act: Option<Act<Settlement<Handle>>>) {
        match act {
            None => {}
            Some(Act::Delete(row)) => {
                // A row of one group stays together.
                if self.deletes.len() + row.len() > BATCH {
                    self.flush_deletes();
                }
                for settlement in row {
                    let lost = self.leases.end(settlement.handle.number);
                    self.deletes.push(Item { settlement, lost, seconds: 0 });
                }
                if self.deletes.len() >= BATCH {
                    self.flush_deletes();
                }
            }
            Some(Act::Return(row)) => {
                if self.returns.len() + row.len() > BATCH {
                    self.flush_returns();
                }
                for (settlement, after) in row {
                    let seconds = delay(after, self.leases.age(settlement.handle.number));
                    // What is lost is somebody else's already.
                    if !self.leases.end(settlement.handle.number) {
                        self.returns.push(Item { settlement, lost: false, seconds });
                    }
                }
                if self.returns.len() >= BATCH {
                    self.flush_returns();
                }
            }
        }
    }

    fn flush(&mut self) {
        self.flush_deletes();
        self.flush_returns();
    }

    fn flush_deletes(&mut self) {
        let batch = std::mem::take(&mut self.deletes);
        if !batch.is_empty() {
            self.acks += batch.len() as u64;
            let broker = self.broker.clone();
            self.flying.push(Box::pin(async move { broker.delete(batch).await }));
        }
    }

    fn flush_returns(&mut self) {
        let batch = std::mem::take(&mut self.returns);
        if !batch.is_empty() {
            let broker = self.broker.clone();
            self.flying.push(Box::pin(async move { broker.give_back(batch).await }));
        }
    }

    fn done(&mut self, done: Done) {
        self.acks -= done.acks;
        self.lost += done.lost;
        for lot in done.lots {
            let act = self.groups.deleted(&lot);
            self.act(act);
        }
    }

    /// At the deadline: everything that is still out goes back.
    async fn give_up(mut self) -> u64 {
        let receipts = self.leases.end_all();
        self.broker.status.returned(receipts.len());
        let _ = timeout(GOODBYE, hand_back(&self.broker.queue, &receipts)).await;
        // What is under way gets the same moment.
        let _ = timeout(GOODBYE, async {
            while let Some(done) = self.flying.next().await {
                self.acks -= done.acks;
                self.lost += done.lost;
            }
        })
        .await;
        self.lost + self.acks + self.groups.waiting() as u64
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.broker.status.stopped();
    }
}

/// Whole seconds, not before `after`, and not beyond what SQS allows a message that has been out for `age`.
fn delay(after: Duration, age: Duration) -> i32 {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    let most = u64::from(LONGEST_LEASE_SECS).saturating_sub(age.as_secs() + 1);
    i32::try_from(seconds.min(most)).unwrap_or(0)
}

impl Broker {
    /// Deletes, again and again what fails by no fault of ours.
    async fn delete(&self, mut batch: Vec<Item>) -> Done {
        let lots =
            batch.iter().filter_map(|item| Some(Arc::clone(&item.settlement.handle.place.as_ref()?.lot)));
        let mut lots = lots.collect::<Vec<_>>();
        lots.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let (acks, mut lost) = (batch.len() as u64, 0);
        let mut pauses = self.pauses();
        loop {
            let before = batch.len();
            match self.delete_once(&batch).await {
                Ok(failed) => {
                    let mut again = Vec::new();
                    for (index, item) in batch.into_iter().enumerate() {
                        match failed.iter().find(|(place, _)| *place == index) {
                            None => self.status.acked(usize::from(!item.lost)),
                            Some((_, failure)) if failure.sender_fault => {
                                tracing::debug!(code = failure.code, "a message was deleted too late");
                                self.status.stale(usize::from(!item.lost));
                                lost += 1;
                            }
                            Some(_) => again.push(item),
                        }
                    }
                    batch = again;
                }
                Err(error) => {
                    tracing::debug!(queue = self.queue.name, %error, count = before, "messages could not be deleted");
                }
            }
            if batch.is_empty() {
                return Done { lots, acks, lost };
            }
            let Some(pause) = pauses.next_backoff() else {
                tracing::warn!(
                    queue = self.queue.name,
                    count = batch.len(),
                    "messages were not deleted and will come again"
                );
                self.status.stale(batch.iter().filter(|item| !item.lost).count());
                return Done { lots, acks, lost: lost + batch.len() as u64 };
            };
            sleep(pause).await;
        }
    }

    async fn delete_once(
        &self,
        batch: &[Item],
    ) -> Result<Vec<(usize, aws_sdk_sqs::types::BatchResultErrorEntry)>, SourceError> {
        let mut call = self.queue.calls.delete_message_batch().queue_url(&self.queue.url);
        for (index, item) in batch.iter().enumerate() {
            let entry =
                Entry::builder().id(index.to_string()).receipt_handle(&item.settlement.handle.receipt);
            call = call.entries(entry.build().expect("an id and a receipt handle are set"));
        }
        let answer = call.send().await;
        let answer =
            answer.map_err(|error| explain(&error, &format!("deleting from `{}`", self.queue.name)))?;
        Ok(by_place(answer.failed))
    }

    async fn give_back(&self, mut batch: Vec<Item>) -> Done {
        let mut pauses = self.pauses();
        loop {
            let entries = batch.iter().map(|item| (item.settlement.handle.receipt.as_str(), item.seconds));
            match change_visibility(&self.queue, entries).await {
                Ok(failed) => {
                    let mut again = Vec::new();
                    for (index, item) in batch.into_iter().enumerate() {
                        match failed.iter().find(|(place, _)| *place == index) {
                            None => self.status.returned(1),
                            Some((_, failure)) if failure.sender_fault => self.status.stale(1),
                            Some(_) => again.push(item),
                        }
                    }
                    batch = again;
                }
                Err(error) => {
                    tracing::debug!(queue = self.queue.name, %error, "messages could not be given back");
                }
            }
            if batch.is_empty() {
                break;
            }
            let Some(pause) = pauses.next_backoff() else {
                // They come back by themselves when their lease is over.
                self.status.returned(batch.len());
                break;
            };
            sleep(pause).await;
        }
        Done::default()
    }

    fn pauses(&self) -> backoff::ExponentialBackoff {
        ExponentialBackoffBuilder::new()
            .with_initial_interval(Duration::from_millis(50))
            .with_max_interval(Duration::from_secs(2))
            .with_max_elapsed_time(Some(self.patience))
            .build()
    }
}
