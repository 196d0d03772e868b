//! Bounds what is in flight: a slot per message, reserved before it is fetched, given back when it is settled; and
//! bytes, counted when they are known.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::ack::{AckToken, Settled};

/// The end of a message's life, on its way to the broker. `handle` is what the broker calls the delivery: a
/// delivery tag, a receipt handle, an ack id, a partition and offset.
#[derive(Debug)]
pub struct Settlement<H> {
    /// What the broker calls the delivery.
    pub handle: H,
    /// How it ended.
    pub how: Settled,
    /// Held until the settlement is processed, so that `max_in_flight` counts messages the broker still counts.
    _slot: Slot,
}

/// A slot that is filled. Dropping it makes room.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    ages: Ages,
    number: u64,
    bytes: usize,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.ages.gone(self.number, self.bytes);
    }
}

/// What is out: how many messages and bytes, and since when. Cheap to clone; outlives both halves.
#[derive(Clone, Debug)]
pub struct Ages {
    out: Arc<Mutex<Out>>,
    freed: Arc<Notify>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Out {
    /// Since when each message is out, in the order in which they were handed out; `None` once it is not any more.
    since: VecDeque<Option<Instant>>,
    /// The number of the first one.
    first: u64,
    count: usize,
    bytes: usize,
}

impl Ages {
    fn new(max_bytes: usize) -> Self {
        Self { out: Arc::default(), freed: Arc::default(), max_bytes }
    }

    /// How many messages are out, and how long the oldest has been.
    #[must_use]
    pub fn read(&self) -> (usize, Option<Duration>) {
        let out = self.lock();
        (out.count, out.since.front().copied().flatten().map(|since| since.elapsed()))
    }

    fn handed_out(&self, bytes: usize) -> u64 {
        let now = Instant::now();
        let mut out = self.lock();
        out.since.push_back(Some(now));
        out.count += 1;
        out.bytes += bytes;
        out.first + out.since.len() as u64 - 1
    }

    fn gone(&self, number: u64, bytes: usize) {
        let mut out = self.lock();
        let index = usize::try_from(number - out.first).unwrap_or(usize::MAX);
        if let Some(since) = out.since.get_mut(index) {
            *since = None;
        }
        while out.since.pop_front_if(|since| since.is_none()).is_some() {
            out.first += 1;
        }
        out.count -= 1;
        let was_full = out.bytes >= self.max_bytes;
        out.bytes -= bytes;
        let has_room = out.bytes < self.max_bytes;
        drop(out);
        if was_full && has_room {
            self.freed.notify_waiters();
        }
    }

    async fn bytes_free(&self) {
        loop {
            // Before the look, so that room made in between is not missed.
            let freed = self.freed.notified();
            if self.lock().bytes < self.max_bytes {
                return;
            }
            freed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        // Nothing in here is left half-changed by a panic.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiving half: reserves slots.
#[derive(Debug)]
pub struct Tracker<H> {
    slots: Arc<Semaphore>,
    ages: Ages,
    settled: mpsc::UnboundedSender<Settlement<H>>,
}

/// The settling half: yields settlements in the order in which they were made.
#[derive(Debug)]
pub struct Settlements<H> {
    settled: mpsc::UnboundedReceiver<Settlement<H>>,
    slots: Arc<Semaphore>,
    capacity: u32,
}

/// Reserved slots, to be filled with what is fetched; those left over go back on drop.
#[derive(Debug)]
pub struct Slots<H> {
    permit: OwnedSemaphorePermit,
    ages: Ages,
    settled: mpsc::UnboundedSender<Settlement<H>>,
}

/// A pair of halves for at most `capacity` unsettled messages.
#[must_use]
pub fn in_flight<H: Send + 'static>(capacity: NonZeroUsize) -> (Tracker<H>, Settlements<H>) {
    in_flight_bytes(capacity, NonZeroUsize::MAX)
}

/// A pair of halves for at most `capacity` unsettled messages. No slot is given while `max_bytes` or more are out: what
/// is fetched last may go beyond by its own size. Bytes are counted by [`Slots::fill_sized`].
#[must_use]
pub fn in_flight_bytes<H: Send + 'static>(
    capacity: NonZeroUsize,
    max_bytes: NonZeroUsize,
) -> (Tracker<H>, Settlements<H>) {
    let capacity = u32::try_from(capacity.get()).unwrap_or(u32::MAX).min(1 << 20);
    let slots = Arc::new(Semaphore::new(capacity as usize));
    // Unbounded, but every item in it owns a slot.
    let (sender, receiver) = mpsc::unbounded_channel();
    (
        Tracker { slots: Arc::clone(&slots), ages: Ages::new(max_bytes.get()), settled: sender },
        Settlements { settled: receiver, slots, capacity },
    )
}

impl<H: Send + 'static> Tracker<H> {
    /// Waits for at least one free slot and takes as many as are free, at most `max`. Cancel-safe.
    pub async fn reserve(&self, max: NonZeroUsize) -> Slots<H> {
        self.ages.bytes_free().await;
        let mut permit = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed: `Settlements` and `Tracker` both keep it open");
        let more = self.slots.available_permits().min(max.get() - 1);
        if let Ok(rest) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
            permit.merge(rest);
        }
        Slots { permit, ages: self.ages.clone(), settled: self.settled.clone() }
    }

