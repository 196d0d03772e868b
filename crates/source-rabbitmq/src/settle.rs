//! Tells the broker how messages ended: acknowledge, requeue, or hold and requeue later.
//!
//! A task of its own, so that settling never waits for somebody to receive. Invariants: a tag is used only on the
//! channel that issued it (its epoch); a requeue is on the wire before an acknowledgement that would cover it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use longshore_source::{Settled, Settlement, Settlements};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::metrics::Meters;
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

pub(crate) struct Settler {
    settlements: Settlements<Handle>,
    live: watch::Receiver<Option<Live>>,
    current: Option<Live>,
    tags: Tags,
    /// Messages that wait before they are requeued, by the time when they are due. Each keeps its slot.
    held: BTreeMap<(Instant, u64), Settlement<Handle>>,
    stream: Arc<StreamPosition>,
    meters: Meters,
    /// Acknowledgements that did not reach the broker since `close` was called.
    lost: u64,
    closing: bool,
}

impl Settler {
    pub(crate) fn new(
        settlements: Settlements<Handle>,
        live: watch::Receiver<Option<Live>>,
        stream: Arc<StreamPosition>,
        meters: Meters,
    ) -> Self {
        let mut this = Self {
            settlements,
            live,
            current: None,
            tags: Tags::default(),
            held: BTreeMap::new(),
            stream,
            meters,
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
            self.meters.in_flight.set(u32::try_from(self.settlements.taken()).unwrap_or(u32::MAX));
        }
    }

    /// Learns of a new channel, or of none. What was held for the old one is forgotten: the broker has it back.
    fn refresh(&mut self) {
        let live = self.live.borrow_and_update().clone();
        if live.as_ref().map(|live| live.epoch) != self.current.as_ref().map(|live| live.epoch) {
            self.tags = Tags::default();
            self.meters.stale.increment(self.held.len() as u64);
            self.held.clear();
            self.current = live;
        }
    }

    async fn settle(&mut self, round: &mut Vec<Settlement<Handle>>) {
        // Settlements of a new epoch may have overtaken the news of it.
        self.refresh();
        let mut acked = Vec::with_capacity(round.len());
        let mut requeued = Vec::new();
        for settlement in round.drain(..) {
            let Handle { epoch, tag, offset } = settlement.handle;
            if self.current.as_ref().is_none_or(|live| live.epoch != epoch) {
                self.meters.stale.increment(1);
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
        let Some(live) = self.current.clone() else { return false };
        if messages.iter().any(|message| message.handle.offset.is_some()) {
            // A stream takes nothing back. Its reader goes back instead, to the lowest unsettled offset.
            self.stream.rewind(live.epoch);
            self.meters.requeued.increment(messages.len() as u64);
            return true;
        }
        let options = BasicNackOptions { multiple: false, requeue: true };
        let tags = messages.iter().map(|message| message.handle.tag).filter(|tag| self.tags.settle(*tag));
        let nacks = tags.map(|tag| live.channel.basic_nack(tag, options)).collect::<Vec<_>>();
        let written = write(&mut self.live, try_join_all(nacks)).await;
        self.written(written, messages.len(), &self.meters.requeued.clone())
    }

    async fn ack(&mut self, messages: Vec<Settlement<Handle>>) {
        if messages.is_empty() {
            return;
        }
        let Some(live) = self.current.clone() else { return };
        let mut tags = messages.iter().map(|message| message.handle.tag).collect::<Vec<_>>();
        tags.retain(|tag| self.tags.settle(*tag));
        let plan = self.tags.plan(&mut tags);
        let prefix = plan.up_to.map(|tag| live.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
        let singles = plan.singles.iter().map(|tag| live.channel.basic_ack(*tag, BasicAckOptions::default()));
        let acks = join_all(prefix.into_iter().chain(singles));
        let written = write(&mut self.live, async { acks.await.into_iter().collect() }).await;
        let arrived = self.written(written, messages.len(), &self.meters.acked.clone());
        if !arrived && self.closing {
            self.lost += messages.len() as u64;
        }
    }

    fn written(
        &mut self,
        written: Result<Vec<()>, lapin::Error>,
        count: usize,
        meter: &metrics::Counter,
    ) -> bool {
        match written {
            Ok(_) => {
                meter.increment(count as u64);
                true
            }
            Err(error) => {
                // The receiving half sees the same and connects anew; until then nothing is settled.
                tracing::debug!(%error, count, "settlements did not reach the broker");
                self.meters.stale.increment(count as u64);
                self.held.clear();
                self.current = None;
                false
            }
        }
    }
}

/// Waits until the frames are written, or until the channel they belong to is given up.
async fn write(
    live: &mut watch::Receiver<Option<Live>>,
    frames: impl Future<Output = Result<Vec<()>, lapin::Error>>,
) -> Result<Vec<()>, lapin::Error> {
    tokio::select! {
        written = frames => written,
        _ = live.changed() => {
            // Seen here, but to be acted on by the loop.
            live.mark_changed();
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
        }
    }
}
