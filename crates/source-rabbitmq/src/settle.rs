//! Tells the broker how messages ended: acknowledge, requeue, or hold and requeue later.
//!
//! A task of its own, so that settling never waits for somebody to receive. Invariants: a tag is used only on the
//! channel that issued it (its epoch); a requeue is on the wire before an acknowledgement that would cover it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use longshore_source::{Settled, Settlement, Settlements, Status};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::stream::StreamPosition;
use crate::tags::Tags;

/// What RabbitMQ calls a delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handle {
    /// The connection that issued the tag.
    pub(crate) epoch: u64,
    /// The delivery tag.
    pub(crate) tag: u64,
    /// The stream offset, if it came from a stream.
    pub(crate) offset: Option<u64>,
}

/// The channel that is alive.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) epoch: u64,
    pub(crate) channel: Channel,
}

/// How many settlements are taken at once.
const ROUND: usize = 4096;
/// A message is held back at most this long: RabbitMQ gives up on an unacknowledged one after 30 minutes.
const LONGEST_HOLD: Duration = Duration::from_secs(15 * 60);

/// How long a failed channel may take to close.
const CLOSE: Duration = Duration::from_secs(1);

pub(crate) struct Settler {
    settlements: Settlements<Handle>,
    live: watch::Receiver<Option<Live>>,
    current: Option<Live>,
    /// The epoch whose channel failed, until the next one is there.
    given_up: Option<u64>,
    tags: Tags,
    /// Messages that wait before they are requeued, by the time when they are due. Each keeps its slot.
    held: BTreeMap<(Instant, u64), Settlement<Handle>>,
    stream: Arc<StreamPosition>,
    status: Status,
    /// Acknowledgements that did not reach the broker since `close` was called.
    lost: u64,
    closing: bool,
}

impl Settler {
    pub(crate) fn new(
        settlements: Settlements<Handle>,
        live: watch::Receiver<Option<Live>>,
        stream: Arc<StreamPosition>,
        status: Status,
    ) -> Self {
        let mut this = Self {
            settlements,
            live,
            current: None,
            given_up: None,
            tags: Tags::default(),
            held: BTreeMap::new(),
            stream,
            status,
            lost: 0,
            closing: false,
        };
        this.refresh();
        this
    }

    /// Runs until the source is dropped, or is closed and everything is settled or the deadline that `close` sends
    /// has passed. Returns how many acknowledgements did not reach the broker meanwhile.
    pub(crate) async fn run(mut self, mut close: oneshot::Receiver<Instant>) -> u64 {
        let mut round = Vec::new();
        let mut deadline = None;
        loop {
            if self.closing && self.settlements.taken() == 0 {
                return self.lost;
            }
            let due = self.held.first_key_value().map(|(&(due, _), _)| due);
            // Biased: a new channel must be known before the settlements that belong to it.
            tokio::select! {
                biased;
                at = &mut close, if deadline.is_none() => {
                    let Ok(at) = at else { return self.lost };
                    deadline = Some(at);
                    self.closing = true;
                    self.requeue_held(None).await;
                }
                changed = self.live.changed() => {
                    if changed.is_err() {
                        return self.lost;
                    }
                    self.refresh();
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return self.lost,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.requeue_held(Some(Instant::now())).await;
                }
                count = self.settlements.next_many(&mut round, ROUND) => {
                    if count == 0 {
                        return self.lost;
                    }
                    self.settle(&mut round).await;
                }
            }
        }
    }

    /// Learns of a new channel, or of none. What was held for the old one is forgotten: the broker has it back.
    fn refresh(&mut self) {
        let live = self.live.borrow_and_update().clone().filter(|live| Some(live.epoch) != self.given_up);
        if live.as_ref().map(|live| live.epoch) != self.current.as_ref().map(|live| live.epoch) {
            self.forget();
            self.current = live;
        }
    }

    fn forget(&mut self) {
        self.status.stale(self.held.len());
        self.held.clear();
        self.tags = Tags::default();
        self.current = None;
    }

    /// A channel that did not take a settlement takes no further one: what it has out must come back as a whole.
    async fn give_up(&mut self, live: &Live, error: &lapin::Error) {
        tracing::debug!(%error, "settlements did not reach the broker");
        self.given_up = Some(live.epoch);
        self.forget();
        // Usually it is closed already; if not, this ends the subscription, and the receiving half connects anew.
        let _ = timeout(CLOSE, live.channel.close(200, "given up".into())).await;
    }

