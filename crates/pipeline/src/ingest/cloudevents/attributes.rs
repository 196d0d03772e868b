//! The context attributes of a CloudEvent, from whatever carried them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ingest::fields::Undecodable;

/// The spellings of a carrier: HTTP and Pub/Sub, Kafka, and both of AMQP.
const PREFIXES: [&str; 4] = ["ce-", "ce_", "cloudevents_", "cloudevents:"];
/// Attributes that the event has columns for; those that are written again by a rule (the version).
const ELSEWHERE: [&str; 2] = ["specversion", "type"];

/// The attribute that a header carries, by its name; `None` when it is another header.
pub(in crate::ingest) fn carried(header: &str) -> Option<&str> {
    // Called for every header of every message: most are ruled out here.
    if !header.starts_with(['c', 'C']) {
        return None;
    }
    let strip = |prefix: &&str| {
        let start = header.get(..prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then(|| &header[prefix.len()..]).filter(|name| !name.is_empty())
    };
    PREFIXES.iter().find_map(strip)
}

/// A value: text, or the JSON of a number, a boolean, or what no attribute should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Value<'m> {
    Text(Cow<'m, str>),
    Json(#[serde(serialize_with = "as_json")] Json<'m>),
}

#[derive(Debug)]
struct Json<'m>(&'m RawValue);

impl PartialEq for Json<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl Eq for Json<'_> {}

fn as_json<S: serde::Serializer>(value: &Json<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    value.0.serialize(serializer)
}

/// Attributes by name, in lower case.
#[derive(Debug, Default)]
pub(in crate::ingest) struct Attributes<'m>(BTreeMap<String, Value<'m>>);

impl<'m> Attributes<'m> {
    /// The text of an attribute; `None` when it is absent or empty.
    pub(in crate::ingest) fn get(&self, name: &str) -> Option<&str> {
        let text = match self.0.get(name)? {
            Value::Text(text) => text.as_ref(),
            Value::Json(Json(value)) => value.get(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The text of an attribute that every event has.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Undecodable> {
        match self.0.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Ok(text),
            Some(Value::Json(_)) => Err(Undecodable::field(name, "must be a text in a CloudEvent")),
            _ => Err(Undecodable::field(name, "is required in a CloudEvent: a text that is not empty")),
        }
    }

    pub(super) fn text(&mut self, name: &str, value: Cow<'m, str>) -> Result<(), Undecodable> {
        self.insert(name, Value::Text(value))
    }

    pub(super) fn json(&mut self, name: &str, value: &'m RawValue) -> Result<(), Undecodable> {
        self.insert(name, Value::Json(Json(value)))
    }

    /// Two carriers of one attribute must agree, or which of them counts would be a guess.
    fn insert(&mut self, name: &str, value: Value<'m>) -> Result<(), Undecodable> {
        let name = name.to_ascii_lowercase();
        match self.0.get(&name) {
            Some(known) if *known != value => {
                Err(fault(&name, "is there twice, with different values: send it once"))
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(name, value);
                Ok(())
            }
        }
    }

    /// What holds for every event, whatever its mode: its version, and texts without control characters.
    pub(super) fn check(&self) -> Result<(), Undecodable> {
        let version = self.required("specversion")?;
        if !version.starts_with("1.") {
            return Err(Undecodable::field("specversion", "must be `1.0`: other versions are not read"));
        }
        for (name, value) in &self.0 {
            if let Value::Text(text) = value
                && text.chars().any(char::is_control)
            {
                return Err(fault(name, "must not hold control characters"));
            }
        }
        Ok(())
    }

    /// As stored: a JSON object, sorted by name, without what the event has columns for.
    pub(super) fn to_json(&self) -> String {
        let kept: BTreeMap<&str, &Value<'_>> = self
            .0
            .iter()
            .filter(|(name, _)| !ELSEWHERE.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        serde_json::to_string(&kept).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// A fault of an attribute; its name is the producer's word and is told only if it is one that may be.
pub(super) fn fault(name: &str, problem: &str) -> Undecodable {
    let is_name = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match is_name {
        true => Undecodable::field(name.to_owned(), problem),
        false => Undecodable::field("", format!("an attribute of the CloudEvent {problem}")),
    }
}
