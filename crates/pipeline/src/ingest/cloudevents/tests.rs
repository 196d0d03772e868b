mod over_http;
mod properties;

use longshore_core::event::{Event, Target};
use longshore_source::{Message, Position, Route};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::testing::{ENDPOINT, PROJECT, event, mapping, message};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn row(message: &Message) -> Event {
    // The raw envelope has no attributes; everything else must be the same.
    Event { attributes: None, ..event(message, Mapping::default()).unwrap() }
}

/// In binary mode, with names made by `spell`.
fn binary_message(said: &[(&str, &str)], spell: impl Fn(&str) -> String, body: &'static str) -> Message {
    let attributes = [
        ("specversion", "1.0"),
        ("id", "A-1"),
        ("source", "/orders"),
        ("type", "order.paid"),
        ("ownerid", "acct_42"),
        ("partitionkey", "k-9"),
    ];
    let mut message = message(said, body);
    message.headers.push(("x-a".to_owned(), "1".to_owned()));
    message.headers.push(("x-convoy-message-type".to_owned(), "fanout".to_owned()));
    message.headers.extend(attributes.map(|(name, value)| (spell(name), value.to_owned())));
    message
}

fn structured_message(said: &[(&str, &str)], body: &str) -> Message {
    let mut message = message(said, body.to_owned());
    message.headers.push(("x-a".to_owned(), "1".to_owned()));
    message.headers.push(("x-convoy-message-type".to_owned(), "fanout".to_owned()));
    message
}

fn prefixed(prefix: &'static str) -> impl Fn(&str) -> String {
    move |name| format!("{prefix}{name}")
}

