//! The retry schedule as a value that cannot be invalid, and its JSON form.

use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::jitter::Jitter;
use crate::duration::{self, HumanDuration};

const MAX_ATTEMPTS: u16 = 100;
const MIN_DELAY: Duration = Duration::from_millis(1);
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3_600);
const DEFAULT_CAP: Duration = Duration::from_secs(7_200);
const DEFAULT_JITTER: Jitter = Jitter::Fraction(0.2);

/// The delays of the example schedule in the Standard Webhooks specification, in seconds.
const DEFAULT_DELAYS: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// A validated retry schedule.
///
/// Attempts are *all* attempts, the first one included: 1 to 100. Delays are 1 ms to 7 days. In JSON:
///
/// ```json
/// {"type": "linear", "delay": "10s", "attempts": 5}
/// {"type": "exponential", "delay": "5s", "cap": "2h", "attempts": 12, "jitter": 0.2}
/// {"type": "list", "delays": ["5s", "5m", "2h"]}
/// ```
///
/// `jitter` is the fraction by which a delay may be shorter or longer, 0 to 1 (then a delay is never less than half
/// of what is scheduled), or `"full"`: anything up to what is scheduled. It defaults to 0.2 for `exponential` and to
/// 0 otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct RetrySchedule {
    steps: Steps,
    jitter: Jitter,
}

#[derive(Clone, Debug, PartialEq)]
enum Steps {
    Linear { delay: Duration, attempts: u16 },
    Exponential { delay: Duration, cap: Duration, attempts: u16 },
    List(Vec<Duration>),
}

/// Why a schedule is not one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// Too many or too few attempts.
    #[error("`{0}` attempts: write 1 to {MAX_ATTEMPTS}; the first attempt counts")]
    Attempts(usize),
    /// A delay out of range.
    #[error("`{name}` is `{}`: write a duration from `1ms` to `7d`", duration::format(*.delay))]
    Delay {
        /// The key it was given under.
        name: &'static str,
        /// What was given.
        delay: Duration,
    },
    /// An exponential schedule that starts above its cap.
    #[error(
        "`delay` is `{}`, above the `cap` of `{}`: raise the cap",
        duration::format(*.delay),
        duration::format(*.cap)
    )]
    AboveCap {
        /// The first delay.
        delay: Duration,
        /// The longest delay.
        cap: Duration,
    },
    /// A jitter out of range.
    #[error("`jitter` is `{0}`: write a fraction from 0 to 1, or `full`")]
    Jitter(Jitter),
}

impl RetrySchedule {
    /// The same delay before every retry.
    ///
    /// # Errors
    /// [`ScheduleError`] when a value is out of range.
    pub fn linear(delay: Duration, attempts: u16) -> Result<Self, ScheduleError> {
        Self::validated(Steps::Linear { delay, attempts }, Jitter::NONE)
    }

    /// `delay`, then twice as long each time, at most `cap`; with a jitter of 0.2.
    ///
    /// # Errors
    /// [`ScheduleError`] when a value is out of range.
    pub fn exponential(delay: Duration, cap: Duration, attempts: u16) -> Result<Self, ScheduleError> {
        Self::validated(Steps::Exponential { delay, cap, attempts }, DEFAULT_JITTER)
    }

    /// One retry per delay.
    ///
    /// # Errors
    /// [`ScheduleError`] when a value is out of range.
    pub fn list(delays: Vec<Duration>) -> Result<Self, ScheduleError> {
        Self::validated(Steps::List(delays), Jitter::NONE)
    }

    /// The same schedule with that jitter.
    ///
    /// # Errors
    /// [`ScheduleError`] when it is not a fraction from 0 to 1.
    pub fn with_jitter(self, jitter: impl Into<Jitter>) -> Result<Self, ScheduleError> {
        Self::validated(self.steps, jitter.into())
    }

