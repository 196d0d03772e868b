//! When a delivery is tried again.
//!
//! What it is for: validated retry schedules and policies, the verdict on an attempt, and the guard against retry
//! storms. What it does not do: wait, count or store. Invariants: a retry is never before now, nor after the policy's
//! `max_age`; a success is `Delivered` whatever came before; a delivery ends at its last attempt at the latest, where
//! attempts that were answered `429` do not count.

mod guard;
mod jitter;
mod policy;
mod schedule;

use std::time::{Duration, UNIX_EPOCH};

use rand::Rng;

use crate::attempt::AttemptOutcome;
use crate::clock::Timestamp;

pub use guard::RetryGuard;
pub use jitter::Jitter;
pub use policy::{FinalOutcome, PolicyError, RetryPolicy, RetryShare};
pub use schedule::{RetrySchedule, ScheduleError};

/// How far `Retry-After` may stretch a delay unless the policy says otherwise, or ten times the scheduled delay is more.
pub const RETRY_AFTER_CEILING: Duration = Duration::from_secs(3_600);

/// How many times the scheduled delay `Retry-After` may stretch it to, however long that is.
pub const RETRY_AFTER_FACTOR: u32 = 10;

/// Attempts of one delivery at most, those that cost nothing included.
pub const MOST_ATTEMPTS: u16 = 10_000;

/// What is known of a delivery when an attempt is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Attempts made, the one that is judged included; 1 is the first, 0 counts as 1.
    pub made: u16,
    /// How many of those before it were answered `429` and cost nothing.
    pub throttled: u16,
    /// When its event was received.
    pub received_at: Timestamp,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The event arrived.
    Delivered,
    /// Try again at that instant.
    RetryAt(Timestamp),
    /// Try again at that instant; the attempt cost none of the schedule's.
    ThrottledUntil(Timestamp),
    /// It is not tried again.
    Ended(End),
}

/// Why a delivery is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No attempts are left.
    Exhausted,
    /// The next attempt would come later than `max_age` after the event.
    Expired,
    /// The policy calls this outcome final.
    Final,
    /// The endpoint says that it is gone for good (`410`).
    Gone,
}

impl End {
    /// The word used in meta events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Final => "final",
            Self::Gone => "gone",
        }
    }
}

/// Judges the outcome of an attempt.
///
/// - `410` ends the delivery: the endpoint is gone for good. So does whatever the policy calls final.
/// - `429` costs no attempt. Without `Retry-After` the schedule's present delay applies, twice as long with each one
///   that came before, up to [`RETRY_AFTER_CEILING`] or that delay. A schedule without any retry stays without.
/// - Everything else is tried again after the scheduled delay with its jitter, as long as attempts are left.
/// - A 4xx or 5xx answer with `Retry-After` can make the delay longer, up to the policy's cap, never shorter.
/// - A retry that would come later than `max_age` after the event is not made; nor is one after [`MOST_ATTEMPTS`].
pub fn judge(
    policy: &RetryPolicy,
    schedule: &RetrySchedule,
    tried: Tried,
    outcome: &AttemptOutcome,
    now: Timestamp,
    rng: &mut impl Rng,
) -> Verdict {
    if outcome.is_success() {
        return Verdict::Delivered;
    }
    if outcome.status() == Some(410) {
        return Verdict::Ended(End::Gone);
    }
    if policy.is_final(outcome) {
        return Verdict::Ended(End::Final);
    }
    let made = tried.made.max(1);
    let counted_before = made - 1 - tried.throttled.min(made - 1);
    let is_throttled = outcome.status() == Some(429);
    let scheduled = if is_throttled {
        // The delay that this attempt was made after; the first one's own, when none was.
        schedule.delay_after(counted_before.max(1))
    } else {
        schedule.delay_after(counted_before + 1)
    };
    let Some(scheduled) = scheduled.filter(|_| made < MOST_ATTEMPTS) else {
        return Verdict::Ended(End::Exhausted);
    };
    let asked = asked(outcome).map(|asked| asked.min(policy.retry_after_ceiling(scheduled)));
    let wanted = match asked {
        None if is_throttled => {
            let factor = 1_u32.checked_shl(u32::from(tried.throttled)).unwrap_or(u32::MAX);
            scheduled.saturating_mul(factor).min(scheduled.max(RETRY_AFTER_CEILING))
        }
        _ => scheduled,
    };
    let at = now.after(schedule.jittered(wanted, rng).max(asked.unwrap_or_default()));
    if at > tried.received_at.after(policy.max_age()) {
        return Verdict::Ended(End::Expired);
    }
    if is_throttled { Verdict::ThrottledUntil(at) } else { Verdict::RetryAt(at) }
}

/// The delay that an answer asks for.
fn asked(outcome: &AttemptOutcome) -> Option<Duration> {
    match outcome {
        // Redirects are not followed, so their `Retry-After` is about a page we do not wait for.
        AttemptOutcome::Response { status: 400..=599, retry_after } => *retry_after,
        _ => None,
    }
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
