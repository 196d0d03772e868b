//! Time as a value, and the one place that reads the system's clock.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant in microseconds since the Unix epoch, as precise as Postgres' `timestamptz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch; saturates.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// From seconds since the Unix epoch; saturates.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This instant plus `delay`; saturates.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This instant minus `span`; saturates.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time passed since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As a calendar date and time in UTC; out-of-range instants are clamped.
    #[must_use]
    pub fn to_utc(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Whether it has a calendar date: years up to 9999.
    #[must_use]
    pub fn has_date(self) -> bool {
        Self::from_utc(self.to_utc()) == self
    }

    /// From a calendar date and time, rounded down to microseconds.
    #[must_use]
    pub fn from_utc(at: OffsetDateTime) -> Self {
        Self(i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(i64::MAX))
    }
}

impl FromStr for Timestamp {
    type Err = NotRfc3339;

    /// From RFC 3339 with any offset, rounded down to microseconds.
    fn from_str(text: &str) -> Result<Self, NotRfc3339> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map(Self::from_utc).map_err(|_| NotRfc3339)?;
        if at.has_date() { Ok(at) } else { Err(NotRfc3339) }
    }
}

/// A text that is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time as in RFC 3339, e.g. `2026-01-31T08:15:00Z`")]
pub struct NotRfc3339;

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

/// Where the current time comes from.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that may read the system's clock")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still, for tests of pure rules.
#[derive(Clone, Copy, Debug)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_rfc3339_and_rounds_down() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);

        assert_eq!(at.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(at.as_secs(), 1_700_000_000);
        assert_eq!(Timestamp::from_micros(-1).as_secs(), -1);
        assert_eq!(Timestamp::from_utc(at.to_utc()), at);
    }

    #[test]
    fn reads_rfc3339_with_any_offset() {
        let at = Timestamp::from_micros(1_700_000_000_123_456);

        for text in ["2023-11-14T22:13:20.123456Z", "2023-11-15t00:13:20.123456789+02:00"] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        for text in ["", "2023-11-14", "2023-11-14T22:13:20", "1700000000", "9999-12-31T23:59:59-23:00"] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotRfc3339), "{text}");
        }
        assert!(at.has_date() && !Timestamp::from_millis(i64::MAX).has_date());
    }

    #[test]
    fn since_is_zero_for_a_later_instant() {
        let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(3));

        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
