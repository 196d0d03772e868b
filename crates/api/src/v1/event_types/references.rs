//! References within documents: taken along when a schema leaves its document, turned when it enters another.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// How often a reference may lead to nothing but another one.
const MOST_STEPS: usize = 16;

/// What is at a place, through references that stand alone; and its place.
pub(super) fn resolved<'d>(
    document: &'d Value,
    value: &'d Value,
    place: String,
) -> Result<(&'d Value, String), String> {
    let (mut value, mut place) = (value, place);
    for _ in 0..MOST_STEPS {
        let reference = value.as_object().filter(|members| members.len() == 1);
        let Some(reference) = reference.and_then(|members| members.get("$ref")).and_then(Value::as_str)
        else {
            return Ok((value, place));
        };
        value = pointed(document, reference)?;
        reference.clone_into(&mut place);
    }
    Err(format!("`{place}` leads nowhere"))
}

fn pointed<'d>(document: &'d Value, reference: &str) -> Result<&'d Value, String> {
    let found = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
    found.ok_or_else(|| format!("`{reference}` is no place in the document; nothing is fetched"))
}

/// The schema at a place of a document, with everything it refers to as its `$defs`.
pub(super) fn taken_out(document: &Value, value: &Value, place: &str) -> Result<Value, String> {
    let is_old = document["openapi"].as_str().is_some_and(|version| version.starts_with("3.0"));
    let mut taking = Taking { own: place.to_owned(), is_old, names: HashMap::new(), waiting: Vec::new() };
    let mut schema = value.clone();
    if let Some(members) = schema.get("$defs").and_then(Value::as_object) {
        for name in members.keys() {
            taking.names.insert(format!("{place}/$defs/{name}"), name.clone());
        }
    }
    taking.turn(&mut schema);
    let mut definitions = Map::new();
    while let Some((reference, name)) = taking.waiting.pop() {
        let mut definition = pointed(document, &reference)?.clone();
        taking.turn(&mut definition);
        definitions.insert(name, definition);
    }
    if let Some(members) = schema.as_object_mut().filter(|_| !definitions.is_empty()) {
        let known = members.entry("$defs").or_insert_with(|| json!({}));
        if let Some(known) = known.as_object_mut() {
            known.extend(definitions);
        }
    }
    Ok(schema)
}

struct Taking {
    /// Where the schema is: what it refers to below that it takes along anyway.
    own: String,
    /// Of OpenAPI 3.0, whose schemas say `nullable`.
    is_old: bool,
    /// What places are called among the `$defs`.
    names: HashMap<String, String>,
    waiting: Vec<(String, String)>,
}

impl Taking {
    fn turn(&mut self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.turn(item)),
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    match member {
                        Value::String(reference) if name == "$ref" => *reference = self.turned(reference),
                        member => self.turn(member),
                    }
                }
                if self.is_old && members.remove("nullable") == Some(Value::Bool(true)) {
                    let named = members.get("type").and_then(Value::as_str).map(str::to_owned);
                    if let Some(kind) = named {
                        members.insert("type".to_owned(), json!([kind, "null"]));
                    }
                }
            }
            _ => {}
        }
    }

    fn turned(&mut self, reference: &str) -> String {
        let below = reference.strip_prefix(self.own.as_str());
        if let Some(below) = below.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return format!("#{below}");
        }
        if !reference.starts_with('#') {
            return reference.to_owned();
        }
        if let Some(name) = self.names.get(reference) {
            return format!("#/$defs/{name}");
        }
        let last = reference.rsplit('/').next().unwrap_or_default();
        let name = free(last, |name| self.names.values().any(|known| known == name));
        self.names.insert(reference.to_owned(), name.clone());
        self.waiting.push((reference.to_owned(), name.clone()));
        format!("#/$defs/{name}")
    }
}

/// The same schema at another place of a document.
pub(super) fn put_in(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(|item| put_in(item, place)).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, member)| {
                let turned = match member {
                    Value::String(reference) if name == "$ref" => reference
                        .strip_prefix('#')
                        .map_or_else(|| member.clone(), |below| Value::from(format!("{place}{below}"))),
                    member => put_in(member, place),
                };
                (name.clone(), turned)
            });
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

/// A key of that name that documents take, and that is not taken.
pub(super) fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let key: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let key = if key.is_empty() { "schema".to_owned() } else { key };
    if !is_taken(&key) {
        return key;
    }
    let mut numbered = (2_usize..).map(|number| format!("{key}_{number}"));
    numbered.find(|key| !is_taken(key)).unwrap_or(key)
}
