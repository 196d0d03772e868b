//! Events as CloudEvents 1.0, binary and structured.
//!
//! HTTP binding: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>; JSON format:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.
//!
//! An event that came in as a CloudEvent keeps its attributes; every other gets ours. Invariant: what goes out is a valid
//! CloudEvent: no attribute is empty, twice or named otherwise than CloudEvents allow.

use std::borrow::Cow;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::event::Event;
use longshore_core::mapping::Document;
use longshore_core::media;
use serde_json::value::RawValue;

use super::headers::{percent_encoded, put};
use super::trace::Trace;

pub(super) const STRUCTURED: HeaderValue = HeaderValue::from_static("application/cloudevents+json");
const PLAIN_JSON: &str = "application/json";

/// What is ours to say, or no attribute.
const NEVER_KEPT: [&str; 5] = ["data", "data_base64", "datacontenttype", "specversion", "type"];

/// The value of an attribute.
enum Value<'e> {
    Text(Cow<'e, str>),
    /// An integer or a boolean, as JSON.
    Json(&'e str),
}

/// Attributes by name, each once.
struct Context<'e>(Vec<(Cow<'e, str>, Value<'e>)>);

/// Writes an event's attributes into the head; its data is the body.
pub(super) fn binary(head: &mut HeaderMap, event: &Event, trace: &Trace<'_>) {
    for (name, value) in Context::of(event, trace).0 {
        let Ok(name) = HeaderName::try_from(format!("ce-{name}")) else { continue };
        match value {
            Value::Text(text) => put(head, name, &*percent_encoded(&text)),
            Value::Json(text) => put(head, name, text),
        }
    }
}

/// An event with its data as one JSON object. JSON data is in it byte for byte; any other is in base64.
pub(super) fn structured(event: &Event, trace: &Trace<'_>) -> String {
    let mut text = String::with_capacity(event.body.len() + 512);
    push_structured(&mut text, event, trace);
    text
}

/// As [`structured`], appended to a text.
pub(super) fn push_structured(into: &mut String, event: &Event, trace: &Trace<'_>) {
    into.push('{');
    for (name, value) in Context::of(event, trace).0 {
        push_text(into, &name);
        into.push(':');
        match value {
            Value::Text(text) => push_text(into, &text),
            Value::Json(text) => into.push_str(text),
        }
        into.push(',');
    }
    into.push_str("\"datacontenttype\":");
    push_text(into, event.content_type.as_deref().unwrap_or(PLAIN_JSON));
    into.push(',');
    push_data(into, event);
    into.push('}');
}

/// Appends the member with an event's data: `data`, or `data_base64` for what is no JSON, whatever its media type says.
pub(super) fn push_data(into: &mut String, event: &Event) {
    match json_of(event) {
        Some(json) => {
            into.push_str("\"data\":");
            into.push_str(json);
        }
        None => {
            into.push_str("\"data_base64\":\"");
            STANDARD.encode_string(&event.body, into);
            into.push('"');
        }
    }
}

/// The data, where it is JSON: then nothing in it can end the member that it becomes.
fn json_of(event: &Event) -> Option<&str> {
    if !event.content_type.as_deref().is_none_or(media::is_json) {
        return None;
    }
    serde_json::from_slice::<&RawValue>(&event.body).ok().map(RawValue::get)
}

/// Appends a JSON string.
pub(super) fn push_text(into: &mut String, text: &str) {
    // Writing a text to a string does not fail; an empty one is valid, too.
    let written = serde_json::to_string(text);
    into.push_str(written.as_deref().unwrap_or("\"\""));
}

impl<'e> Context<'e> {
    fn of(event: &'e Event, trace: &Trace<'_>) -> Self {
        let document = event.attributes.as_deref().and_then(|text| Document::parse(text.as_bytes()).ok());
        let kept = document.as_ref().and_then(Document::members).unwrap_or_default();
        let mut kept: Vec<_> = kept.iter().filter_map(|(name, value)| attribute(name, value)).collect();
        let has_trace = kept.iter().any(|(name, _)| name == "traceparent");
        let mut context = Self(Vec::with_capacity(kept.len() + 8));
        context.push("specversion", "1.0".into());
        let mut own =
            |context: &mut Self, name: &'static str, ours: &dyn Fn() -> Option<Cow<'e, str>>| match kept
                .iter()
                .position(|(kept, _)| kept == name)
            {
                Some(at) => context.0.push(kept.remove(at)),
                None => ours()
                    .filter(|text| !text.is_empty())
                    .into_iter()
                    .for_each(|text| context.push(name, text)),
            };
        own(&mut context, "id", &|| Some(event.id.to_string().into()));
        own(&mut context, "source", &|| Some(source(event).into()));
        context.push("type", event.event_type.as_str().into());
        own(&mut context, "time", &|| {
            Some(event.occurred_at.unwrap_or(event.received_at).to_string().into())
        });
        own(&mut context, "partitionkey", &|| event.ordering_key.as_deref().map(Cow::from));
        own(&mut context, "traceparent", &|| Some(trace.origin().into()));
        own(&mut context, "tracestate", &|| {
            trace.state().filter(|_| !has_trace).map(|state| state.to_owned().into())
        });
        context.0.extend(kept);
        context
    }

    fn push(&mut self, name: &'static str, text: Cow<'e, str>) {
        self.0.push((name.into(), Value::Text(text)));
    }
}

/// An attribute as it was stored; `None` for what no receiver would read.
fn attribute<'e>(name: &Cow<'e, str>, value: &'e RawValue) -> Option<(Cow<'e, str>, Value<'e>)> {
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !is_name || NEVER_KEPT.contains(&name.as_ref()) {
        return None;
    }
    let text = value.get();
    let value = match text {
        "null" | "\"\"" => return None,
        "true" | "false" => Value::Json(text),
        _ if text.starts_with('"') => Value::Text(serde_json::from_str::<Cow<'e, str>>(text).ok()?),
        _ if text.parse::<i32>().is_ok() => Value::Json(text),
        // No type of CloudEvents: as the text of its JSON.
        _ => Value::Text(text.into()),
    };
    Some((name.clone(), value))
}

/// Where an event comes from, for one that does not say so itself.
fn source(event: &Event) -> String {
    let mut text = format!("/projects/{}", event.project);
    if let Some(source) = event.source {
        // Writing to a string does not fail.
        let _ = write!(text, "/sources/{source}");
    }
    text
}
