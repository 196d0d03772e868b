//! A length of time in a config: `"500ms"`, `"30s"`, `"5m"`, `"1h"`, or a number of seconds.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Span {
    Seconds(u64),
    Text(String),
}

pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(Span::deserialize(deserializer)?)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Option::<Span>::deserialize(deserializer)?.map(duration).transpose()
}

fn duration<E: Error>(span: Span) -> Result<Duration, E> {
    match span {
        Span::Seconds(seconds) => Ok(Duration::from_secs(seconds)),
        Span::Text(text) => parse(&text).ok_or_else(|| {
            E::custom(format!("`{text}` is not a length of time such as `500ms`, `30s` or `5m`"))
        }),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("2 m"), Some(Duration::from_secs(120)));
        assert_eq!(parse("7"), Some(Duration::from_secs(7)));
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-1s"), None);
    }
}