    async fn settle(&mut self, round: &mut Vec<Settlement<Handle>>) {
        // Settlements of a new epoch may have overtaken the news of it.
        self.refresh();
        let mut acked = Vec::with_capacity(round.len());
        let mut requeued = Vec::new();
        for settlement in round.drain(..) {
            let Handle { epoch, tag, offset } = settlement.handle;
            if self.current.as_ref().is_none_or(|live| live.epoch != epoch) {
                self.status.stale(1);
                self.lost += u64::from(self.closing && matches!(settlement.how, Settled::Ack(_)));
                continue;
            }
            match settlement.how {
                Settled::Ack(_) => {
                    if let Some(offset) = offset {
                        self.stream.settle(epoch, offset);
                    }
                    acked.push(settlement);
                }
                Settled::Retry(Some(after)) if !after.is_zero() && !self.closing => {
                    let due = Instant::now() + after.min(LONGEST_HOLD);
                    self.held.insert((due, tag), settlement);
                }
                // Nothing was stored of what is refused, so it must not vanish.
                Settled::Retry(_) | Settled::Refuse(_) => requeued.push(settlement),
            }
        }
        if self.requeue(requeued).await {
            self.ack(acked).await;
        } else {
            self.lose(acked.len());
        }
    }

    async fn requeue_held(&mut self, due: Option<Instant>) {
        let ready = match due {
            Some(now) => {
                let later = self.held.split_off(&(now, u64::MAX));
                std::mem::replace(&mut self.held, later)
            }
            None => std::mem::take(&mut self.held),
        };
        self.requeue(ready.into_values().collect()).await;
    }

    /// Gives messages back. Returns whether the channel still serves.
    async fn requeue(&mut self, messages: Vec<Settlement<Handle>>) -> bool {
        if messages.is_empty() {
            return true;
        }
        let Some(live) = self.current.clone() else {
            self.status.stale(messages.len());
            return false;
        };
        if messages.iter().any(|message| message.handle.offset.is_some()) {
            // A stream takes nothing back. Its reader goes back instead, to the lowest unsettled offset.
            self.stream.rewind(live.epoch);
            self.status.returned(messages.len());
            return true;
        }
        let tags = self.settle_tags(&messages);
        let options = BasicNackOptions { multiple: false, requeue: true };
        let nacks = tags.iter().map(|tag| live.channel.basic_nack(*tag, options));
        match write(&mut self.live, join_all(nacks)).await {
            Ok(()) => {
                self.status.returned(messages.len());
                true
            }
            Err(error) => {
                self.status.stale(messages.len());
                self.give_up(&live, &error).await;
                false
            }
        }
    }

    async fn ack(&mut self, messages: Vec<Settlement<Handle>>) {
        if messages.is_empty() {
            return;
        }
        let Some(live) = self.current.clone() else { return self.lose(messages.len()) };
        let mut tags = self.settle_tags(&messages);
        let plan = self.tags.plan(&mut tags);
        let prefix = plan.up_to.map(|tag| live.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
        let singles = plan.singles.iter().map(|tag| live.channel.basic_ack(*tag, BasicAckOptions::default()));
        let acks = join_all(prefix.into_iter().chain(singles));
        match write(&mut self.live, acks).await {
            Ok(()) => self.status.acked(messages.len()),
            Err(error) => {
                self.lose(messages.len());
                self.give_up(&live, &error).await;
            }
        }
    }

    fn lose(&mut self, acks: usize) {
        self.status.stale(acks);
        self.lost += if self.closing { acks as u64 } else { 0 };
    }

    fn settle_tags(&mut self, messages: &[Settlement<Handle>]) -> Vec<u64> {
        let tags = messages.iter().map(|message| message.handle.tag).filter(|tag| self.tags.settle(*tag));
        let tags = tags.collect::<Vec<_>>();
        if tags.len() < messages.len() {
            // Sent to the broker, it would close the channel.
            tracing::error!(count = messages.len() - tags.len(), "deliveries were settled twice");
        }
        tags
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.status.stopped();
    }
}

/// Waits until the frames are written, or until the channel they belong to is given up.
async fn write(
    live: &mut watch::Receiver<Option<Live>>,
    frames: impl Future<Output = Vec<Result<(), lapin::Error>>>,
) -> Result<(), lapin::Error> {
    tokio::select! {
        written = frames => written.into_iter().collect(),
        _ = live.changed() => {
            // Seen here, but to be acted on by the loop.
            live.mark_changed();
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
        }
    }
}
