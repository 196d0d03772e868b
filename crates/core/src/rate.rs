//! A rate limit as a value that cannot be invalid: so many per so long.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::{self, HumanDuration};

const MOST: u32 = 1_000_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

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
}