#[test]
fn the_same_event_is_the_same_row_whatever_carries_it() {
    let raw = r#"{"event_type":"order.paid","owner_id":"acct_42","data":{"n":1},"idempotency_key":"[\"/orders\",\"A-1\"]"}"#;
    let mut raw = structured_message(&[], raw);
    raw.position.key = Some("k-9".to_owned());
    let expected = row(&raw);
    assert_eq!(expected.target, Target::Fanout("acct_42".to_owned()));
    assert_eq!((expected.ordering_key.as_deref(), &expected.body[..]), (Some("k-9"), &br#"{"n":1}"#[..]));

    let json = r#"{"specversion":"1.0","id":"A-1","source":"/orders","type":"order.paid","ownerid":"acct_42","partitionkey":"k-9","data":{"n":1}}"#;
    let structured = |content_type: &str| structured_message(&[("content-type", content_type)], json);
    let with = |more: &str| json.replace(r#""data":{"n":1}"#, more);
    let cloud = ("content-type", "application/cloudevents+json");
    let binary = |said: &[(&str, &str)], prefix| binary_message(said, prefixed(prefix), r#"{"n":1}"#);
    let over_http = |spell: &'static str, decorate: fn(&str) -> String| {
        let mut message =
            binary_message(&[("content-type", "application/json")], prefixed(spell), r#"{"n":1}"#);
        for (name, value) in &mut message.headers {
            if name.to_ascii_lowercase().starts_with("ce-") {
                *value = decorate(value);
            }
        }
        message.route = Some(Route { project: PROJECT.as_u128(), kind: "fanout", inbound: None });
        message
    };
    let rows = [
        ("structured", structured("application/cloudevents+json")),
        ("structured, charset", structured("application/cloudevents+json; charset=UTF-8")),
        ("structured, spelled loudly", structured("Application/CloudEvents+JSON;charset=utf-8")),
        ("structured, no format", structured("application/cloudevents")),
        ("structured, header name", structured_message(&[("Content-Type", cloud.1)], json)),
        ("structured beside binary", binary_message(&[cloud], prefixed("ce_"), json)),
        ("by its body (SQS)", structured_message(&[], json)),
        ("by its body, beside JSON", structured("application/json")),
        ("by its body, beside JSON with charset", structured("application/json; charset=utf-8")),
        ("by its body, spaced", structured_message(&[], &format!(" \n{}", json.replace(',', " ,\n ")))),
        ("structured, pretty", structured_message(&[cloud], &json.replace(',', " ,\n ").replace(':', ": "))),
        ("structured, loud names", structured_message(&[cloud], &json.replace("specversion", "SpecVersion"))),
        ("structured, base64", structured_message(&[cloud], &with(r#""data_base64":"eyJuIjoxfQ==""#))),
        ("structured, base64 unpadded", structured_message(&[cloud], &with(r#""data_base64":"eyJuIjoxfQ""#))),
        (
            "structured, base64 with its type",
            structured_message(
                &[cloud],
                &with(r#""datacontenttype":"application/json","data_base64":"eyJuIjoxfQ==""#),
            ),
        ),
        (
            "structured, its type",
            structured_message(
                &[cloud],
                &with(r#""datacontenttype":"application/json;charset=utf-8","data":{"n":1}"#),
            ),
        ),
        (
            "structured, nulls",
            structured_message(&[cloud], &with(r#""data_base64":null,"subject":null,"data":{"n":1}"#)),
        ),
        ("structured, version", structured_message(&[cloud], &json.replace("1.0", "1.0.2"))),
        ("binary ce-", binary(&[], "ce-")),
        ("binary ce_", binary(&[("content-type", "application/json")], "ce_")),
        (
            "binary cloudEvents_",
            binary(&[("content-type", "application/json; charset=utf-8")], "cloudEvents_"),
        ),
        ("binary cloudEvents:", binary(&[("Content-Type", "APPLICATION/JSON")], "cloudEvents:")),
        ("binary CE-", binary(&[], "CE-")),
        ("binary Ce_", binary(&[], "Ce_")),
        ("binary CLOUDEVENTS_", binary(&[], "CLOUDEVENTS_")),
        ("binary cloudevents:", binary(&[], "cloudevents:")),
        (
            "binary, loud names",
            binary_message(&[], |name| format!("ce-{}", name.to_uppercase()), r#"{"n":1}"#),
        ),
        (
            "binary, mixed prefixes",
            binary_message(
                &[],
                |name| format!("{}{name}", if name == "id" { "ce-" } else { "ce_" }),
                r#"{"n":1}"#,
            ),
        ),
        (
            "binary, both prefixes agree",
            binary(&[("ce-id", "A-1"), ("cloudEvents_type", "order.paid")], "ce_"),
        ),
        ("binary, its type as an attribute", binary(&[("ce-datacontenttype", "application/json")], "ce-")),
        ("binary, spaced data", binary_message(&[], prefixed("ce_"), " { \"n\" : 1 } ")),
        ("binary, HTTP", over_http("ce-", str::to_owned)),
        ("binary, HTTP encoded", over_http("Ce-", |text| text.replace('/', "%2F").replace('_', "%5f"))),
        ("binary, HTTP quoted", over_http("ce-", |text| format!("\"{}\"", text.replace('A', "\\A")))),
    ];
    assert!(rows.len() >= 25);
    for (name, message) in rows {
        assert_eq!(row(&message), expected, "{name}");
    }
}

#[test]
fn attributes_are_kept_the_same_by_every_mode() {
    let expected = json!({
        "id": "A-1", "source": "/orders", "subject": "o/1", "time": "2026-01-31T08:15:00.25Z",
        "datacontenttype": "application/vnd.order+json", "dataschema": "https://s.example/o", "tenant": "t",
        "traceparent": TRACE, "tracestate": "a=b",
    });
    let mut said =
        vec![("content-type", "application/vnd.order+json"), ("ce_specversion", "1.0"), ("ce_type", "t")];
    let fields = expected.as_object().unwrap();
    let named: Vec<(String, &str)> =
        fields.iter().map(|(name, value)| (format!("ce_{name}"), value.as_str().unwrap())).collect();
    said.extend(
        named
            .iter()
            .filter(|(name, _)| name != "ce_datacontenttype")
            .map(|(name, value)| (&name[..], *value)),
    );
    let binary = message(&said, "1");
    let mut body = expected.clone();
    body["specversion"] = "1.0".into();
    body["type"] = "t".into();
    body["data"] = 1.into();
    let structured = message(&[("content-type", "application/cloudevents+json")], body.to_string());

    for message in [binary, structured] {
        let event = event(&message, Mapping::default()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&event.attributes.unwrap()).unwrap(), expected);
        assert_eq!(event.occurred_at.unwrap().to_string(), "2026-01-31T08:15:00.25Z");
        assert_eq!(event.content_type.as_deref(), Some("application/vnd.order+json"));
        assert_eq!((event.event_type.as_str(), event.target), ("t", Target::Broadcast));
        assert!(event.headers.is_empty(), "{:?}", event.headers);
    }
}

const JSON: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;

/// A structured event with more members.
fn with(more: &str) -> Message {
    message(&[("content-type", "application/cloudevents+json")], format!("{JSON}{more}}}"))
}

#[test]
fn an_extension_keeps_its_json_and_its_numbers() {
    let event =
        event(&with(r#","n":12345678901234567890,"f":1.0,"b":true,"o":{"a":[1]}"#), Mapping::default())
            .unwrap();

    let expected = r#"{"b":true,"f":1.0,"id":"1","n":12345678901234567890,"o":{"a":[1]},"source":"/s"}"#;
    assert_eq!(event.attributes.as_deref(), Some(expected));
}

#[test]
fn data_is_what_its_media_type_says() {
    let octets = Some("application/octet-stream");
    let structured: [(&str, &[u8], Option<&str>); 11] = [
        ("", b"null", None),
        (r#","data":null"#, b"null", None),
        (r#","data": [1.0, 1E400] "#, b"[1.0,1E400]", None),
        (r#","data":"<a/>""#, b"\"<a/>\"", None),
        (r#","datacontenttype":"text/xml","data":"<a b=\"c\"/>""#, b"<a b=\"c\"/>", Some("text/xml")),
        (r#","datacontenttype":"text/plain","data_base64":"aGk=""#, b"hi", Some("text/plain")),
        (
            r#","datacontenttype":"application/json; charset=utf-16","data_base64":"AAE=""#,
            b"\0\x01",
            Some("application/json; charset=utf-16"),
        ),
        (r#","data_base64":"/wA=""#, b"\xff\0", octets),
        (r#","data_base64":"eyAiYSI6IDEgfQ==""#, br#"{"a":1}"#, None),
        (r#","datacontenttype":"text/json","data":1"#, b"1", Some("text/json")),
        (r#","datacontenttype":"text/plain""#, b"null", None),
    ];
    for (more, body, content_type) in structured {
        let event = event(&with(more), Mapping::default()).unwrap();
        assert_eq!((&event.body[..], event.content_type.as_deref()), (body, content_type), "{more}");
    }
    type Row = (Option<&'static str>, &'static [u8], &'static [u8], Option<&'static str>);
    let binary: [Row; 8] = [
        (Some("application/json"), b" 1 ", b"1", None),
        (Some("application/json"), b"", b"null", None),
        (Some("text/plain"), b" 1 ", b" 1 ", Some("text/plain")),
        (Some("text/plain"), b"", b"", Some("text/plain")),
        (Some("application/avro"), b"\0\xff", b"\0\xff", Some("application/avro")),
        (None, b"{ }", b"{}", None),
        (None, b"\xff", b"\xff", octets),
        (None, b"", b"null", None),
    ];
    for (content_type, sent, body, expected) in binary {
        let mut message = message(
            &[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")],
            sent,
        );
        message.headers.extend(content_type.map(|text| ("content-type".to_owned(), text.to_owned())));
        let event = event(&message, Mapping::default()).unwrap();
        assert_eq!((&event.body[..], event.content_type.as_deref()), (body, expected), "{content_type:?}");
    }
}

#[test]
fn a_fault_names_its_attribute_and_quotes_nothing() {
    let cloud = [("content-type", "application/cloudevents+json")];
    let structured = |body: &str| message(&cloud, body.to_owned());
    let carriers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    let without = |name: &str| {
        let kept: Vec<_> = carriers.into_iter().filter(|(known, _)| *known != name).collect();
        message(&kept, "1")
    };
    let also =
        |name: &'static str, value: &'static str| message(&[&carriers[..], &[(name, value)]].concat(), "1");
    let encoded = |value: &'static str| {
        let mut message = also("ce-subject", value);
        message.route = Some(Route { project: PROJECT.as_u128(), kind: "broadcast", inbound: None });
        message
    };
    let rows = [
        (message(&[("content-type", "application/cloudevents-batch+json")], "[]"), "content-type", "batch"),
        (
            message(&[("content-type", "Application/CloudEvents-Batch")], "[]"),
            "content-type",
            "each event by itself",
        ),
        (
            message(&[("content-type", "application/cloudevents+avro")], "x"),
            "content-type",
            "`application/cloudevents+avro`",
        ),
        (
            message(&[("content-type", "application/cloudevents+protobuf;a=b")], "x"),
            "content-type",
            "+protobuf",
        ),
        (structured("s3cret"), "", "not JSON"),
        (structured(""), "", "not JSON"),
        (structured("[\"s3cret\"]"), "", "JSON object"),
        (structured("{}"), "specversion", "is required"),
        (structured(r#"{"specversion":1.0,"id":"1","source":"/s","type":"t"}"#), "specversion", "a text"),
        (structured(r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#), "specversion", "`1.0`"),
        (structured(r#"{"specversion":"2.0","id":"1","source":"/s","type":"t"}"#), "specversion", "`1.0`"),
        (structured(r#"{"specversion":"1.0","source":"/s","type":"t"}"#), "id", "is required"),
        (structured(r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#), "id", "not empty"),
        (structured(r#"{"specversion":"1.0","id":7,"source":"/s","type":"t"}"#), "id", "a text"),
        (structured(r#"{"specversion":"1.0","id":"1","type":"t"}"#), "source", "is required"),
        (structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":null}"#), "type", "is required"),
        (with(r#","time":"yesterday s3cret""#), "time", "RFC 3339"),
        (with(r#","time":1700000000"#), "time", "RFC 3339"),
        (with(r#","data_base64":"s3cret!""#), "data_base64", "base64"),
        (with(r#","data_base64":5"#), "data_base64", "base64"),
        (with(r#","data":1,"data_base64":"aGk=""#), "data_base64", "beside `data`"),
        (with(r#","data":1,"Data":2"#), "data", "twice"),
        (
            with(r#","datacontenttype":"application/json","data_base64":"s3cretaa""#),
            "data_base64",
            "not JSON",
        ),
        (with(r#","datacontenttype":"text/plain","data":{"a":"s3cret"}"#), "data", "a string"),
        (with(r#","datacontenttype":"text s3cret","data":"a""#), "datacontenttype", "media type"),
        (with(r#","subject":"a\u0000s3cret""#), "subject", "control characters"),
        (with(r#","subject":"a","Subject":"s3cret""#), "subject", "twice"),
        (with(r#","s3cret!":"\u0001""#), "", "an attribute"),
        (with(r#","subject":"\ud800""#), "subject", "Unicode"),
        (with(r#","kind":"s3cret""#), "kind", "expected single"),
        (with(r#","kind":"dynamic""#), "kind", "envelope"),
        (with(r#","kind":"single""#), "endpointid", "is required"),
        (with(r#","endpointid":"s3cret""#), "endpointid", "not found"),
        (with(r#","kind":"fanout""#), "ownerid", "is required"),
        (with(&format!(r#","ownerid":"{}""#, "o".repeat(513))), "ownerid", "512"),
        (structured(&JSON.replace("\"t\"", &format!("\"{}\"}}", "t".repeat(513)))), "type", "512"),
        (without("ce-id"), "id", "is required"),
        (without("ce-source"), "source", "is required"),
        (without("ce-type"), "type", "is required"),
        (also("ce_id", "s3cret"), "id", "twice"),
        (also("ce-time", "s3cret"), "time", "RFC 3339"),
        (also("ce-subject", "s3cret\n"), "subject", "control characters"),
        (also("content-type", "s3cret"), "datacontenttype", "media type"),
        (encoded("%ffs3cret"), "subject", "UTF-8"),
        (
            message(&[&carriers[..], &[("content-type", "application/json")]].concat(), "s3cret"),
            "data",
            "not JSON",
        ),
        (message(&[("ce-specversion", "0.2")], "{}"), "specversion", "`1.0`"),
    ];
    for (message, field, problem) in rows {
        let fault = event(&message, Mapping::default()).unwrap_err();
        let body = String::from_utf8_lossy(&message.body);
        assert_eq!(fault.field, field, "{body} {fault:?}");
        assert!(fault.problem.contains(problem), "{body} {fault:?}");
        assert!(!fault.problem.contains("s3cret") && !fault.field.contains("s3cret"), "{fault:?}");
    }
}

#[test]
fn the_contracts_envelope_is_never_taken_for_a_cloud_event() {
    let full = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;
    let envelope = format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1,{full}}}"#);
    let read = event(&message(&[], envelope), Mapping::default()).unwrap();
    assert_eq!((read.event_type.as_str(), read.attributes), ("a", None));

    let rows = [
        // Too little for a CloudEvent.
        (vec![], r#"{"specversion":"1.0","id":"1","source":"/s","data":1}"#.to_owned()),
        (vec![], r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","data":1}"#.to_owned()),
        (vec![], r#"{"specversion":1.0,"id":"1","source":"/s","type":"t","data":1}"#.to_owned()),
        // The content type says otherwise.
        (vec![("content-type", "application/vnd.a+json")], format!(r#"{{{full},"data":1}}"#)),
        (vec![("content-type", "text/plain")], format!(r#"{{{full},"data":1}}"#)),
    ];
    for (said, body) in rows {
        let fault = event(&message(&said, body.clone()), Mapping::default()).unwrap_err();
        assert_eq!(fault.field, "event_type", "{body}");
    }
    let off = mapping(json!({"cloudevents": "off"}));
    for said in
        [vec![], vec![("content-type", "application/cloudevents+json")], vec![("ce-specversion", "1.0")]]
    {
        let fault = event(&message(&said, format!(r#"{{{full},"data":1}}"#)), off.clone()).unwrap_err();
        assert_eq!(fault.field, "event_type");
    }
}

#[test]
fn whom_a_cloud_event_is_for_is_said_by_the_mapping_or_by_itself() {
    let tenant = mapping(json!({"owner": "ce:tenant"}));
    let by_data = mapping(json!({"owner": "body:account.id"}));
    let everybody = mapping(json!({"kind": "const:broadcast"}));
    let single = format!(r#","endpointid":"{ENDPOINT}","ownerid":"o""#);
    let fanout = |owner: &str| Ok(Target::Fanout(owner.to_owned()));
    let rows = [
        (with(""), Mapping::default(), Ok(Target::Broadcast)),
        (with(r#","ownerid":"o""#), Mapping::default(), fanout("o")),
        (with(&single), Mapping::default(), Ok(Target::Single(ENDPOINT))),
        (with(&format!(r#"{single},"kind":"fanout""#)), Mapping::default(), fanout("o")),
        (with(r#","tenant":"t""#), tenant.clone(), fanout("t")),
        (with(r#","tenant":7"#), tenant.clone(), fanout("7")),
        (with(r#","data":{"account":{"id":42}}"#), by_data.clone(), fanout("42")),
        (with(r#","data_base64":"eyJhY2NvdW50Ijp7ImlkIjo0Mn19""#), by_data, fanout("42")),
        // What the mapping asks for and is not there must not reach everybody.
        (with(r#","ownerid":"o""#), tenant, Err("owner")),
        (with(&single), everybody, Ok(Target::Broadcast)),
    ];
    for (message, mapping, expected) in rows {
        let target = event(&message, mapping).map(|event| event.target).map_err(|fault| fault.field);
        assert_eq!(target, expected.map_err(Into::into), "{:?}", message.body);
    }
}

#[test]
fn a_pair_of_source_and_id_is_a_key_of_its_own_whatever_its_length() {
    let key = |source: &str, id: &str| {
        let body = json!({"specversion": "1.0", "id": id, "source": source, "type": "t"}).to_string();
        event(&message(&[], body), Mapping::default()).unwrap().idempotency_key.unwrap()
    };
    let long = "x".repeat(600);

    assert_eq!(key("/s", "1"), r#"["/s","1"]"#);
    assert_ne!(key("a\",\"b", "c"), key("a", "b\",\"c"));
    assert_eq!(key(&long, "1").len(), "sha256:".len() + 64);
    assert_ne!(key(&long, "1"), key(&long, "2"));
    assert_ne!(key(&format!("{long}a"), "b"), key(&long, "ab"));
    let longest = "x".repeat(512 - r#"["/s",""]"#.len());
    assert_eq!(key("/s", &longest).len(), 512);
    assert!(key("/s", &format!("{longest}x")).starts_with("sha256:"));
}

#[test]
fn a_record_without_a_value_is_an_event_when_its_headers_say_so() {
    let mut message = message(
        &[("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "/s"), ("ce_type", "user.gone")],
        "",
    );
    message.tombstone = true;
    message.position = Position { key: Some("u-1".to_owned()), ..Position::default() };

    let event = event(&message, Mapping::default()).unwrap();

    assert_eq!((event.event_type.as_str(), &event.body[..]), ("user.gone", &b"null"[..]));
    assert_eq!(event.ordering_key.as_deref(), Some("u-1"));
}
