//! A mapping as it is written: fields of any type, so that every error can name its field.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BodyPath, CloudEvents, Data, EVERY_MEMBER, Entry, Mapping, Place, Tombstones};

const WHOLE_BODY: &str = "body";
const RAW: &str = "raw";
const TEXT_MOST: usize = 512;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloudevents: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tombstones: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tombstone_event_type: Option<Value>,
}

impl TryFrom<Form> for Mapping {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let mapping = Self {
            kind: places("kind", form.kind)?,
            event_type: places("event_type", form.event_type)?,
            endpoint: places("endpoint", form.endpoint)?,
            owner: places("owner", form.owner)?,
            idempotency_key: places("idempotency_key", form.idempotency_key)?,
            ordering_key: places("ordering_key", form.ordering_key)?,
            occurred_at: places("occurred_at", form.occurred_at)?,
            headers: headers(form.headers)?,
            data: form.data.map(data).transpose()?,
            required: required(form.required)?,
            strict: match form.strict {
                None => false,
                Some(Value::Bool(strict)) => strict,
                Some(_) => return Err("`strict` must be true or false".to_owned()),
            },
            cloudevents: word(
                "cloudevents",
                form.cloudevents,
                [("auto", CloudEvents::Auto), ("off", CloudEvents::Off)],
            )?,
            tombstones: word(
                "tombstones",
                form.tombstones,
                [("quarantine", Tombstones::Quarantine), ("event", Tombstones::Event)],
            )?,
            tombstone_event_type: event_type("tombstone_event_type", form.tombstone_event_type)?,
        };
        complete(&mapping)?;
        Ok(mapping)
    }
}

/// What the fields say about each other.
fn complete(mapping: &Mapping) -> Result<(), String> {
    let is_empty = |entry| match entry {
        Entry::Kind => mapping.kind.is_empty(),
        Entry::EventType => mapping.event_type.is_empty(),
        Entry::Endpoint => mapping.endpoint.is_empty(),
        Entry::Owner => mapping.owner.is_empty(),
        Entry::IdempotencyKey => mapping.idempotency_key.is_empty(),
        Entry::OrderingKey => mapping.ordering_key.is_empty(),
        Entry::OccurredAt => mapping.occurred_at.is_empty(),
        Entry::Headers => mapping.headers.is_empty(),
    };
    if let Some(entry) = mapping.required.iter().find(|entry| is_empty(**entry)) {
        let name = entry.as_str();
        return Err(format!(
            "`required` names `{name}`, which has no entry: say where it is, e.g. `{name} = \"header:x-{}\"`",
            name.replace('_', "-")
        ));
    }
    if !mapping.is_contract() && mapping.event_type.is_empty() && mapping.cloudevents == CloudEvents::Off {
        return Err(
            "`event_type` is required in a mapping: say where it is, e.g. `event_type = \"header:x-type\"`"
                .to_owned(),
        );
    }
    if mapping.strict && !mapping.is_contract() {
        return Err("`strict` is about the keys of the contract's envelope, which this mapping replaces: leave it out".to_owned());
    }
    if mapping.tombstones == Tombstones::Event && mapping.tombstone_event_type.is_none() {
        return Err("`tombstone_event_type` is required with `tombstones = \"event\"`: write a type, e.g. \"order.deleted\"".to_owned());
    }
    Ok(())
}

fn places(field: &str, value: Option<Value>) -> Result<Vec<Place>, String> {
    value.map_or(Ok(Vec::new()), |value| list(field, value))
}

/// One text, or a list of them.
fn list<T: FromStr<Err: std::fmt::Display>>(field: &str, value: Value) -> Result<Vec<T>, String> {
    let texts = match value {
        Value::Array(texts) if !texts.is_empty() => texts,
        Value::Array(_) => return Err(format!("`{field}` is an empty list: leave it out or name a place")),
        one => vec![one],
    };
    let parse = |value: &Value| match value.as_str() {
        Some(text) => text.parse().map_err(|error| format!("`{field}`: {error}")),
        None => Err(format!("`{field}` must be a place such as \"body:meta.type\", or a list of places")),
    };
    texts.iter().map(parse).collect()
}

