//! The envelope of the v1 contract: what a producer sends, field by field.
//!
//! Every field is first taken as raw JSON and then converted by name, so that a fault names its field. `data` stays
//! the producer's bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::quarantine::Reason;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Longest event type, owner id and idempotency key, in bytes: they are index keys.
const TEXT_MOST: usize = 512;

/// Why a message cannot become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecodable {
    pub(super) reason: Reason,
    /// The field at fault; empty for the body as a whole.
    pub(super) field: &'static str,
    /// A sentence for people that says what to do; holds no payload.
    pub(super) problem: String,
}

impl Undecodable {
    pub(super) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self { reason: Reason::InvalidField, field, problem: problem.into() }
    }
}

/// The fields as they came.
#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    endpoint_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    owner_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    custom_headers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    idempotency_key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    secret: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event_types: Option<&'a RawValue>,
}

/// The fields, each of the right type; which of them a kind needs is decided by `decode`.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) kind: Option<String>,
    pub(super) endpoint_id: Option<String>,
    pub(super) owner_id: Option<String>,
    pub(super) event_type: String,
    /// Valid JSON, as the producer wrote it.
    pub(super) data: Bytes,
    pub(super) custom_headers: BTreeMap<String, String>,
    pub(super) idempotency_key: Option<String>,
    pub(super) url: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) event_types: Option<Vec<String>>,
}

impl Envelope {
    pub(super) fn parse(body: &Bytes) -> Result<Self, Undecodable> {
        let raw: Raw<'_> = serde_json::from_slice(body).map_err(|error| Undecodable {
            reason: Reason::Undecodable,
            field: "",
            problem: describe(&error),
        })?;
        // serde would also take an array, field by field in the order of `Raw`.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Undecodable {
                reason: Reason::Undecodable,
                field: "",
                problem: "the body must be a JSON object".to_owned(),
            });
        }
        let data = match raw.data {
            // An explicit `null` is read as absent by serde; both are refused alike.
            None => return Err(Undecodable::field("data", "is required: any JSON value but null")),
            Some(data) => body.slice_ref(data.get().as_bytes()),
        };
        Ok(Self {
            kind: optional("kind", raw.kind, "a string")?,
            endpoint_id: optional("endpoint_id", raw.endpoint_id, "a string")?,
            owner_id: text("owner_id", raw.owner_id)?,
            event_type: text("event_type", raw.event_type)?
                .ok_or_else(|| Undecodable::field("event_type", "is required: a non-empty string"))?,
            data,
            custom_headers: optional("custom_headers", raw.custom_headers, "an object of strings")?
                .unwrap_or_default(),
            idempotency_key: text("idempotency_key", raw.idempotency_key)?,
            url: optional("url", raw.url, "a string")?,
            secret: optional("secret", raw.secret, "a string")?,
            event_types: optional("event_types", raw.event_types, "an array of strings")?,
        })
    }
}

/// What a JSON parser says, without quoting the payload: serde_json's syntax errors name what was expected and where,
/// its type errors could quote a value.
fn describe(error: &serde_json::Error) -> String {
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

fn optional<T: DeserializeOwned>(
    field: &'static str,
    raw: Option<&RawValue>,
    expected: &str,
) -> Result<Option<T>, Undecodable> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str::<Option<T>>(raw.get())
        .map_err(|_| Undecodable::field(field, format!("must be {expected}")))
}

/// A text that becomes a column: not empty, not too long, no control characters.
fn text(field: &'static str, raw: Option<&RawValue>) -> Result<Option<String>, Undecodable> {
    let Some(text) = optional::<String>(field, raw, "a string")? else { return Ok(None) };
    if text.is_empty() {
        // The contract's clients send empty strings for what they leave out.
        return Ok(None);
    }
    if text.len() > TEXT_MOST {
        return Err(Undecodable::field(field, format!("must be at most {TEXT_MOST} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Undecodable::field(field, "must not hold control characters"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &'static str) -> Result<Envelope, Undecodable> {
        Envelope::parse(&Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn data_keeps_the_producers_bytes() {
        let envelope =
            parse(r#"{"event_type":"a","data":{"z":1.0,"a":12345678901234567890,"e":1E400,"u":"\u00e9<"}}"#)
                .unwrap();

        assert_eq!(&envelope.data[..], br#"{"z":1.0,"a":12345678901234567890,"e":1E400,"u":"\u00e9<"}"#);
    }

    #[test]
    fn a_fault_names_its_field() {
        let cases = [
            (r#"{"data":{}}"#, "event_type"),
            (r#"{"event_type":"","data":{}}"#, "event_type"),
            (r#"{"event_type":5,"data":{}}"#, "event_type"),
            (r#"{"event_type":"a\u0000","data":{}}"#, "event_type"),
            (r#"{"event_type":"a"}"#, "data"),
            (r#"{"event_type":"a","data":null}"#, "data"),
            (r#"{"event_type":"a","data":{},"custom_headers":{"a":1}}"#, "custom_headers"),
            (r#"{"event_type":"a","data":{},"custom_headers":[]}"#, "custom_headers"),
            (r#"{"event_type":"a","data":{},"idempotency_key":1}"#, "idempotency_key"),
            (r#"{"event_type":"a","data":{},"event_types":"a"}"#, "event_types"),
            ("[]", ""),
            (r#"[null,null,null,"a",{}]"#, ""),
            ("", ""),
            (r#"{"event_type":"a","data":{}"#, ""),
            (r#"{"event_type":"a","event_type":"b","data":{}}"#, ""),
        ];
        for (body, field) in cases {
            assert_eq!(parse(body).unwrap_err().field, field, "{body}");
        }
    }

    #[test]
    fn problems_do_not_quote_the_payload() {
        for body in
            [r#"{"event_type":"a","data":{},"custom_headers":{"k":["s3cret"]}}"#, r#""s3cret""#, "s3cret"]
        {
            assert!(!parse(body).unwrap_err().problem.contains("s3cret"), "{body}");
        }
    }

    #[test]
    fn both_sides_of_the_length_limit() {
        let of = |length: usize| {
            let body = format!(r#"{{"event_type":"{}","data":1}}"#, "a".repeat(length));
            Envelope::parse(&Bytes::from(body))
        };
        assert!(of(512).is_ok());
        assert!(of(513).is_err());
    }

    #[test]
    fn unknown_keys_are_let_through_and_empty_texts_are_absent() {
        let envelope =
            parse(r#"{"event_type":"a","data":1,"more":[1],"owner_id":"","idempotency_key":null}"#).unwrap();

        assert!(envelope.owner_id.is_none() && envelope.idempotency_key.is_none());
    }
}
