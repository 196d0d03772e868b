//! CloudEvents 1.0, recognised by themselves in every mode and spelling that brokers carry them in.
//!
//! By the protocol bindings: a content type that begins with `application/cloudevents` is structured mode; otherwise
//! a carrier of `specversion` is binary mode. Where a broker has no content type (SQS), a JSON body that says all of
//! `specversion`, `id`, `source` and `type` and is not the contract's envelope is structured mode too.

mod attributes;
mod binary;
mod structured;

use bytes::Bytes;
use longshore_core::event::EventKind;
use longshore_core::ids::digest_text;
use longshore_core::mapping::Document;
use longshore_core::quarantine::Reason;
use longshore_core::{Mapping, json, media};
use longshore_source::Message;

use super::fields::{
    Fields, Headers, KIND_HEADER, Names, Recipient, TEXT_MOST, Undecodable, checked, describe,
};
use super::mapped::{NULL, UNKNOWN_BYTES, View, header, media_type, parse_kind};

pub(super) use attributes::{Attributes, carried};

const PREFIX: &str = "application/cloudevents";
const CONTENT_TYPE: &str = "content-type";
/// The kind of an HTTP batch item is said by the item.
const BATCH: &str = "batch";
const NAMES: Names = Names { endpoint: "endpointid", owner: "ownerid" };

/// How a message carries a CloudEvent, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The body is the event.
    Structured,
    /// Headers are its attributes, the body its data.
    Binary,
    /// It does not, by its headers; the body may still be one when they do not speak against it.
    Unsaid { may_be_structured: bool },
}

/// The mode by headers alone.
///
/// # Errors
/// For batches and for formats other than JSON.
pub(super) fn mode(message: &Message) -> Result<Mode, Undecodable> {
    let mut content_type = None;
    let mut is_binary = false;
    for (name, value) in &message.headers {
        if name.len() == CONTENT_TYPE.len() && name.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = content_type.or(Some(value.as_str()));
        } else if carried(name).is_some_and(|name| name.eq_ignore_ascii_case("specversion")) {
            is_binary = true;
        }
    }
    let essence = media::essence(content_type.unwrap_or_default());
    let format = essence.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX));
    if format.is_some() {
        let rest = essence[PREFIX.len()..].to_ascii_lowercase();
        return match rest.as_str() {
            "" | "+json" => Ok(Mode::Structured),
            _ if rest.starts_with("-batch") => Err(unsupported(
                "a batch of CloudEvents (`application/cloudevents-batch`) cannot be one message: send each event by itself",
            )),
            _ => {
                let format: String = essence.chars().take(64).flat_map(char::escape_debug).collect();
                Err(unsupported(format!(
                    "CloudEvents in the format `{format}` are not read: send `application/cloudevents+json`"
                )))
            }
        };
    }
    if is_binary {
        return Ok(Mode::Binary);
    }
    Ok(Mode::Unsaid { may_be_structured: content_type.is_none_or(media::is_plain_json) })
}

fn unsupported(problem: impl Into<String>) -> Undecodable {
    Undecodable { reason: Reason::Undecodable, field: CONTENT_TYPE.into(), problem: problem.into() }
}

/// Whether a body whose headers say nothing is a CloudEvent by its own word.
pub(super) fn is_structured(body: &[u8]) -> bool {
    let is_text = |document: &Document<'_>, name: &str| {
        document.member(name).is_some_and(|value| value.get().starts_with('"'))
    };
    body.trim_ascii_start().starts_with(b"{")
        && Document::parse(body).is_ok_and(|document| {
            document.member("specversion").is_some_and(|version| version.get().starts_with("\"1."))
                && ["id", "source", "type"].into_iter().all(|name| is_text(&document, name))
        })
}

/// Reads a message whose body is the event.
pub(super) fn structured(message: &Message, mapping: &Mapping) -> Result<Fields, Undecodable> {
    let document = Document::parse(&message.body).map_err(|error| Undecodable::message(describe(&error)))?;
    let (attributes, data) = structured::read(&document, &message.body)?;
    fields(message, mapping, &attributes, data)
}

/// Reads a message whose headers are the event's attributes.
pub(super) fn binary(message: &Message, mapping: &Mapping) -> Result<Fields, Undecodable> {
    let attributes = binary::read(message)?;
    let content_type = attributes.get("datacontenttype");
    let data = payload(message.body.clone(), content_type, "data")?;
    fields(message, mapping, &attributes, data)
}