fn headers(value: Option<Value>) -> Result<BTreeMap<String, Vec<Place>>, String> {
    let table = match value {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(table)) => table,
        Some(_) => {
            return Err(
                "`headers` must be a table of names and places, e.g. `{ x-tenant = \"body:tenant\" }`"
                    .to_owned(),
            );
        }
    };
    let mut headers: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (name, value) in table {
        let field = format!("headers.{}", name.chars().take(64).collect::<String>());
        if name != EVERY_MEMBER && !is_field_name(&name) {
            return Err(format!(
                "`{field}`: an HTTP header's name has letters, digits and `-`, or write `*` for every member of an object"
            ));
        }
        let places: Vec<Place> = list(&field, value)?;
        if name == EVERY_MEMBER && !places.iter().all(|place| matches!(place, Place::Body(_))) {
            return Err(format!("`{field}` must name an object in the body, e.g. \"body:meta.headers\""));
        }
        if headers.keys().any(|known| known.eq_ignore_ascii_case(&name)) {
            return Err(format!("`{field}` is there twice: names compare without case"));
        }
        headers.insert(name, places);
    }
    Ok(headers)
}

/// A token of RFC 9110, section 5.6.2.
fn is_field_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&byte))
}

fn data(value: Value) -> Result<Data, String> {
    if value.as_str() == Some(RAW) {
        return Ok(Data::Raw);
    }
    let parts: Vec<DataPlace> = list("data", value)?;
    Ok(Data::Json(parts.into_iter().map(|DataPlace(path)| path).collect()))
}

struct DataPlace(BodyPath);

impl FromStr for DataPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == WHOLE_BODY => Ok(Self(BodyPath::whole())),
            Some(("body", path)) => path.parse().map(Self).map_err(|error: super::PlaceError| error.to_string()),
            None if text == RAW => Err("`raw` stands alone: it always yields".to_owned()),
            _ => Err("write \"body\" for the whole body, \"body:payload\" for a value in it, or \"raw\" for bytes of any \
                      kind"
                .to_owned()),
        }
    }
}

fn required(value: Option<Value>) -> Result<Vec<Entry>, String> {
    let all = || Entry::ALL.map(|entry| format!("`{}`", entry.as_str())).join(", ");
    let names = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(names)) => names,
        Some(_) => return Err(format!("`required` must be a list of {}", all())),
    };
    let entry = |name: &Value| {
        let known = Entry::ALL.into_iter().find(|entry| name.as_str() == Some(entry.as_str()));
        known.ok_or_else(|| format!("`required` can hold {}", all()))
    };
    names.iter().map(entry).collect()
}

fn word<T: Default>(field: &str, value: Option<Value>, words: [(&str, T); 2]) -> Result<T, String> {
    let Some(value) = value else { return Ok(T::default()) };
    let names = words.each_ref().map(|(name, _)| *name);
    let found = words.into_iter().find(|(name, _)| value.as_str() == Some(name));
    found
        .map(|(_, word)| word)
        .ok_or_else(|| format!("`{field}` must be \"{}\" or \"{}\"", names[0], names[1]))
}

fn event_type(field: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::String(text))
            if !text.is_empty() && text.len() <= TEXT_MOST && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text))
        }
        Some(_) => Err(format!("`{field}` must be a text of 1 to {TEXT_MOST} bytes, e.g. \"order.deleted\"")),
    }
}

impl From<Mapping> for Form {
    fn from(mapping: Mapping) -> Self {
        let headers =
            mapping.headers.iter().filter_map(|(name, places)| Some((name.clone(), written(places)?)));
        let headers: serde_json::Map<String, Value> = headers.collect();
        let required: Vec<Value> = mapping.required.iter().map(|entry| entry.as_str().into()).collect();
        let written_path = |path: &BodyPath| match *path == BodyPath::whole() {
            true => WHOLE_BODY.to_owned(),
            false => format!("body:{path}"),
        };
        Self {
            kind: written(&mapping.kind),
            event_type: written(&mapping.event_type),
            endpoint: written(&mapping.endpoint),
            owner: written(&mapping.owner),
            idempotency_key: written(&mapping.idempotency_key),
            ordering_key: written(&mapping.ordering_key),
            occurred_at: written(&mapping.occurred_at),
            headers: (!headers.is_empty()).then_some(Value::Object(headers)),
            data: mapping.data.as_ref().and_then(|data| match data {
                Data::Raw => Some(RAW.into()),
                Data::Json(paths) => written(&paths.iter().map(written_path).collect::<Vec<_>>()),
            }),
            required: (!required.is_empty()).then_some(Value::Array(required)),
            strict: mapping.strict.then_some(Value::Bool(true)),
            cloudevents: (mapping.cloudevents == CloudEvents::Off).then(|| "off".into()),
            tombstones: (mapping.tombstones == Tombstones::Event).then(|| "event".into()),
            tombstone_event_type: mapping.tombstone_event_type.map(Value::String),
        }
    }
}

fn written(places: &[impl ToString]) -> Option<Value> {
    let mut texts: Vec<Value> = places.iter().map(|place| Value::String(place.to_string())).collect();
    match texts.len() {
        0 => None,
        1 => texts.pop(),
        _ => Some(Value::Array(texts)),
    }
}
