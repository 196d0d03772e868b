//! Durations as people write them: `500ms`, `30s`, `5m`, `2h`, `7d`, `1h30m`.
//!
//! What it is for: configuration and resources; use it as `#[serde(with = "longshore_core::duration")]`. What it
//! does not do: months, fractions or anything below a millisecond. Invariant: what [`format()`] writes, [`parse`]
//! reads back to the same number of milliseconds.

use std::fmt;
use std::time::Duration;

use serde::{Deserializer, Serializer, de};

/// Units from large to small, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a duration: write a number with a unit, e.g. `500ms`, `30s`, `5m`, `2h`, `7d` or `1h30m`"
)]
pub struct DurationError(String);

/// Reads a duration: numbers, each with a unit, larger units first; a number alone means seconds.
///
/// # Errors
/// [`DurationError`] when the text is something else or does not fit 64 bits of milliseconds.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    millis(text.trim())
        .map(Duration::from_millis)
        .ok_or_else(|| DurationError(text.chars().take(64).collect()))
}

fn millis(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<u64>().ok()?.checked_mul(1_000);
    }
    let mut total = 0_u64;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (name, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        // Only what follows the last unit is searched: `30s5m` and `5m5m` are typing errors.
        let (_, scale) = units.find(|(unit, _)| *unit == name)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*scale)?)?;
        rest = tail;
    }
    Some(total)
}

/// Writes a duration in the largest unit that needs no fraction; what is below a millisecond is dropped.
#[must_use]
pub fn format(duration: Duration) -> String {
    let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    match UNITS.iter().find(|(_, scale)| total != 0 && total.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", total / scale),
        None => "0s".to_owned(),
    }
}

/// Writes a duration as text.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads a duration from text, or from a whole number of seconds.
///
/// # Errors
/// When the value is neither.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(Reader)
}

struct Reader;

impl de::Visitor<'_> for Reader {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `30s`, or a whole number of seconds")
    }

    fn visit_u64<E: de::Error>(self, secs: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(secs))
    }

    fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Duration, E> {
        u64::try_from(secs)
            .map(Duration::from_secs)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(secs), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

/// A duration with its own serde form, for lists and options of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct HumanDuration(#[serde(with = "crate::duration")] pub Duration);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_can_write_durations() {
        let cases = [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("1d0h5ms", 86_400_005),
            ("15", 15_000),
            (" 0s ", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_advice() {
        for text in [
            "",
            "s",
            "5 m",
            "-5s",
            "1.5h",
            "5x",
            "30s5m",
            "5m5m",
            "5m3",
            "99999999999999999999",
            "9999999999999999999d",
        ] {
            assert!(parse(text).unwrap_err().to_string().contains("`500ms`"), "{text}");
        }
    }

    #[test]
    fn json_takes_text_and_seconds() {
        assert_eq!(serde_json::from_str::<HumanDuration>("\"2h\"").unwrap().0, Duration::from_secs(7_200));
        assert_eq!(serde_json::from_str::<HumanDuration>("90").unwrap().0, Duration::from_secs(90));
        assert!(serde_json::from_str::<HumanDuration>("-1").is_err());
        assert!(serde_json::from_str::<HumanDuration>("1.5").is_err());
        assert_eq!(serde_json::to_string(&HumanDuration(Duration::from_secs(90))).unwrap(), "\"90s\"");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in any::<u64>()) {
            let duration = Duration::from_millis(millis);

            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }
    }
}
