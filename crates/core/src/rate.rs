//! A rate limit as a value that cannot be invalid: so many per so long.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::{self, HumanDuration};
use crate::ids::ProjectId;
use crate::ports::TokenGrant;

const MOST: u32 = 1_000_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// Slots may be late by this part of the limit's time, within these bounds.
const LATENESS_PART: u32 = 20;
/// Division rounds down.
const ROUNDING: Duration = Duration::from_nanos(1);
const LATENESS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// At most `count` in any `per`; 1 to 1,000,000 per 100 ms to 24 h. In JSON: `{"count": 100, "per": "60s"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct RateLimit {
    count: NonZeroU32,
    per: Duration,
}

/// Why a limit is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Too many or none.
    #[error("`count` is `{0}`: write 1 to {MOST}; leave the limit out for none")]
    Count(u32),
    /// Too short or too long.
    #[error("`per` is `{}`: write a duration from `100ms` to `24h`", duration::format(*.0))]
    Per(Duration),
}

impl RateLimit {
    /// A limit of `count` per `per`.
    ///
    /// # Errors
    /// [`RateError`] when a value is out of range.
    pub fn new(count: u32, per: Duration) -> Result<Self, RateError> {
        let valid = NonZeroU32::new(count).filter(|count| count.get() <= MOST);
        let count = valid.ok_or(RateError::Count(count))?;
        if !(SHORTEST..=LONGEST).contains(&per) {
            return Err(RateError::Per(per));
        }
        Ok(Self { count, per })
    }

    /// How many.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count.get()
    }

    /// In how long.
    #[must_use]
    pub const fn per(self) -> Duration {
        self.per
    }

    /// The time between two when they are spread evenly; at least 100 ns.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per / self.count.get()
    }

    /// How long after its instant a slot may still be used.
    #[must_use]
    pub fn lateness(self) -> Duration {
        (self.per / LATENESS_PART).clamp(LATENESS.0, LATENESS.1)
    }

    /// The time between two slots: a little more than [`Self::interval`], so that slots used up to [`Self::lateness`] after
    /// their instants still are no more than the limit in any window of its length.
    ///
    /// Of `k` in one window, the first and the last slot are less than `per + lateness` apart, which is `count` times the
    /// spacing; so `k - 1 < count`.
    #[must_use]
    pub fn spacing(self) -> Duration {
        (self.per + self.lateness()) / self.count.get() + ROUNDING
    }

    /// How many slots there are in that time, at least 1.
    #[must_use]
    pub fn slots_in(self, time: Duration) -> u32 {
        let slots = time.as_nanos() / self.spacing().as_nanos().max(1);
        u32::try_from(slots).unwrap_or(u32::MAX).max(1)
    }
}

/// A bucket that holds the whole limit when it is full and fills up evenly: at most `count` at once, and `count` per `per` in
/// the long run. Told as one point in time, from which on it would be full: what is used moves it ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    limit: RateLimit,
    /// Seconds until nothing is owed; at least `per` in the past when it is full.
    next_in: f64,
}

impl Budget {
    /// The budget whose point is so many seconds ahead.
    #[must_use]
    pub fn of(limit: RateLimit, next_in: f64) -> Self {
        Self { limit, next_in: next_in.max(-limit.per.as_secs_f64()) }
    }

    /// Where its point is now.
    #[must_use]
    pub const fn next_in(&self) -> f64 {
        self.next_in
    }

    /// Books what is owed, even ahead, and gives of what is wanted as much as there is.
    pub fn take(&mut self, project: ProjectId, owed: u32, wanted: u32) -> TokenGrant {
        let each = self.limit.per.as_secs_f64() / f64::from(self.limit.count());
        self.next_in += f64::from(owed) * each;
        // What a rounding error takes must not be missing from a full bucket.
        let there = (-self.next_in / each + 1e-6).floor().max(0.0) as u32;
        let granted = there.min(wanted);
        self.next_in += f64::from(granted) * each;
        let left = there - granted;
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
        TokenGrant {
            project,
            granted,
            left,
            more_in: if left > 0 { Duration::ZERO } else { seconds(self.next_in + each) },
            full_in: seconds(self.next_in + self.limit.per.as_secs_f64()),
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    count: u32,
    per: HumanDuration,
}

impl TryFrom<Document> for RateLimit {
    type Error = RateError;

    fn try_from(Document { count, per }: Document) -> Result<Self, RateError> {
        Self::new(count, per.0)
    }
}

impl From<RateLimit> for Document {
    fn from(limit: RateLimit) -> Self {
        Self { count: limit.count(), per: HumanDuration(limit.per) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        let limit: RateLimit = serde_json::from_str(r#"{"count":100,"per":"1m"}"#).unwrap();

        assert_eq!((limit.count(), limit.per()), (100, Duration::from_secs(60)));
        assert_eq!(limit.interval(), Duration::from_millis(600));
        assert_eq!(serde_json::to_string(&limit).unwrap(), r#"{"count":100,"per":"1m"}"#);
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        assert!(RateLimit::new(1, SHORTEST).is_ok());
        assert!(RateLimit::new(MOST, LONGEST).is_ok());
        assert_eq!(RateLimit::new(0, SHORTEST), Err(RateError::Count(0)));
        assert_eq!(RateLimit::new(MOST + 1, SHORTEST), Err(RateError::Count(MOST + 1)));
        let short = SHORTEST - Duration::from_millis(1);
        assert_eq!(RateLimit::new(1, short), Err(RateError::Per(short)));
        let long = LONGEST + Duration::from_millis(1);
        assert_eq!(RateLimit::new(1, long), Err(RateError::Per(long)));
    }

    #[test]
    fn slots_used_as_late_as_may_be_keep_to_the_limit_in_every_window() {
        for (count, per_ms) in [(1, 100), (50, 1_000), (1_000, 1_000), (7, 60_000), (3, 86_400_000)] {
            let per = Duration::from_millis(per_ms);
            let limit = RateLimit::new(count, per).unwrap();
            // The first as late as may be, the rest in time: the fullest window there is.
            let start = limit.lateness();
            let inside =
                (0..).map(|n| limit.spacing() * n).skip(1).take_while(|at| *at < start + per).count();
            assert_eq!(1 + inside, count as usize, "{limit:?}");
            assert!(limit.spacing() * count <= per + per / 19, "{limit:?} loses too much");
            assert_eq!(limit.slots_in(limit.spacing() * 3), 3);
        }
    }

    #[test]
    fn a_budget_gives_the_whole_limit_at_once_and_then_what_fills_up() {
        let limit = RateLimit::new(10, Duration::from_secs(10)).unwrap();
        let project = ProjectId::from_u128(1);
        let mut budget = Budget::of(limit, f64::NEG_INFINITY);

        let first = budget.take(project, 0, 4);
        assert_eq!((first.granted, first.left, first.more_in), (4, 6, Duration::ZERO));
        let rest = budget.take(project, 2, 9);
        assert_eq!((rest.granted, rest.left), (4, 0));
        assert_eq!((rest.more_in.as_secs(), rest.full_in.as_secs()), (1, 10));
        // A batch was let in that is larger than what was left.
        let ahead = budget.take(project, 5, 1);
        assert_eq!((ahead.granted, ahead.more_in.as_secs(), ahead.full_in.as_secs()), (0, 6, 15));
        let mut later = Budget::of(limit, budget.next_in() - 8.0);
        assert_eq!(later.take(project, 0, 9).granted, 3);
    }
}
