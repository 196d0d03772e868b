//! What is tried again and for how long, as a value that cannot be invalid.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::{RETRY_AFTER_CEILING, RETRY_AFTER_FACTOR};
use crate::attempt::AttemptOutcome;
use crate::duration::{self, HumanDuration};

const DEFAULT_AGE: Duration = Duration::from_secs(7 * 24 * 3_600);
const LEAST_AGE: Duration = Duration::from_secs(1);
const MOST_AGE: Duration = Duration::from_secs(90 * 24 * 3_600);
const MOST_CAP: Duration = Duration::from_secs(7 * 24 * 3_600);
const MOST_PERCENT: u8 = 90;
const MOST_PER_SECOND: u32 = 100_000;

/// The classes of outcomes that may be called final.
const CLASSES: [&str; 11] = [
    "redirect",
    "client_error",
    "server_error",
    "odd_status",
    "timeout",
    "dns",
    "connect",
    "tls",
    "blocked",
    "protocol",
    "auth",
];

/// What a project's deliveries have in common besides the schedule. In JSON, with the defaults:
///
/// ```json
/// {"max_age": "7d", "retry_after_cap": null, "final": [], "storm_guard": {"percent": 50, "per_second": 100}}
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct RetryPolicy {
    max_age: Duration,
    retry_after_cap: Option<Duration>,
    final_outcomes: Vec<FinalOutcome>,
    storm_guard: Option<RetryShare>,
}

/// How much of an endpoint's traffic retries may be: see [`RetryGuard`](super::RetryGuard).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryShare {
    /// Retries that fail, in percent of all attempts at the endpoint; 1 to 90.
    pub percent: u8,
    /// So many failing retries a second are made in any case, in each process; 1 to 100,000.
    pub per_second: u32,
}

impl Default for RetryShare {
    fn default() -> Self {
        Self { percent: 50, per_second: 100 }
    }
}

/// An outcome that is not tried again: a class (`client_error`, `tls`, …) or a status (`404`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinalOutcome {
    /// Every outcome of the class, except `408`, `425` and `429`, which speak of the moment.
    Class(&'static str),
    /// That status.
    Status(u16),
}

/// Why a policy is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Too short or too long.
    #[error("`max_age` is `{}`: write a duration from `1s` to `90d`", duration::format(*.0))]
    Age(Duration),
    /// Too long.
    #[error("`retry_after_cap` is `{}`: write a duration up to `7d`", duration::format(*.0))]
    Cap(Duration),
    /// Not a class and not a status of a failure.
    #[error("`{0}` in `final`: write a status from 300 to 599 or one of {list}", list = CLASSES.join(", "))]
    Final(String),
    /// Out of range.
    #[error("`storm_guard.percent` is `{0}`: write 1 to {MOST_PERCENT}")]
    Percent(u8),
    /// Out of range.
    #[error("`storm_guard.per_second` is `{0}`: write 1 to {MOST_PER_SECOND}")]
    PerSecond(u32),
}

impl RetryPolicy {
    /// How long after the event was received a retry may still come.
    #[must_use]
    pub const fn max_age(&self) -> Duration {
        self.max_age
    }

    /// How long a wait may be that an endpoint asks for, where that delay is scheduled.
    #[must_use]
    pub fn retry_after_ceiling(&self, scheduled: Duration) -> Duration {
        self.retry_after_cap
            .unwrap_or_else(|| scheduled.saturating_mul(RETRY_AFTER_FACTOR).max(RETRY_AFTER_CEILING))
    }

    /// Whether an outcome is not tried again.
    #[must_use]
    pub fn is_final(&self, outcome: &AttemptOutcome) -> bool {
        self.final_outcomes.iter().any(|of| of.is(outcome))
    }

    /// How much of an endpoint's traffic retries may be; `None` for as much as there are.
    #[must_use]
    pub const fn storm_guard(&self) -> Option<RetryShare> {
        self.storm_guard
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_age: DEFAULT_AGE,
            retry_after_cap: None,
            final_outcomes: Vec::new(),
            storm_guard: Some(RetryShare::default()),
        }
    }
}

impl FinalOutcome {
    fn is(&self, outcome: &AttemptOutcome) -> bool {
        match self {
            Self::Status(status) => outcome.status() == Some(*status),
            Self::Class(class) => {
                *class == outcome.class() && !matches!(outcome.status(), Some(408 | 425 | 429))
            }
        }
    }
}

impl FromStr for FinalOutcome {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let status = text.parse().ok().filter(|status| (300..=599).contains(status)).map(Self::Status);
        let class = || CLASSES.into_iter().find(|class| *class == text).map(Self::Class);
        status.or_else(class).ok_or_else(|| PolicyError::Final(text.chars().take(64).collect()))
    }
}

impl Serialize for FinalOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Status(status) => serializer.serialize_str(&status.to_string()),
            Self::Class(class) => serializer.serialize_str(class),
        }
    }
}

impl<'de> Deserialize<'de> for FinalOutcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = FinalOutcome;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a class of outcomes such as `client_error`, or a status")
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<FinalOutcome, E> {
                self.visit_str(&status.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FinalOutcome, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The JSON form, before validation.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    max_age: HumanDuration,
    retry_after_cap: Option<HumanDuration>,
    r#final: Vec<FinalOutcome>,
    storm_guard: Option<RetryShare>,
}

impl Default for Document {
    fn default() -> Self {
        RetryPolicy::default().into()
    }
}

impl TryFrom<Document> for RetryPolicy {
    type Error = PolicyError;

    fn try_from(document: Document) -> Result<Self, PolicyError> {
        let Document { max_age, retry_after_cap, r#final, storm_guard } = document;
        if !(LEAST_AGE..=MOST_AGE).contains(&max_age.0) {
            return Err(PolicyError::Age(max_age.0));
        }
        let retry_after_cap = retry_after_cap.map(|cap| cap.0);
        if let Some(cap) = retry_after_cap.filter(|cap| *cap > MOST_CAP) {
            return Err(PolicyError::Cap(cap));
        }
        if let Some(RetryShare { percent, per_second }) = storm_guard {
            if !(1..=MOST_PERCENT).contains(&percent) {
                return Err(PolicyError::Percent(percent));
            }
            if !(1..=MOST_PER_SECOND).contains(&per_second) {
                return Err(PolicyError::PerSecond(per_second));
            }
        }
        Ok(Self { max_age: max_age.0, retry_after_cap, final_outcomes: r#final, storm_guard })
    }
}

impl From<RetryPolicy> for Document {
    fn from(policy: RetryPolicy) -> Self {
        let RetryPolicy { max_age, retry_after_cap, final_outcomes, storm_guard } = policy;
        Self {
            max_age: HumanDuration(max_age),
            retry_after_cap: retry_after_cap.map(HumanDuration),
            r#final: final_outcomes,
            storm_guard,
        }
    }
}
