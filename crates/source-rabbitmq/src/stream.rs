//! Where reading a stream goes on: after a reconnect, and in a new process.
//!
//! Nothing is stored at the broker. A process starts where the stored events end, or at `x-stream-offset` when there
//! are none. Invariant: reading goes on at or
//! below the lowest offset that is not settled.

use std::sync::{Mutex, MutexGuard, PoisonError};

use longshore_source::offsets::Contiguous;
use tokio::sync::Notify;

/// The reading position of one source. Does nothing for queues that are no streams.
#[derive(Debug, Default)]
pub(crate) struct StreamPosition {
    inner: Mutex<Inner>,
    rewound: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    offsets: Contiguous,
    /// Where the next link starts; `None` before anything was read.
    resume_at: Option<u64>,
    /// The epoch that must be read again.
    rewind: Option<u64>,
}

impl StreamPosition {
    /// A position that starts at `next`, the offset behind the last stored event; `None`: wherever the broker says.
    pub(crate) fn starting_at(next: Option<u64>) -> Self {
        Self { inner: Mutex::new(Inner { resume_at: next, ..Inner::default() }), ..Self::default() }
    }

    /// Notes that `offset` was read. False when the link delivered it although it started above it, or out of
    /// order: it is settled already.
    pub(crate) fn read(&self, epoch: u64, offset: u64) -> bool {
        let mut inner = self.lock();
        if inner.epoch != epoch {
            inner.epoch = epoch;
            inner.offsets = Contiguous::new();
        }
        let resume_at = *inner.resume_at.get_or_insert(offset);
        offset >= resume_at && inner.offsets.track(offset)
    }

    /// Notes that `offset` is settled.
    pub(crate) fn settle(&self, epoch: u64, offset: u64) {
        let mut inner = self.lock();
        if inner.epoch == epoch
            && let Some(line) = inner.offsets.settle(offset)
        {
            inner.resume_at = Some(line + 1);
        }
    }

    /// Asks for reading `epoch` again from its lowest unsettled offset.
    pub(crate) fn rewind(&self, epoch: u64) {
        self.lock().rewind = Some(epoch);
        self.rewound.notify_one();
    }

    /// Waits until `epoch` must be read again. Cancel-safe.
    pub(crate) async fn rewound(&self, epoch: u64) {
        loop {
            if self.lock().rewind == Some(epoch) {
                return;
            }
            self.rewound.notified().await;
        }
    }

    /// Where the next link starts.
    pub(crate) fn resume_at(&self) -> Option<u64> {
        self.lock().resume_at
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_at_the_lowest_unsettled_offset() {
        let stream = StreamPosition::default();
        assert_eq!(stream.resume_at(), None);
        for offset in [10, 11, 12] {
            assert!(stream.read(1, offset));
        }
        assert_eq!(stream.resume_at(), Some(10));

        stream.settle(1, 10);
        stream.settle(1, 12);
        assert_eq!(stream.resume_at(), Some(11));

        // The broker starts at a chunk, which may begin earlier.
        assert!(!stream.read(2, 10));
        assert!(stream.read(2, 11));
        stream.settle(1, 11);
        assert_eq!(stream.resume_at(), Some(11), "a late settlement of an old link moves nothing");
        stream.settle(2, 11);
        assert_eq!(stream.resume_at(), Some(12));
    }

    #[test]
    fn what_an_earlier_process_stored_is_not_read_again() {
        let stream = StreamPosition::starting_at(Some(12));

        assert_eq!(stream.resume_at(), Some(12));
        assert!(!stream.read(1, 11));
        assert!(stream.read(1, 12));
    }
}
