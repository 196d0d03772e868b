//! Which event types a project knows, and what their data look like.
//!
//! What it is for: JSON Schemas that are parsed once, and events that are held against them where their project wants
//! it. What it does not do: fetch what a schema refers to elsewhere, or say whether an event that is refused is kept.
//! Invariant: what is said about an event quotes nothing of its data.

use std::collections::HashMap;
use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Event;
use crate::{json, media};

/// The longest schema, in bytes of compact JSON.
const LARGEST: usize = 128 * 1024;
/// Compiled size of one pattern, as in filters.
const LARGEST_PATTERN: usize = 1024 * 1024;
/// The most places that a schema has once every reference is followed.
const MOST_PLACES: usize = 20_000;

/// What a project asks of the types of its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventTypePolicy {
    /// Nothing: any type will do.
    #[default]
    Any,
    /// A type of the catalogue.
    Known,
    /// A type of the catalogue, and data that its schema allows, if it has one.
    Valid,
}

impl EventTypePolicy {
    /// The word used in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Known => "known",
            Self::Valid => "valid",
        }
    }
}

/// A JSON Schema, compiled.
pub struct Schema(Validator);

impl Schema {
    /// Compiles a JSON Schema of whatever draft it names; 2020-12 when it names none.
    ///
    /// # Errors
    /// What is wrong with it: it is none, too large, or refers to something that is not in it.
    pub fn compile(document: &Value) -> Result<Self, String> {
        if !document.is_object() {
            return Err("expected a JSON Schema as an object".to_owned());
        }
        if document.to_string().len() > LARGEST {
            return Err(format!("larger than {LARGEST} bytes of JSON"));
        }
        measure(document)?;
        let patterns = PatternOptions::regex().size_limit(LARGEST_PATTERN);
        let built = jsonschema::options().offline().with_pattern_options(patterns).build(document);
        built.map(Self).map_err(|error| {
            let place = error.instance_path().to_string();
            if place.is_empty() { error.to_string() } else { format!("{error}, at `{place}`") }
        })
    }

    /// Whether some data are as the schema says.
    ///
    /// # Errors
    /// Where they are not, and why, without quoting them.
    pub fn check(&self, data: &Value) -> Result<(), String> {
        self.0.validate(data).map_err(|error| {
            let place = error.instance_path().to_string();
            let problem = error.masked_with("the value");
            if place.is_empty() { problem.to_string() } else { format!("at `{place}`: {problem}") }
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

/// The event types of a project that wants its events held against them.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// With the schema that data must match, if they must.
    types: HashMap<String, Option<Schema>>,
}

/// Why an event is not one of its project's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The catalogue has no such type.
    UnknownType,
    /// The data are not what the type's schema says; where and why.
    Data(String),
}

impl Catalogue {
    /// A catalogue of types, each with the schema that data must match, if they must.
    #[must_use]
    pub fn new(types: impl IntoIterator<Item = (String, Option<Schema>)>) -> Self {
        Self { types: types.into_iter().collect() }
    }

    /// Whether an event is one of the catalogue's.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn check(&self, event: &Event) -> Result<(), Unfit> {
        let Some(schema) = self.types.get(&event.event_type) else { return Err(Unfit::UnknownType) };
        let Some(schema) = schema else { return Ok(()) };
        let is_json = event.content_type.as_deref().is_none_or(media::is_json);
        let data = is_json.then(|| json::parse(&event.body)).flatten();
        let data = data.ok_or_else(|| Unfit::Data("is not JSON".to_owned()))?;
        schema.check(&data).map_err(Unfit::Data)
    }
}

/// Refuses a schema that could take long to ask: followed through all its references it is large, or one of them leads
/// back to where it stands, or cannot be followed.
fn measure(document: &Value) -> Result<(), String> {
    let mut measure = Measure { document, known: HashMap::new() };
    // The root's own name leaves its references as they are.
    let members = document.as_object().into_iter().flatten().filter(|(name, _)| *name != "$id");
    members
        .map(|(name, member)| measure.member(name, member))
        .sum::<Result<usize, _>>()
        .and_then(within)
        .map(drop)
}

struct Measure<'s> {
    document: &'s Value,
    /// The places below a reference; `None` while they are counted.
    known: HashMap<&'s str, Option<usize>>,
}