    fn validated(steps: Steps, jitter: Jitter) -> Result<Self, ScheduleError> {
        let bounded = |name, delay: Duration| {
            let inside = (MIN_DELAY..=MAX_DELAY).contains(&delay);
            if inside { Ok(()) } else { Err(ScheduleError::Delay { name, delay }) }
        };
        match &steps {
            Steps::Linear { delay, .. } => bounded("delay", *delay)?,
            Steps::Exponential { delay, cap, .. } => {
                bounded("delay", *delay)?;
                bounded("cap", *cap)?;
                if delay > cap {
                    return Err(ScheduleError::AboveCap { delay: *delay, cap: *cap });
                }
            }
            Steps::List(delays) => delays.iter().try_for_each(|delay| bounded("delays", *delay))?,
        }
        let attempts = match &steps {
            Steps::Linear { attempts, .. } | Steps::Exponential { attempts, .. } => usize::from(*attempts),
            Steps::List(delays) => delays.len().saturating_add(1),
        };
        if !(1..=usize::from(MAX_ATTEMPTS)).contains(&attempts) {
            return Err(ScheduleError::Attempts(attempts));
        }
        if !jitter.is_valid() {
            return Err(ScheduleError::Jitter(jitter));
        }
        Ok(Self { steps, jitter })
    }

    /// How many attempts there are in all, the first included; 1 to 100.
    #[must_use]
    pub fn attempts(&self) -> u16 {
        match &self.steps {
            Steps::Linear { attempts, .. } | Steps::Exponential { attempts, .. } => *attempts,
            Steps::List(delays) => u16::try_from(delays.len()).map_or(MAX_ATTEMPTS, |retries| retries + 1),
        }
    }

    /// The delay between attempt number `attempt` and the next, without jitter; `None` when it is the last.
    #[must_use]
    pub fn delay_after(&self, attempt: u16) -> Option<Duration> {
        let attempt = attempt.max(1);
        if attempt >= self.attempts() {
            return None;
        }
        let retry = attempt - 1;
        match &self.steps {
            Steps::Linear { delay, .. } => Some(*delay),
            Steps::Exponential { delay, cap, .. } => {
                let factor = 1_u32.checked_shl(u32::from(retry)).unwrap_or(u32::MAX);
                Some(delay.saturating_mul(factor).min(*cap))
            }
            Steps::List(delays) => delays.get(usize::from(retry)).copied(),
        }
    }

    /// `scheduled` made shorter or longer by the jitter.
    pub(super) fn jittered(&self, scheduled: Duration, rng: &mut impl Rng) -> Duration {
        self.jitter.apply(scheduled, rng)
    }
}

impl Default for RetrySchedule {
    /// Ten attempts over about three days: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h and 24 h apart.
    fn default() -> Self {
        Self { steps: Steps::List(DEFAULT_DELAYS.map(Duration::from_secs).to_vec()), jitter: Jitter::NONE }
    }
}

/// The JSON form, before validation.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Document {
    Linear {
        delay: HumanDuration,
        attempts: u16,
        #[serde(default = "no_jitter")]
        jitter: Jitter,
    },
    Exponential {
        delay: HumanDuration,
        #[serde(default = "default_cap")]
        cap: HumanDuration,
        attempts: u16,
        #[serde(default = "default_jitter")]
        jitter: Jitter,
    },
    List {
        delays: Vec<HumanDuration>,
        #[serde(default = "no_jitter")]
        jitter: Jitter,
    },
}

const fn default_cap() -> HumanDuration {
    HumanDuration(DEFAULT_CAP)
}

const fn default_jitter() -> Jitter {
    DEFAULT_JITTER
}

const fn no_jitter() -> Jitter {
    Jitter::NONE
}

impl TryFrom<Document> for RetrySchedule {
    type Error = ScheduleError;

    fn try_from(document: Document) -> Result<Self, Self::Error> {
        match document {
            Document::Linear { delay, attempts, jitter } => {
                Self::validated(Steps::Linear { delay: delay.0, attempts }, jitter)
            }
            Document::Exponential { delay, cap, attempts, jitter } => {
                Self::validated(Steps::Exponential { delay: delay.0, cap: cap.0, attempts }, jitter)
            }
            Document::List { delays, jitter } => {
                Self::validated(Steps::List(delays.into_iter().map(|delay| delay.0).collect()), jitter)
            }
        }
    }
}

impl From<RetrySchedule> for Document {
    fn from(RetrySchedule { steps, jitter }: RetrySchedule) -> Self {
        match steps {
            Steps::Linear { delay, attempts } => {
                Self::Linear { delay: HumanDuration(delay), attempts, jitter }
            }
            Steps::Exponential { delay, cap, attempts } => {
                Self::Exponential { delay: HumanDuration(delay), cap: HumanDuration(cap), attempts, jitter }
            }
            Steps::List(delays) => {
                Self::List { delays: delays.into_iter().map(HumanDuration).collect(), jitter }
            }
        }
    }
}
