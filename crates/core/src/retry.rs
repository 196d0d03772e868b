//! When a delivery is tried again.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::attempt::AttemptOutcome;
use crate::clock::Timestamp;

/// A validated retry schedule.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct RetrySchedule {}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event arrived.
    Delivered,
    /// Try again at that instant.
    RetryAt(Timestamp),
    /// No attempts are left.
    Exhausted,
}

/// Judges the outcome of attempt number `attempt` (1 is the first).
pub fn judge(
    _schedule: &RetrySchedule,
    _attempt: u16,
    outcome: &AttemptOutcome,
    now: Timestamp,
    _rng: &mut impl Rng,
) -> Verdict {
    if outcome.is_success() { Verdict::Delivered } else { Verdict::RetryAt(now) }
}