/// The data of an event as it is stored, and its media type when that is not plain JSON.
type Payload = (Bytes, Option<String>);

/// Bytes of the media type that is said of them.
fn payload(bytes: Bytes, content_type: Option<&str>, field: &'static str) -> Result<Payload, Undecodable> {
    let Some(content_type) = content_type.filter(|text| !text.is_empty()) else {
        return Ok(match Document::parse(&bytes) {
            _ if bytes.is_empty() => (Bytes::from_static(NULL), None),
            Ok(_) => (json::compact(bytes), None),
            Err(_) => (bytes, Some(UNKNOWN_BYTES.to_owned())),
        });
    };
    if !media::is_json(content_type) {
        return Ok((bytes, Some(media_type("datacontenttype", content_type)?)));
    }
    let data = match Document::parse(&bytes) {
        _ if bytes.is_empty() => Bytes::from_static(NULL),
        Ok(_) => json::compact(bytes),
        Err(_) => {
            let problem = "is not JSON, though `datacontenttype` says so: correct one of them";
            return Err(Undecodable::field(field, problem));
        }
    };
    Ok((data, not_plain(content_type)?))
}

fn not_plain(content_type: &str) -> Result<Option<String>, Undecodable> {
    let is_plain = media::is_plain_json(content_type);
    (!is_plain).then(|| media_type("datacontenttype", content_type)).transpose()
}

fn fields(
    message: &Message,
    mapping: &Mapping,
    attributes: &Attributes<'_>,
    (data, content_type): Payload,
) -> Result<Fields, Undecodable> {
    attributes.check()?;
    let event_type = checked("type", attributes.required("type")?.to_owned())?;
    let key = idempotency_key(attributes.required("source")?, attributes.required("id")?);
    let occurred_at =
        attributes.get("time").map(|text| text.parse()).transpose().map_err(
            |error: longshore_core::clock::NotRfc3339| Undecodable::field("time", error.to_string()),
        )?;
    // Paths of the mapping are those of the data: the same in both modes.
    let json = content_type.as_deref().is_none_or(media::is_json).then_some(&data[..]);
    let view = View::new(message, mapping, json, Some(attributes));
    let recipient = match view.recipient()? {
        Some(recipient) => recipient,
        None => recipient(message, attributes)?,
    };
    let ordering_key = match view.ordering_key()? {
        Some(key) => Some(key),
        None => attributes.get("partitionkey").map(str::to_owned),
    };
    let headers = Headers::CloudEvent(view.headers()?);
    let attributes = Some(attributes.to_json());
    Ok(Fields {
        recipient,
        event_type,
        headers,
        idempotency_key: Some(key),
        ordering_key,
        occurred_at,
        attributes,
        data,
        content_type,
    })
}

/// By the path of a request, by extension attributes, or by the header of the contract; otherwise everybody.
fn recipient(message: &Message, attributes: &Attributes<'_>) -> Result<Recipient, Undecodable> {
    let text =
        |name: &'static str| attributes.get(name).map(|text| checked(name, text.to_owned())).transpose();
    let (endpoint, owner) = (text("endpointid")?, text("ownerid")?);
    let by_route = message.route.as_ref().map(|route| route.kind).filter(|kind| *kind != BATCH);
    let kind = match (by_route, attributes.get("kind"), header(message, KIND_HEADER)) {
        (Some(kind), ..) | (None, Some(kind), _) => parse_kind("kind", kind)?,
        (None, None, Some(kind)) => parse_kind(KIND_HEADER, kind)?,
        (None, None, None) if endpoint.is_some() => EventKind::Single,
        (None, None, None) if owner.is_some() => EventKind::Fanout,
        (None, None, None) => EventKind::Broadcast,
    };
    Ok(Recipient { kind, endpoint, owner, dynamic: None, names: NAMES })
}

/// The pair is unique, the id alone is not. Written as a JSON array: no two pairs look alike.
fn idempotency_key(source: &str, id: &str) -> String {
    let pair = serde_json::Value::from(vec![source, id]).to_string();
    if pair.len() <= TEXT_MOST { pair } else { digest_text(&[source.as_bytes(), id.as_bytes()]) }
}

#[cfg(test)]
mod tests;
