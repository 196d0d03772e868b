//! The envelope of the v1 contract: what a producer sends, field by field.
//!
//! Every field is first taken as raw JSON and then converted by name, so that a fault names its field. `data` stays
//! the producer's bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_core::mapping::Document;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::fields::{Undecodable, checked, describe};

/// The keys of the contract, for those who want no others.
const KEYS: [&str; 10] = [
    "kind",
    "endpoint_id",
    "owner_id",
    "event_type",
    "data",
    "custom_headers",
    "idempotency_key",
    "url",
    "secret",
    "event_types",
];

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
    /// No key of the contract: a body with it and without `event_type` may be a CloudEvent.
    #[serde(borrow, default)]
    specversion: Option<&'a RawValue>,
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

/// A body as the contract reads it.
#[derive(Debug)]
pub(super) enum Body {
    /// The contract's envelope.
    Envelope(Envelope),
    /// No envelope, since it has no event type; and it says a version of CloudEvents.
    MaybeCloudEvent(Undecodable),
}

impl Envelope {
    /// Reads a body; with `strict`, unknown keys are refused.
    pub(super) fn parse(body: &Bytes, strict: bool) -> Result<Body, Undecodable> {
        let raw: Raw<'_> =
            serde_json::from_slice(body).map_err(|error| Undecodable::message(describe(&error)))?;
        // serde would also take an array, field by field in the order of `Raw`.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Undecodable::message("the body must be a JSON object"));
        }
        let may_be_cloud_event = raw.specversion.is_some() && raw.event_type.is_none();
        let envelope = match strict {
            true => only_known_keys(body).and_then(|()| Self::of(&raw, body)),
            false => Self::of(&raw, body),
        };
        match envelope {
            Ok(envelope) => Ok(Body::Envelope(envelope)),
            Err(fault) if may_be_cloud_event => Ok(Body::MaybeCloudEvent(fault)),
            Err(fault) => Err(fault),
        }
    }

    fn of(raw: &Raw<'_>, body: &Bytes) -> Result<Self, Undecodable> {
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

fn only_known_keys(body: &[u8]) -> Result<(), Undecodable> {
    let document = Document::parse(body).map_err(|error| Undecodable::message(describe(&error)))?;
    let members = document.members().unwrap_or_default();
    match members.iter().find(|(name, _)| !KEYS.contains(&name.as_ref())) {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            Err(Undecodable::message(format!(
                "the body has the unknown key `{name}`: correct or leave it out, or do not set `strict`"
            )))
        }
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
    checked(field, text).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str, strict: bool) -> Result<Envelope, Undecodable> {
        match Envelope::parse(&Bytes::from_static(body.as_bytes()), strict)? {
            Body::Envelope(envelope) => Ok(envelope),
            Body::MaybeCloudEvent(fault) => Err(fault),
        }
    }

    fn parse(body: &'static str) -> Result<Envelope, Undecodable> {
        read(body, false)
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
            Envelope::parse(&Bytes::from(body), false)
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
    #[test]
    fn a_strict_reader_names_the_unknown_key() {
        let body = r#"{"event_typ":"a","data":1}"#;
        let fault = read(body, true).unwrap_err();
        assert!(fault.problem.contains("`event_typ`"), "{fault:?}");
        assert_eq!(parse(body).unwrap_err().field, "event_type");

        let control = read("{\"event_type\":\"a\",\"data\":1,\"a\\u0000\":2}", true).unwrap_err();
        assert!(!control.problem.chars().any(char::is_control), "{control:?}");
        assert!(
            read(
                r#"{"kind":"single","endpoint_id":"e","owner_id":"o","event_type":"a","data":1,
            "custom_headers":{},"idempotency_key":"k","url":"u","secret":"s","event_types":[]}"#,
                true
            )
            .is_ok()
        );
    }

    #[test]
    fn only_what_is_no_envelope_may_be_a_cloud_event() {
        let of = |body: &'static str| Envelope::parse(&Bytes::from_static(body.as_bytes()), true);
        assert!(matches!(of(r#"{"specversion":"1.0","data":1}"#), Ok(Body::MaybeCloudEvent(_))));
        let both = Bytes::from_static(br#"{"specversion":"1.0","event_type":"a","data":1}"#);
        assert!(matches!(Envelope::parse(&both, false), Ok(Body::Envelope(_))));
        assert!(of(r#"{"specversion":null,"data":1}"#).is_err());
    }
}
