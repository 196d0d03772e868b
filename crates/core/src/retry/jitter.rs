//! How far the delays of a schedule are spread, so that retries of one outage do not come together.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

/// How far a delay may be from what is scheduled. In JSON a fraction from 0 to 1, or `"full"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    /// Shorter or longer by up to this fraction, but never below half of what is scheduled.
    Fraction(f64),
    /// Anything from nothing to what is scheduled.
    Full,
}

impl Jitter {
    /// As scheduled.
    pub const NONE: Self = Self::Fraction(0.0);

    pub(super) fn is_valid(self) -> bool {
        match self {
            Self::Fraction(fraction) => (0.0..=1.0).contains(&fraction),
            Self::Full => true,
        }
    }

    /// `scheduled` made shorter or longer.
    pub(super) fn apply(self, scheduled: Duration, rng: &mut impl Rng) -> Duration {
        match self {
            Self::Fraction(0.0) => scheduled,
            // Bounded by 7 days × 2, so the product cannot overflow.
            Self::Fraction(fraction) => {
                scheduled.mul_f64(rng.random_range(1.0 - fraction..=1.0 + fraction).max(0.5))
            }
            Self::Full => scheduled.mul_f64(rng.random_range(0.0..=1.0)),
        }
    }
}

impl From<f64> for Jitter {
    fn from(fraction: f64) -> Self {
        Self::Fraction(fraction)
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => fraction.fmt(f),
            Self::Full => f.write_str("full"),
        }
    }
}

impl Serialize for Jitter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
            Self::Full => serializer.serialize_str("full"),
        }
    }
}

impl<'de> Deserialize<'de> for Jitter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Jitter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fraction from 0 to 1, or `full`")
            }

            fn visit_f64<E: de::Error>(self, fraction: f64) -> Result<Jitter, E> {
                Ok(Jitter::Fraction(fraction))
            }

            fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Jitter, E> {
                Ok(Jitter::Fraction(whole as f64))
            }

            fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Jitter, E> {
                Ok(Jitter::Fraction(whole as f64))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Jitter, E> {
                if word == "full" {
                    return Ok(Jitter::Full);
                }
                Err(E::invalid_value(de::Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
