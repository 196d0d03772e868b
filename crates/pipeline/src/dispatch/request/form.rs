//! Forms: the members of a JSON object as `application/x-www-form-urlencoded`.
//!
//! Texts as they are, numbers in the producer's digits, `true` and `false` as such, null as empty, objects and arrays as compact
//! JSON. A member that is there twice is there twice.

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use longshore_core::mapping::Document;
use longshore_core::{json, media};
use serde_json::value::RawValue;
use url::form_urlencoded::Serializer;

use super::{Body, Unsendable};

const FORM: &str = "application/x-www-form-urlencoded";
const NO_OBJECT: Unsendable = Unsendable(
    "the endpoint takes forms, and a form needs a JSON object in Unicode, which the event's data is not: set the endpoint's \
     `content_type` to `application/json`, or subscribe it to other events",
);

/// The form of a body of that media type. One that is a form already goes as it is.
///
/// The v1 contract signs the compact JSON, as its SDKs check it.
pub(super) fn body(data: &Bytes, content_type: Option<&str>) -> Result<Body, Unsendable> {
    let form = HeaderValue::from_static(FORM);
    match content_type {
        Some(named) if media::essence(named).eq_ignore_ascii_case(FORM) => {
            Ok(Body::of_bytes(data.clone(), HeaderValue::try_from(named).unwrap_or(form)))
        }
        Some(named) if !media::is_json(named) => Err(NO_OBJECT),
        _ => {
            let bytes = encoded(data)?.into();
            Ok(Body { bytes, content_type: form, contract: Some(json::compact(data.clone())) })
        }
    }
}

fn encoded(data: &[u8]) -> Result<String, Unsendable> {
    let document = Document::parse(data).map_err(|_| NO_OBJECT)?;
    let members = document.members().ok_or(NO_OBJECT)?;
    let mut form = Serializer::new(String::with_capacity(data.len() + data.len() / 2));
    for (name, value) in members {
        form.append_pair(name, &text(value).ok_or(NO_OBJECT)?);
    }
    Ok(form.finish())
}

/// A value as a text; `None` for a string that is not Unicode.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'n' => Some("".into()),
        b'"' => serde_json::from_str(text).map(Cow::Owned).ok(),
        b'{' | b'[' => {
            let compact = json::compact(Bytes::copy_from_slice(text.as_bytes()));
            String::from_utf8(compact.into()).map(Cow::Owned).ok()
        }
        _ => Some(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};
    use url::form_urlencoded;

    use super::*;

    fn fields(json: &str) -> Vec<(String, String)> {
        form_urlencoded::parse(encoded(json.as_bytes()).unwrap().as_bytes()).into_owned().collect()
    }

    #[test]
    fn every_kind_of_value_has_its_form() {
        let json = r#"{"text":"a & b=c+é\n\"","big":12345678901234567890.10,"e":1E+400,"no":null,"yes":true,
            "list":[ 1, "a b" ],"object":{ "a" : {"b": 1.0} },"":"","twice":1,"twice":2,"a b":"\u0000"}"#;

        let expected = [
            ("text", "a & b=c+é\n\""),
            ("big", "12345678901234567890.10"),
            ("e", "1E+400"),
            ("no", ""),
            ("yes", "true"),
            ("list", r#"[1,"a b"]"#),
            ("object", r#"{"a":{"b":1.0}}"#),
            ("", ""),
            ("twice", "1"),
            ("twice", "2"),
            ("a b", "\0"),
        ];
        assert_eq!(fields(json), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(fields("{}"), []);
    }

    #[test]
    fn what_is_no_object_has_no_form() {
        for json in ["", "1", "[1]", "null", "\"a\"", "{", "a=b", r#"{"a":"\ud800"}"#, r#"{"\ud800":1}"#] {
            assert_eq!(encoded(json.as_bytes()), Err(NO_OBJECT), "{json}");
        }
        assert!(body(&Bytes::from_static(b"{}"), Some("text/plain")).is_err());
        assert!(body(&Bytes::from_static(b"a=b&c"), Some("Application/x-www-form-urlencoded")).is_ok());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4)
                    .prop_map(|members| Value::Object(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_form_reads_back(members in prop::collection::btree_map(".*", value(), 0..6)) {
            let object = Value::Object(Map::from_iter(members));

            let read = fields(&serde_json::to_string_pretty(&object).unwrap());

            let expected: Vec<_> = object.as_object().unwrap().iter().map(|(name, value)| {
                let text = match value {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                (name.clone(), text)
            }).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_body_breaks_it(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = encoded(&body);
        }
    }
}
