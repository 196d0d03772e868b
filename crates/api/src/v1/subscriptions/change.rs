//! Parts of a subscription as they are given: patterns, schedules, order.

use std::time::Duration;

use longshore_core::subscription::Ordered;
use longshore_core::{Clock, RetrySchedule, SystemClock, Timestamp, TypePattern, duration};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::body::{parse_ordered, shown};
use crate::v1::problem::Problem;

/// The longest delay of an exponential schedule, unless its first one is longer.
const CAP: Duration = Duration::from_secs(7_200);
/// The longest pattern, in bytes: no event has a longer type.
const PATTERN_MOST: usize = 512;

/// When deliveries are tried again, in the contract's words.
#[derive(Clone, Default, Deserialize, ToSchema)]
pub(crate) struct RetryBody {
    /// `linear` or `exponential`.
    r#type: Option<String>,
    /// The first delay: a text such as `10s` or `1h3m`, or a number of seconds.
    #[schema(value_type = Option<String>)]
    duration: Option<Value>,
    /// The first delay in seconds.
    interval_seconds: Option<u64>,
    /// Attempts in all, the first one included.
    retry_count: Option<u64>,
}

/// The moment, to the microsecond that is stored.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

/// A pattern of event types.
///
/// # Errors
/// `400` names the field.
pub(super) fn pattern(field: &str, text: &str) -> Result<TypePattern, Problem> {
    if text.len() > PATTERN_MOST {
        return Err(Problem::invalid(field, format!("write at most {PATTERN_MOST} bytes")));
    }
    text.parse().map_err(|error| Problem::invalid(field, error))
}

/// The schedule that is given, over the one that is stored.
///
/// # Errors
/// `400` names the field.
pub(super) fn retry(
    config: Option<RetryBody>,
    whole: Option<Value>,
    stored: &mut Option<RetrySchedule>,
) -> Result<(), Problem> {
    match whole {
        Some(Value::Bool(false)) => *stored = None,
        Some(value) => {
            let schedule = serde_json::from_value(value).map_err(|error| Problem::invalid("retry", error))?;
            *stored = Some(schedule);
        }
        None => {
            if let Some(schedule) = config.map(|config| config.over(stored.as_ref())).transpose()?.flatten() {
                *stored = Some(schedule);
            }
        }
    }
    Ok(())
}

/// The order that is given, over the one that is stored.
///
/// # Errors
/// `400` names the field.
pub(super) fn ordered(given: Option<Value>, stored: &mut Option<Ordered>) -> Result<(), Problem> {
    match given {
        None => {}
        Some(Value::Bool(false)) => *stored = None,
        Some(value) => *stored = Some(parse_ordered(value)?),
    }
    Ok(())
}

impl RetryBody {
    /// The schedule that is meant; `None` when it says nothing, or what is there already: the contract's words cannot say
    /// everything that a schedule can, and whoever sends back what he read must not change what was rounded for him.
    fn over(self, stored: Option<&RetrySchedule>) -> Result<Option<RetrySchedule>, Problem> {
        let delay = match (self.interval_seconds.filter(|seconds| *seconds > 0), self.duration) {
            (Some(seconds), _) => Some(seconds),
            (None, Some(Value::Number(number))) => number.as_u64().filter(|seconds| *seconds > 0),
            (None, Some(Value::String(text))) if !text.is_empty() => {
                let parsed = duration::parse(&text)
                    .map_err(|error| Problem::invalid("retry_config.duration", error))?;
                Some(parsed.as_secs())
            }
            (None, None | Some(Value::String(_) | Value::Null)) => None,
            (None, Some(_)) => {
                return Err(Problem::invalid("retry_config.duration", "write a text such as `10s`"));
            }
        };
        let kind = self.r#type.filter(|text| !text.is_empty());
        let count = self.retry_count.filter(|count| *count > 0);
        if delay.is_none() && kind.is_none() && count.is_none() {
            return Ok(None);
        }
        let before = stored.map(shown);
        let kind = kind.or(before.map(|(kind, ..)| kind.to_owned())).unwrap_or_else(|| "linear".to_owned());
        let seconds = delay.or(before.map(|(_, seconds, _)| seconds));
        let seconds = seconds.ok_or_else(|| {
            Problem::invalid("retry_config.duration", "is missing: write a text such as `10s`")
        })?;
        let attempts = count.or(before.map(|(.., attempts)| u64::from(attempts)));
        let attempts = attempts.ok_or_else(|| {
            Problem::invalid(
                "retry_config.retry_count",
                "is missing: attempts in all, the first one included",
            )
        })?;
        // What does not fit is out of range as well.
        let attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
        if before == Some((kind.as_str(), seconds, attempts)) {
            return Ok(None);
        }
        let delay = Duration::from_secs(seconds);
        let schedule = match kind.as_str() {
            "linear" => RetrySchedule::linear(delay, attempts),
            "exponential" => RetrySchedule::exponential(delay, CAP.max(delay), attempts),
            _ => return Err(Problem::invalid("retry_config.type", "write `linear` or `exponential`")),
        };
        schedule.map(Some).map_err(|error| {
            let text = error.to_string();
            let field = if text.contains("attempts") { "retry_count" } else { "duration" };
            Problem::invalid(&format!("retry_config.{field}"), text)
        })
    }
}
