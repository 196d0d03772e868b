//! Compaction of JSON text without touching a number, a key or an escape, and reading of any valid JSON.
//!
//! What it is for: the body that is signed is the body that is sent, with insignificant white space gone. What
//! it does not do: validate. Invariant: compaction removes bytes outside strings and changes no other.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;

/// Below this depth [`parse`] no longer keeps the values of documents it can only read leniently.
const LENIENT_DEPTH: usize = 64;

/// Removes insignificant white space; zero-copy when there is none, or only around the document.
///
/// `text` must be valid JSON; other text comes back shorter or unchanged, but never makes this panic.
#[must_use]
pub fn compact(text: Bytes) -> Bytes {
    let text = trimmed(text);
    let Some(first) = next_space(&text, 0) else {
        return text;
    };
    let mut kept = Vec::with_capacity(text.len());
    kept.extend_from_slice(&text[..first]);
    let mut start = skip_spaces(&text, first);
    while let Some(end) = next_space(&text, start) {
        kept.extend_from_slice(&text[start..end]);
        start = skip_spaces(&text, end);
    }
    kept.extend_from_slice(&text[start..]);
    kept.into()
}

/// Reads any valid JSON; `None` when the text is not JSON.
///
/// Unlike a plain [`serde_json::from_slice`] it does not fail on a valid document with a number beyond `f64`
/// (read as the largest `f64` of that sign) or with deep nesting (values below the 64th level read as null).
/// Of repeated keys the last one counts.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text)
        .ok()
        .or_else(|| serde_json::from_slice::<&RawValue>(text).ok().map(|raw| lenient(raw, LENIENT_DEPTH)))
}

fn lenient(raw: &RawValue, depth: usize) -> Value {
    let text = raw.get();
    if depth == 0 {
        return Value::Null;
    }
    match text.as_bytes().first() {
        Some(b'{') => {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map_or(Value::Null, |object| {
                Value::Object(
                    object.into_iter().map(|(key, value)| (key, lenient(value, depth - 1))).collect(),
                )
            })
        }
        Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text).map_or(Value::Null, |array| {
            Value::Array(array.into_iter().map(|value| lenient(value, depth - 1)).collect())
        }),
        Some(b'-') => serde_json::from_str(text).unwrap_or_else(|_| Value::from(f64::MIN)),
        Some(b'0'..=b'9') => serde_json::from_str(text).unwrap_or_else(|_| Value::from(f64::MAX)),
        _ => serde_json::from_str(text).unwrap_or_default(),
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trimmed(text: Bytes) -> Bytes {
    let end = text.iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
    let start = skip_spaces(&text[..end], 0);
    if start == 0 && end == text.len() { text } else { text.slice(start..end) }
}

fn skip_spaces(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|&byte| !is_space(byte)).map_or(text.len(), |offset| from + offset)
}

/// The first white space outside strings; `from` must lie outside a string.
fn next_space(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(&byte) = text.get(at) {
        if byte == b'"' {
            at = end_of_string(text, at + 1);
        } else if is_space(byte) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// The position after the closing quote of a string whose first character is at `at`.
fn end_of_string(text: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compacted(text: &str) -> String {
        String::from_utf8(compact(Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn only_white_space_outside_strings_goes() {
        let cases = [
            (r#"{ "a" : 1 }"#, r#"{"a":1}"#),
            ("[ ]", "[]"),
            ("\r\n\t{\n  \"a b\": \"c  d\"\n}\n", r#"{"a b":"c  d"}"#),
            (r#"{"a\" b": "c\\" , "d": " \" "}"#, r#"{"a\" b":"c\\","d":" \" "}"#),
            ("[1e400, 12345678901234567890, 1.0, -0, 1E+2]", "[1e400,12345678901234567890,1.0,-0,1E+2]"),
            (r#"{"a": 1, "a": 2}"#, r#"{"a":1,"a":2}"#),
            (r#"["\u00e9\u2028", "é", "</p>" ]"#, r#"["\u00e9\u2028","é","</p>"]"#),
            (" 1 ", "1"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(compacted(text), expected);
        }
    }

    #[test]
    fn compact_text_is_not_copied() {
        let text = Bytes::from_static(br#"{"a b":[1,"c d"]}"#);
        let padded = Bytes::from_static(b"  {\"a b\":1}\n");

        assert_eq!(compact(text.clone()).as_ptr(), text.as_ptr());
        assert_eq!(compact(padded.clone()).as_ptr(), padded[2..].as_ptr());
    }

    #[test]
    fn unfinished_text_does_not_panic() {
        for text in ["\"", "\"\\", "{ \"a", "   ", "[ \"\\\""] {
            let _ = compacted(text);
        }
    }

    #[test]
    fn any_valid_document_can_be_read() {
        assert_eq!(
            parse(br#"{"big":1e400,"small":-1e400,"list":[{"a":"\u00e9"}],"no":null}"#).unwrap(),
            serde_json::json!({"big": f64::MAX, "small": f64::MIN, "list": [{"a": "é"}], "no": null})
        );
        assert!(parse(format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000)).as_bytes()).is_some());
        assert_eq!(parse(br#"{"a":}"#), None);
        assert_eq!(parse(b"\xff"), None);
    }

    /// A document as (compact text, the same text with white space between its tokens).
    fn document() -> impl Strategy<Value = (String, String)> {
        let space = "[ \t\r\n]{0,3}";
        let scalar = prop_oneof![
            prop::sample::select(vec![
                "1e400",
                "12345678901234567890",
                "1.0",
                "-0",
                "true",
                "null",
                "\"\\u00e9 \\\" \\\\\"",
                "\" \"",
            ])
            .prop_map(str::to_owned),
            ".*".prop_map(|text| serde_json::to_string(&text).unwrap()),
            any::<f64>().prop_map(|number| serde_json::to_string(&number).unwrap()),
        ];
        let leaf = (scalar, space, space)
            .prop_map(|(text, before, after)| (text.clone(), format!("{before}{text}{after}")));
        leaf.prop_recursive(4, 48, 5, move |inner| {
            let key = prop::sample::select(vec!["\"a\"", "\"a b\"", "\"\\\" \\u0020\""]);
            prop_oneof![
                (prop::collection::vec(inner.clone(), 0..5), space).prop_map(|(items, pad)| {
                    let (tight, loose): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                    (format!("[{}]", tight.join(",")), format!("{pad}[{pad}{}]{pad}", loose.join(",")))
                }),
                (prop::collection::vec((key, inner), 0..5), space).prop_map(|(items, pad)| {
                    let tight: Vec<_> =
                        items.iter().map(|(key, (tight, _))| format!("{key}:{tight}")).collect();
                    let loose: Vec<_> =
                        items.iter().map(|(key, (_, loose))| format!("{pad}{key}{pad}:{loose}")).collect();
                    (format!("{{{}}}", tight.join(",")), format!("{pad}{{{pad}{}}}{pad}", loose.join(",")))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn compaction_is_exact_and_idempotent((tight, loose) in document()) {
            prop_assert_eq!(&compacted(&loose), &tight);
            prop_assert_eq!(&compacted(&tight), &tight);
            prop_assert!(parse(loose.as_bytes()).is_some());
        }

        #[test]
        fn compaction_undoes_pretty_printing((tight, _) in document()) {
            if let Ok(value) = serde_json::from_str::<Value>(&tight) {
                let pretty = serde_json::to_string_pretty(&value).unwrap();
                prop_assert_eq!(compacted(&pretty), serde_json::to_string(&value).unwrap());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = compact(bytes.into());
        }
    }
}
