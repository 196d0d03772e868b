//! What every reading of a message ends in, and the rules for its texts.

use std::borrow::Cow;

use bytes::Bytes;
use longshore_core::Timestamp;
use longshore_core::event::EventKind;
use longshore_core::ids::digest_text;
use longshore_core::quarantine::Reason;

/// Longest event type, owner id and key, in bytes: they are index keys.
pub(super) const TEXT_MOST: usize = 512;
/// The header by which a broker message says its kind, also accepted among `custom_headers`.
pub(super) const KIND_HEADER: &str = "x-convoy-message-type";

/// Why a message cannot become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecodable {
    pub(super) reason: Reason,
    /// The field at fault; empty for the body as a whole.
    pub(super) field: Cow<'static, str>,
    /// A sentence for people that says what to do; holds no payload.
    pub(super) problem: String,
}

impl Undecodable {
    pub(super) fn field(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self { reason: Reason::InvalidField, field: field.into(), problem: problem.into() }
    }

    pub(super) fn message(problem: impl Into<String>) -> Self {
        Self { reason: Reason::Undecodable, field: "".into(), problem: problem.into() }
    }
}

/// A message as it was understood, by whatever reading.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) recipient: Recipient,
    pub(super) event_type: String,
    /// As it is stored and sent.
    pub(super) data: Bytes,
    /// Of `data`; `None` for plain JSON.
    pub(super) content_type: Option<String>,
    pub(super) headers: Headers,
    pub(super) idempotency_key: Option<String>,
    pub(super) ordering_key: Option<String>,
    pub(super) occurred_at: Option<Timestamp>,
    /// Of a CloudEvent: the text of a JSON object.
    pub(super) attributes: Option<String>,
}

/// Whom an event is for, by its message's word.
#[derive(Debug)]
pub(super) struct Recipient {
    pub(super) kind: EventKind,
    pub(super) endpoint: Option<String>,
    pub(super) owner: Option<String>,
    /// Only the contract's envelope can say it.
    pub(super) dynamic: Option<Dynamic>,
    /// What the fields are called in this reading.
    pub(super) names: Names,
}

/// What a `dynamic` event says about its endpoint.
#[derive(Debug)]
pub(super) struct Dynamic {
    pub(super) url: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) event_types: Option<Vec<String>>,
}

/// What the fields that name a recipient are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) endpoint: &'static str,
    pub(super) owner: &'static str,
}

/// Headers beside those of the broker.
#[derive(Debug)]
pub(super) enum Headers {
    /// By the contract's envelope: the broker's value wins on a clash.
    Envelope(Vec<(String, String)>),
    /// By a mapping, whose value wins. The broker's `content-type` described the payload and is kept with it.
    Mapped(Vec<(String, String)>),
    /// The same, of a CloudEvent: what carried its attributes is kept as attributes.
    CloudEvent(Vec<(String, String)>),
}

/// A text that becomes a column: not too long, no control characters.
pub(super) fn checked(field: impl Into<Cow<'static, str>>, text: String) -> Result<String, Undecodable> {
    if text.len() > TEXT_MOST {
        return Err(Undecodable::field(field, format!("must be at most {TEXT_MOST} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Undecodable::field(field, "must not hold control characters"));
    }
    Ok(text)
}

/// A key for equality alone: what cannot be a column is stood for by its digest.
pub(super) fn key(text: String) -> String {
    if text.len() > TEXT_MOST || text.chars().any(char::is_control) {
        digest_text(&[text.as_bytes()])
    } else {
        text
    }
}

/// What a JSON parser says, without quoting the payload: serde_json's syntax errors name what was expected and where,
/// its type errors could quote a value.
pub(super) fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data if error.to_string().starts_with("duplicate field") => {
            format!("the body has a field twice, at line {line} column {column}")
        }
        serde_json::error::Category::Data => {
            format!("the body must be a JSON object, at line {line} column {column}")
        }
        _ => format!("the body is not JSON: see line {line} column {column}"),
    }
}
