//! What the scheduler knows of one endpoint, and the values it speaks in.

use std::collections::VecDeque;
use std::time::Duration;

use longshore_core::ports::ClaimedDelivery;
use longshore_core::{AttemptOutcome, EndpointId};
use tokio::time::Instant;

/// Attempts at once that an endpoint begins with.
pub(super) const FIRST: usize = 8;

/// A delivery waiting for its turn.
#[derive(Debug)]
pub(in crate::dispatch) struct Queued {
    pub(in crate::dispatch) delivery: ClaimedDelivery,
    /// The end of its claim; `None` when it ends with this process's lease.
    pub(in crate::dispatch) until: Option<Instant>,
}

/// How many attempts an endpoint takes at once right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) struct Limit {
    /// At most this many. With 0 nothing is sent until a push, an attempt's end or [`super::Scheduler::rouse`] tells of a
    /// higher one.
    pub(in crate::dispatch) most: usize,
}

/// The place that an attempt takes, from [`super::Scheduler::next`] to [`super::Scheduler::done`].
#[derive(Debug)]
#[must_use = "a slot that is not given back is taken for ever"]
pub(in crate::dispatch) struct Slot {
    pub(super) endpoint: EndpointId,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::dispatch) enum Ended {
    /// Nothing was sent.
    Unsent,
    /// An attempt was made.
    #[expect(dead_code, reason = "how long it took is for the slow lane")]
    Tried { outcome: AttemptOutcome, took: Duration },
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Queued>,
    pub(super) in_flight: usize,
    /// Attempts at once it has earned, at least 1.
    pub(super) earned: usize,
    /// Whether it is in the round.
    pub(super) is_ready: bool,
    /// Nothing is sent before then.
    pub(super) held_until: Option<Instant>,
    /// When that is looked at; not after it.
    pub(super) timer: Option<Instant>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            in_flight: 0,
            earned: FIRST,
            is_ready: false,
            held_until: None,
            timer: None,
        }
    }
}

impl Lane {
    /// Whether it could send now.
    pub(super) fn is_able(&self, limit: Limit) -> bool {
        !self.queue.is_empty() && self.held_until.is_none() && self.in_flight < limit.most.min(self.earned)
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.queue.is_empty() && self.held_until.is_none()
    }
}
