//! When a delivery is tried again.
//!
//! What it is for: validated retry schedules and the verdict on an attempt. What it does not do: wait, count or
//! store. Invariant: a verdict is `Exhausted` exactly from the last attempt on, and a retry is never before now.

mod schedule;

use std::time::{Duration, UNIX_EPOCH};

use rand::Rng;

use crate::attempt::AttemptOutcome;
use crate::clock::Timestamp;

pub use schedule::{RetrySchedule, ScheduleError};

/// How far `Retry-After` may stretch a delay, unless ten times the scheduled delay is more.
pub const RETRY_AFTER_CEILING: Duration = Duration::from_secs(3_600);

/// How many times the scheduled delay `Retry-After` may stretch it to, however long that is.
pub const RETRY_AFTER_FACTOR: u32 = 10;

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

/// Judges the outcome of attempt number `attempt` (1 is the first; 0 counts as 1).
///
/// A retry comes after the scheduled delay with its jitter. A 4xx or 5xx answer with `Retry-After` can make the
/// delay longer, up to [`RETRY_AFTER_CEILING`] or [`RETRY_AFTER_FACTOR`] times the schedule, but never shorter.
pub fn judge(
    schedule: &RetrySchedule,
    attempt: u16,
    outcome: &AttemptOutcome,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Verdict {
    if outcome.is_success() {
        return Verdict::Delivered;
    }
    let Some(scheduled) = schedule.delay_after(attempt) else {
        return Verdict::Exhausted;
    };
    let ceiling = scheduled.saturating_mul(RETRY_AFTER_FACTOR).max(RETRY_AFTER_CEILING);
    let asked = match outcome {
        // Redirects are not followed, so their `Retry-After` is about a page we do not wait for.
        AttemptOutcome::Response { status: 400..=599, retry_after: Some(delay) } => (*delay).min(ceiling),
        _ => Duration::ZERO,
    };
    Verdict::RetryAt(now.after(schedule.jittered(scheduled, rng).max(asked)))
}

/// Reads a `Retry-After` header (RFC 9110 section 10.2.3): seconds or an HTTP date, as a delay from `now`.
///
/// A date in the past is a delay of zero; a number too large for 64 bits is the longest delay there is.
#[must_use]
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let since_epoch = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Timestamp::EPOCH.after(since_epoch).since(now))
}

#[cfg(test)]
mod tests;
