//! Room for messages and for their bytes, taken before anything is read into memory.
//!
//! Nothing here waits for room: a producer that gets none is told so at once and is better placed to wait.
//! Invariant: bytes stay counted until the last message that shares their buffer is settled.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How much room there is.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_messages: u32,
    max_bytes: u32,
}

/// Room for one request while its body is read: at least one message and some bytes.
#[derive(Debug)]
pub(crate) struct Held {
    messages: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

/// Room for one message, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    _message: OwnedSemaphorePermit,
    /// Shared by the messages of one batch, because they are slices of one buffer.
    _bytes: Arc<OwnedSemaphorePermit>,
}

impl Slots {
    pub(crate) fn new(max_messages: NonZeroUsize, max_bytes: NonZeroUsize) -> Self {
        // What a semaphore can hold, and what it hands out in one piece.
        let cap =
            |max: NonZeroUsize| u32::try_from(max.get().min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let (max_messages, max_bytes) = (cap(max_messages), cap(max_bytes));
        Self {
            messages: Arc::new(Semaphore::new(max_messages as usize)),
            bytes: Arc::new(Semaphore::new(max_bytes as usize)),
            max_messages,
            max_bytes,
        }
    }

    /// Messages that fit when nothing is taken.
    pub(crate) const fn max_messages(&self) -> usize {
        self.max_messages as usize
    }

    /// Bytes that fit when nothing is taken.
    pub(crate) const fn max_bytes(&self) -> usize {
        self.max_bytes as usize
    }

    /// Messages that hold a slot right now.
    pub(crate) fn taken(&self) -> usize {
        self.max_messages() - self.messages.available_permits()
    }

    /// Takes room for one message of `bytes`; `None` when there is not enough.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        Some(Held { messages: try_take(&self.messages, 1)?, bytes: try_take(&self.bytes, bytes)? })
    }

    /// Waits until no message holds a slot. While it waits nothing can be taken.
    pub(crate) async fn all_free(&self) {
        // An error means closed, and nobody closes this semaphore.
        let _ = self.messages.acquire_many(self.max_messages).await;
    }
}

impl Held {
    /// Bytes there is room for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.num_permits()
    }

    /// Makes room for `more` bytes; false when there is not enough, and then nothing changes.
    pub(crate) fn grow_bytes(&mut self, more: usize) -> bool {
        grow(&mut self.bytes, more)
    }

    /// Makes room for `more` messages, all or none.
    pub(crate) fn grow_messages(&mut self, more: usize) -> bool {
        grow(&mut self.messages, more)
    }

    /// One slot for each message there is room for.
    pub(crate) fn into_slots(self) -> impl Iterator<Item = Slot> {
        let Self { mut messages, bytes } = self;
        let bytes = Arc::new(bytes);
        std::iter::from_fn(move || {
            if messages.num_permits() == 0 {
                return None;
            }
            Some(Slot { _message: messages.split(1)?, _bytes: Arc::clone(&bytes) })
        })
    }
}

fn try_take(semaphore: &Arc<Semaphore>, count: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).try_acquire_many_owned(u32::try_from(count).ok()?).ok()
}

fn grow(permit: &mut OwnedSemaphorePermit, more: usize) -> bool {
    let Some(rest) = try_take(permit.semaphore(), more) else { return false };
    permit.merge(rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(messages: usize, bytes: usize) -> Slots {
        Slots::new(NonZeroUsize::new(messages).unwrap(), NonZeroUsize::new(bytes).unwrap())
    }

    #[test]
    fn room_is_refused_one_above_the_limit_and_both_kinds_come_back_together() {
        let slots = slots(2, 10);

        let held = slots.try_take(10).unwrap();
        assert!(slots.try_take(1).is_none());
        assert_eq!(slots.taken(), 1, "what did not fit took no message slot either");
        let empty = slots.try_take(0).unwrap();
        assert!(slots.try_take(0).is_none());

        drop((held, empty));
        assert_eq!(slots.taken(), 0);
        assert!(slots.try_take(10).is_some());
        assert!(slots.try_take(11).is_none());
    }

    #[test]
    fn a_batch_keeps_its_bytes_until_its_last_message_is_gone() {
        let slots = slots(3, 10);
        let mut held = slots.try_take(4).unwrap();
        assert!(!held.grow_messages(3));
        assert!(held.grow_messages(2));
        assert!(!held.grow_bytes(7));
        assert!(held.grow_bytes(6));
        assert_eq!(held.bytes(), 10);

        let mut batch: Vec<_> = held.into_slots().collect();
        assert_eq!(batch.len(), 3);
        batch.truncate(1);

        assert_eq!(slots.taken(), 1);
        assert!(slots.try_take(1).is_none());
        drop(batch);
        assert!(slots.try_take(10).is_some());
    }
}
