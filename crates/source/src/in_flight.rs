//! Bounds what is in flight: a slot per message, reserved before it is fetched, given back when it is settled.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

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
    _slot: OwnedSemaphorePermit,
}

/// The receiving half: reserves slots.
#[derive(Debug)]
pub struct Tracker<H> {
    slots: Arc<Semaphore>,
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
    settled: mpsc::UnboundedSender<Settlement<H>>,
}

/// A pair of halves for at most `capacity` unsettled messages.
#[must_use]
pub fn in_flight<H: Send + 'static>(capacity: NonZeroUsize) -> (Tracker<H>, Settlements<H>) {
    let capacity = u32::try_from(capacity.get()).unwrap_or(u32::MAX).min(1 << 20);
    let slots = Arc::new(Semaphore::new(capacity as usize));
    // Unbounded, but every item in it owns a slot.
    let (sender, receiver) = mpsc::unbounded_channel();
    (
        Tracker { slots: Arc::clone(&slots), settled: sender },
        Settlements { settled: receiver, slots, capacity },
    )
}

impl<H: Send + 'static> Tracker<H> {
    /// Waits for at least one free slot and takes as many as are free, at most `max`. Cancel-safe.
    pub async fn reserve(&self, max: NonZeroUsize) -> Slots<H> {
        let mut permit = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed: `Settlements` and `Tracker` both keep it open");
        let more = self.slots.available_permits().min(max.get() - 1);
        if let Ok(rest) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
            permit.merge(rest);
        }
        Slots { permit, settled: self.settled.clone() }
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
        let slot = self.permit.split(1)?;
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
}