impl<'s> Measure<'s> {
    fn places(&mut self, value: &'s Value) -> Result<usize, String> {
        let below = match value {
            Value::Array(items) => items.iter().map(|item| self.places(item)).sum::<Result<usize, _>>()?,
            Value::Object(members) => {
                members.iter().map(|(name, member)| self.member(name, member)).sum::<Result<usize, _>>()?
            }
            _ => 0,
        };
        within(below + 1)
    }

    fn member(&mut self, name: &'s str, member: &'s Value) -> Result<usize, String> {
        match (name, member) {
            // Counted where it is used.
            ("$defs" | "definitions", _) => self.definitions(member),
            ("$ref", Value::String(reference)) => self.referred(reference),
            ("$id" | "$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                Err(format!("`{name}` is not taken here: refer to a place in the schema, as `#/$defs/line`"))
            }
            _ => self.places(member),
        }
    }

    /// What nobody refers to is looked at as well, but is no place of data.
    fn definitions(&mut self, definitions: &'s Value) -> Result<usize, String> {
        self.places(definitions).map(|_| 0)
    }

    fn referred(&mut self, reference: &'s str) -> Result<usize, String> {
        let target = reference.strip_prefix('#').and_then(|place| self.document.pointer(place));
        let target = target.ok_or_else(|| {
            format!(
                "`{reference}` is no place in the schema: refer to one, as `#/$defs/line`; nothing is fetched"
            )
        })?;
        match self.known.get(reference) {
            Some(Some(count)) => Ok(*count),
            Some(None) => {
                Err(format!("`{reference}` leads back to itself: write the nesting out as deep as it goes"))
            }
            None => {
                self.known.insert(reference, None);
                let count = self.places(target)?;
                self.known.insert(reference, Some(count));
                Ok(count)
            }
        }
    }
}

fn within(places: usize) -> Result<usize, String> {
    if places > MOST_PLACES {
        return Err(format!("too large once its references are followed: more than {MOST_PLACES} places"));
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    #[test]
    fn data_are_held_against_a_schema_without_being_quoted() {
        let schema = Schema::compile(&json!({
            "type": "object", "required": ["id"],
            "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
            "$defs": {"line": {"type": "object", "properties": {"sum": {"type": "integer"}}}},
        }))
        .unwrap();
        assert_eq!(schema.check(&json!({"id": "1", "lines": [{"sum": 1}]})), Ok(()));
        let problem = schema.check(&json!({"id": "1", "lines": [{"sum": "hunter2"}]})).unwrap_err();
        assert!(problem.starts_with("at `/lines/0/sum`: ") && problem.contains("integer"), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
        assert!(schema.check(&json!({})).unwrap_err().contains("id"));
    }

    #[test]
    fn what_is_no_schema_or_would_take_long_is_refused() {
        for (schema, said) in [
            (json!(true), "as an object"),
            (json!({"type": "text"}), "/type"),
            (json!({"$ref": "https://schemas.example/a.json"}), "schemas.example"),
            (json!({"$ref": "#/$defs/none"}), "no place in the schema"),
            (json!({"pattern": "(?=a)b"}), "pattern"),
            (json!({"items": {"$anchor": "a"}, "properties": {"b": {"$ref": "#a"}}}), "refer to"),
            (json!({"items": {"$id": "a"}}), "`$id` is not taken"),
            (json!({"$ref": "#"}), "leads back to itself"),
            (
                json!({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}),
                "leads back to itself",
            ),
            (json!({"description": "x".repeat(LARGEST)}), "larger than"),
        ] {
            let problem = Schema::compile(&schema).map(drop).unwrap_err();
            assert!(problem.contains(said), "{schema}: {problem}");
        }
        let mut doubled = json!({"$defs": {"a0": {"type": "integer"}}, "$ref": "#/$defs/a40"});
        for at in 1..=40 {
            let below = json!({"$ref": format!("#/$defs/a{}", at - 1)});
            doubled["$defs"][format!("a{at}")] = json!({"anyOf": [below, below]});
        }
        let begun = Instant::now();
        assert!(Schema::compile(&doubled).unwrap_err().contains("too large"));
        assert!(begun.elapsed().as_secs() < 5);
    }
}
