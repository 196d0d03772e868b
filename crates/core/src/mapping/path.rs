//! Paths into a JSON body: those of the filter language, without its `$` for any element.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::place::PlaceError;

const MAX_SEGMENTS: usize = 16;

/// Names and indexes with dots between: `meta.type`, `lines.0.sku`; empty for the whole body.
///
/// ```text
/// path    = [ "$." ] segment *( "." segment )     at most 16 segments
/// segment = name / index                          not empty, without dots
/// index   = "0" / digit 1-9 *digit                of an array; in an object it is a name
/// ```
///
/// As in filters, a name in the body may hold dots itself: `a.b` finds `{"a":{"b":1}}` and `{"a.b":1}`, the former
/// first. Names compare with case. Of a repeated name the last value counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BodyPath(Vec<String>);

impl BodyPath {
    /// The whole body.
    #[must_use]
    pub const fn whole() -> Self {
        Self(Vec::new())
    }

    /// The value at this path of a JSON value; `null` is no value.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        find(value, &self.0).filter(|found| !found.is_null())
    }

    /// Its names and indexes.
    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }
}

fn find<'v>(value: &'v Value, segments: &[String]) -> Option<&'v Value> {
    let Some((first, rest)) = segments.split_first() else { return Some(value) };
    match value {
        Value::Object(members) => (1..=segments.len()).find_map(|count| {
            let (name, rest) = segments.split_at(count);
            find(members.get(&name.join("."))?, rest)
        }),
        Value::Array(elements) => find(elements.get(index(first)?)?, rest),
        _ => None,
    }
}

/// An index in its one spelling: `01` is a name, not an index.
pub(super) fn index(segment: &str) -> Option<usize> {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (segment.len() > 1 && segment.starts_with('0')) { None } else { segment.parse().ok() }
}

impl FromStr for BodyPath {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        // As JSONPath writes it.
        let names = text.strip_prefix("$.").unwrap_or(text);
        let refuse = |problem: &str| Err(PlaceError::new(format!("`body:{text}`"), problem));
        let segments: Vec<String> = names.split('.').map(str::to_owned).collect();
        if names.is_empty() {
            refuse("names nothing in the body: write names with dots between, e.g. `body:meta.type`")
        } else if segments.iter().any(String::is_empty) {
            refuse("has an empty name: write names with single dots between, e.g. `body:meta.type`")
        } else if segments.len() > MAX_SEGMENTS {
            refuse("has more than 16 names: map a value higher up")
        } else if segments.iter().any(|name| name == "$" || name.contains(['[', ']', '*'])) {
            refuse("must be names and indexes with dots between, e.g. `body:lines.0.sku`")
        } else {
            Ok(Self(segments))
        }
    }
}

impl fmt::Display for BodyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