    /// What is out, for [`crate::Status::watch`].
    #[must_use]
    pub fn ages(&self) -> Ages {
        self.ages.clone()
    }

    /// Slots that are free right now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.slots.available_permits()
    }
}

impl<H: Send + 'static> Slots<H> {
    /// How many are left to fill.
    #[must_use]
    pub fn len(&self) -> usize {
        self.permit.num_permits()
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a slot for the delivery that the broker calls `handle`; `None` when none is left, which means that
    /// more was fetched than was reserved.
    pub fn fill(&mut self, handle: H) -> Option<AckToken> {
        self.fill_sized(handle, 0)
    }

    /// As [`Self::fill`], for a message of that many bytes.
    pub fn fill_sized(&mut self, handle: H, bytes: usize) -> Option<AckToken> {
        let permit = self.permit.split(1)?;
        let ages = self.ages.clone();
        let slot = Slot { _permit: permit, number: ages.handed_out(bytes), ages, bytes };
        let settled = self.settled.clone();
        Some(AckToken::new(move |how| {
            // Fails only when the settling half is gone, and with it the connection: the broker redelivers.
            let _ = settled.send(Settlement { handle, how, _slot: slot });
        }))
    }
}

impl<H: Send + 'static> Settlements<H> {
    /// Waits for settlements and moves at most `max` into `into`; returns how many. Zero means that the
    /// tracker and every token are gone. Cancel-safe.
    pub async fn next_many(&mut self, into: &mut Vec<Settlement<H>>, max: usize) -> usize {
        self.settled.recv_many(into, max).await
    }

    /// Slots that are taken right now: reserved, handed out, or settled and not yet processed.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.capacity as usize - self.slots.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Receipt;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
    const TEN: NonZeroUsize = NonZeroUsize::new(10).unwrap();

    #[tokio::test]
    async fn a_batch_larger_than_the_free_slots_gets_what_is_free() {
        let (tracker, _settlements) = in_flight::<u64>(TWO);

        let slots = tracker.reserve(TEN).await;

        assert_eq!(slots.len(), 2);
        assert_eq!(tracker.free(), 0);
    }

    #[tokio::test]
    async fn dropping_a_token_is_a_retry_and_the_slot_comes_back_once_processed() {
        let (tracker, mut settlements) = in_flight(TWO);
        let mut slots = tracker.reserve(TEN).await;
        let (first, second) = (slots.fill(1).unwrap(), slots.fill(2).unwrap());
        assert!(slots.fill(3).is_none());

        drop(first);
        second.ack(Receipt::default());

        let mut done = Vec::new();
        assert_eq!(settlements.next_many(&mut done, 10).await, 2);
        assert_eq!(done[0].how, Settled::Retry(None));
        assert_eq!(done[1].how, Settled::Ack(Receipt::default()));
        assert_eq!((settlements.taken(), tracker.free()), (2, 0));
        drop(done);
        assert_eq!((settlements.taken(), tracker.free()), (0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn reserve_waits_until_something_is_settled() {
        let (tracker, mut settlements) = in_flight(TWO);
        let mut slots = tracker.reserve(TEN).await;
        let tokens = [slots.fill(1).unwrap(), slots.fill(2).unwrap()];

        let waiting = tokio::time::timeout(Duration::from_secs(3600), tracker.reserve(TEN)).await;
        assert!(waiting.is_err());

        drop(tokens);
        let mut done = Vec::new();
        settlements.next_many(&mut done, 10).await;
        drop(done);
        assert_eq!(tracker.reserve(TEN).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_hold_up_the_next_reservation_until_they_are_settled() {
        let (tracker, mut settlements) = in_flight_bytes(TEN, NonZeroUsize::new(100).unwrap());
        let mut slots = tracker.reserve(TEN).await;
        let (small, large) = (slots.fill_sized(1, 40).unwrap(), slots.fill_sized(2, 60).unwrap());
        drop(slots);
        assert!(tokio::time::timeout(Duration::from_secs(3600), tracker.reserve(TEN)).await.is_err());

        small.ack(Receipt::default());
        let mut done = Vec::new();
        settlements.next_many(&mut done, 10).await;
        drop(done);

        assert_eq!(tracker.reserve(TEN).await.len(), 9);
        drop(large);
    }

    #[tokio::test(start_paused = true)]
    async fn ages_tell_the_oldest_that_is_out() {
        let (tracker, mut settlements) = in_flight(TEN);
        let mut slots = tracker.reserve(TEN).await;
        let first = slots.fill(1).unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        let second = slots.fill(2).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(tracker.ages().read(), (2, Some(Duration::from_secs(5))));

        let mut done = Vec::new();
        drop(first);
        settlements.next_many(&mut done, 10).await;
        done.clear();
        assert_eq!(tracker.ages().read(), (1, Some(Duration::from_secs(2))));

        drop(second);
        settlements.next_many(&mut done, 10).await;
        done.clear();
        assert_eq!(tracker.ages().read(), (0, None));
    }
}
