//! What changed in the contract, oldest first: each change as two functions that never change again.

use std::time::Duration;

use longshore_core::duration;
use serde_json::{Map, Value};

use super::{ApiVersion, Shape, VERSIONS};
use crate::v1::problem::Problem;

type Members = Map<String, Value>;

/// One change of one shape: who asks for a version before it is served through it.
pub(super) struct Change {
    /// The date of the first version that has it.
    since: &'static str,
    /// What it is about.
    shapes: &'static [Shape],
    /// What is sent, as the version with the change has it.
    pub(super) forward: fn(&mut Members) -> Result<(), Problem>,
    /// What is answered, as the version before the change had it.
    pub(super) back: fn(&mut Members),
}

impl Change {
    /// Whether what is asked for in that version goes through it.
    pub(super) fn concerns(&self, shape: Shape, version: ApiVersion) -> bool {
        self.shapes.contains(&shape) && version.as_str() < self.since
    }
}

/// All of them.
pub(super) const CHANGES: [Change; 3] = [
    Change {
        since: VERSIONS[1],
        shapes: &[Shape::NewEndpoint, Shape::Endpoint],
        forward: durations_to_seconds,
        back: seconds_to_durations,
    },
    Change { since: VERSIONS[1], shapes: &[Shape::NewEndpoint], forward: sign_simply, back: |_| {} },
    Change {
        since: VERSIONS[2],
        shapes: &[Shape::NewEndpoint, Shape::Endpoint],
        forward: title_to_name,
        back: name_to_title,
    },
];

/// The spans of time that were texts.
const SPANS: [&str; 2] = ["http_timeout", "rate_limit_duration"];
/// The names that were others: before, after.
const NAMES: [(&str, &str); 2] = [("title", "name"), ("target_url", "url")];

/// Spans of time become seconds.
fn durations_to_seconds(members: &mut Members) -> Result<(), Problem> {
    for name in SPANS {
        let Some(Value::String(text)) = members.get(name) else { continue };
        let seconds = match text.as_str() {
            "" => None,
            text => Some(whole_seconds(text).map_err(|error| Problem::invalid(name, error))?),
        };
        match seconds {
            Some(seconds) => members.insert(name.to_owned(), seconds.into()),
            None => members.remove(name),
        };
    }
    Ok(())
}

/// The signatures of a new endpoint have no time unless it is asked for. A change that says nothing of it changes nothing of
/// it: what a receiver verifies stays as it is.
#[expect(clippy::unnecessary_wraps, reason = "of one kind with the other changes")]
fn sign_simply(members: &mut Members) -> Result<(), Problem> {
    if members.get("advanced_signatures").is_none_or(Value::is_null) {
        members.insert("advanced_signatures".to_owned(), false.into());
    }
    Ok(())
}

/// What is a part of a second is a whole one: 0 means something else.
fn whole_seconds(text: &str) -> Result<u64, duration::DurationError> {
    duration::parse(text).map(|span| span.as_secs() + u64::from(span.subsec_nanos() > 0))
}

fn seconds_to_durations(members: &mut Members) {
    for name in SPANS {
        if let Some(seconds) = members.get(name).and_then(Value::as_u64) {
            members.insert(name.to_owned(), written(Duration::from_secs(seconds)).into());
        }
    }
}

/// Whole seconds as those clients write them: `10s`, `1m0s`, `1h0m0s`.
fn written(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Answers had other names than requests, which were `name` and `url` before as well. Both are taken, so that what was
/// read can be sent back.
#[expect(clippy::unnecessary_wraps, reason = "of one kind with the other changes")]
fn title_to_name(members: &mut Members) -> Result<(), Problem> {
    for (before, after) in NAMES {
        if let Some(value) = members.remove(before) {
            members.entry(after).or_insert(value);
        }
    }
    Ok(())
}

fn name_to_title(members: &mut Members) {
    for (before, after) in NAMES {
        if let Some(value) = members.remove(after) {
            members.insert(before.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_their_clients_read_them() {
        for (seconds, text) in
            [(0, "0s"), (10, "10s"), (60, "1m0s"), (90, "1m30s"), (3_600, "1h0m0s"), (90_061, "25h1m1s")]
        {
            assert_eq!(written(Duration::from_secs(seconds)), text);
            assert_eq!(whole_seconds(text), Ok(seconds), "{text}");
        }
        assert_eq!(whole_seconds("1500ms"), Ok(2));
        assert!(whole_seconds("soon").is_err());
    }

    #[test]
    fn changes_are_in_the_order_of_their_dates() {
        assert!(CHANGES.is_sorted_by_key(|change| change.since));
        assert!(VERSIONS.is_sorted());
        assert!(CHANGES.iter().all(|change| VERSIONS[1..].contains(&change.since)));
    }
}
