use longshore_core::event::Target;
use longshore_source::{Message, Position};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::testing::{ENDPOINT, PROJECT, event, mapping, message};

fn plain(body: &str) -> Message {
    message(&[("X-Type", "order.paid"), ("x-convoy-message-type", "")], body.to_owned())
}

#[test]
fn a_message_of_any_shape_becomes_the_event_that_its_mapping_says() {
    let mapping = mapping(json!({
        "event_type": ["header:x-none", "body:meta.type"],
        "owner": "body:meta.account",
        "idempotency_key": "body:meta.id",
        "ordering_key": "key",
        "occurred_at": "body:meta.at",
        "headers": {"x-region": "body:meta.region", "x-a": "const:mapped", "*": "body:meta.headers"},
        "data": "body:order",
    }));
    let body = r#"{"meta":{"type":"order.paid","account":42,"id":"i-1","at":1769847300250,"region":null,
        "headers":{"X-B":true,"X-a":"lost","x-c":null}}, "order": { "total": 12345678901234567890, "e": 1E400 } }"#;
    let mut sent = message(&[("X-A", "1"), ("content-type", "application/json"), ("x-d", "2")], body);
    sent.position.key = Some("k".to_owned());

    let event = event(&sent, mapping).unwrap();

    assert_eq!(event.event_type, "order.paid");
    assert_eq!(event.target, Target::Fanout("42".to_owned()));
    assert_eq!(event.idempotency_key.as_deref(), Some("i-1"));
    assert_eq!(event.ordering_key.as_deref(), Some("k"));
    assert_eq!(event.occurred_at.unwrap().to_string(), "2026-01-31T08:15:00.25Z");
    assert_eq!(&event.body[..], br#"{"total":12345678901234567890,"e":1E400}"#);
    assert_eq!((event.content_type, event.attributes), (None, None));
    let headers: Vec<_> = event.headers.iter().collect();
    assert_eq!(headers, [("x-d", "2"), ("X-B", "true"), ("x-a", "mapped")]);
}

#[test]
fn the_first_place_that_holds_something_counts() {
    let of = |places: Value, message: &Message| {
        event(message, mapping(json!({"event_type": places}))).map(|event| event.event_type)
    };
    let mut sent = plain(r#"{"a":"","b":null,"c":"body","n":1.50,"t":true,"o":{}}"#);
    sent.position = Position { address: "orders/order.made".to_owned(), ..Position::default() };
    let rows = [
        (json!("header:x-type"), "order.paid"),
        (json!("header:X-TYPE"), "order.paid"),
        (json!(["body:a", "body:b", "body:none", "key", "body:c"]), "body"),
        (json!(["header:x-convoy-message-type", "body:n"]), "1.50"),
        (json!("body:t"), "true"),
        (json!("routing_key"), "order.made"),
        (json!("address"), "orders/order.made"),
        (json!(["ce:type", "const:c"]), "c"),
    ];
    for (places, expected) in rows {
        assert_eq!(of(places.clone(), &sent).as_deref(), Ok(expected), "{places}");
    }
    let fault = of(json!(["body:o", "const:c"]), &sent).unwrap_err();
    assert!(fault.field == "event_type" && fault.problem.contains("`body:o`"), "{fault:?}");
    let fault = of(json!(["body:a", "body:a.b"]), &sent).unwrap_err();
    assert!(fault.field == "event_type" && fault.problem.contains("is required"), "{fault:?}");
}

#[test]
fn whom_a_mapped_event_is_for_never_widens() {
    let rows = [
        (json!({}), "{}", Ok(Target::Broadcast)),
        (json!({"owner": "body:o"}), r#"{"o":"a"}"#, Ok(Target::Fanout("a".to_owned()))),
        (json!({"owner": "body:o"}), "{}", Err("owner")),
        (json!({"endpoint": "body:e"}), "{}", Err("endpoint")),
        (json!({"endpoint": "body:e"}), r#"{"e":"nobody"}"#, Err("endpoint")),
        (
            json!({"endpoint": "body:e", "owner": "body:o"}),
            r#"{"o":"a"}"#,
            Ok(Target::Fanout("a".to_owned())),
        ),
        (json!({"endpoint": "body:e", "owner": "body:o"}), "{}", Err("owner")),
        (json!({"kind": "body:k"}), r#"{"k":"broadcast"}"#, Ok(Target::Broadcast)),
        (json!({"kind": "body:k"}), "{}", Err("kind")),
        (json!({"kind": "body:k"}), r#"{"k":"Fanout"}"#, Err("kind")),
        (json!({"kind": "const:dynamic"}), "{}", Err("kind")),
        (json!({"kind": ["body:k", "const:single"], "endpoint": "body:e"}), "{}", Err("endpoint")),
    ];
    for (more, body, expected) in rows {
        let mut text = json!({"event_type": "const:a"});
        text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let target = event(&message(&[], body), mapping(text.clone())).map(|event| event.target);
        assert_eq!(target.map_err(|fault| fault.field), expected.map_err(Into::into), "{text} {body}");
    }
    let by_header = |kind| {
        let sent = message(&[("X-Convoy-Message-Type", kind)], "{}");
        event(&sent, mapping(json!({"event_type": "const:a"}))).map(|event| event.target)
    };
    assert_eq!(by_header("broadcast"), Ok(Target::Broadcast));
    assert_eq!(by_header("fanout").unwrap_err().field, "owner");
    assert_eq!(by_header("other").unwrap_err().field, "x-convoy-message-type");
    let single = format!(r#"{{"e":"{ENDPOINT}"}}"#);
    let single =
        event(&message(&[], single), mapping(json!({"event_type": "const:a", "endpoint": "body:e"})));
    assert_eq!(single.unwrap().target, Target::Single(ENDPOINT));
}

#[test]
fn the_payload_is_the_body_a_part_of_it_or_bytes_of_any_kind() {
    let of = |data: Value, sent: &Message| {
        let text = match data {
            Value::Null => json!({"event_type": "const:a"}),
            data => json!({"event_type": "const:a", "data": data}),
        };
        event(sent, mapping(text)).map(|event| (event.body, event.content_type))
    };
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let sent = message(&[("Content-Type", "application/xml")], " {\"a\" : {\"b\" : [1, 2]}} ");

    assert_eq!(of(Value::Null, &sent), Ok((text(r#"{"a":{"b":[1,2]}}"#), None)));
    assert_eq!(of(json!("body"), &sent), of(Value::Null, &sent));
    assert_eq!(of(json!("body:a.b"), &sent), Ok((text("[1,2]"), None)));
    assert_eq!(of(json!("body:a.b.1"), &sent), Ok((text("2"), None)));
    assert_eq!(of(json!(["body:c", "body"]), &sent), of(Value::Null, &sent));
    assert_eq!(of(json!("body:c"), &sent).unwrap_err().field, "data");
    assert_eq!(of(json!("body"), &message(&[], "null")).unwrap_err().field, "data");
    let raw = Ok((sent.body.clone(), Some("application/xml".to_owned())));
    assert_eq!(of(json!("raw"), &sent), raw);
    let octets = Ok((text("\0"), Some("application/octet-stream".to_owned())));
    assert_eq!(of(json!("raw"), &message(&[], "\0")), octets);
    let fault = of(Value::Null, &message(&[], "s3cret")).unwrap_err();
    assert_eq!(fault.reason, Reason::Undecodable);
    assert!(fault.problem.contains("`data = \"raw\"`") && !fault.problem.contains("s3cret"), "{fault:?}");
}

#[test]
fn bytes_that_are_no_json_can_still_be_mapped_by_headers() {
    let mapping = mapping(
        json!({"event_type": ["body:type", "header:x-type"], "data": "raw", "headers": {"*": "body:h"}}),
    );

    let event =
        event(&message(&[("x-type", "a"), ("content-type", "application/avro")], "\u{1}"), mapping).unwrap();

    assert_eq!((event.event_type.as_str(), event.content_type.as_deref()), ("a", Some("application/avro")));
    assert!(event.headers.get("content-type").is_none());
}

#[test]
fn what_is_required_is_refused_by_name_when_it_is_missing() {
    let entries = ["kind", "endpoint", "owner", "idempotency_key", "ordering_key", "occurred_at"];
    for entry in entries {
        let text = json!({"event_type": "const:a", "kind": ["body:kind", "const:broadcast"], entry: "body:x", "required": [entry]});
        let fault = event(&message(&[], "{}"), mapping(text)).unwrap_err();
        assert!(fault.field == entry && fault.problem.contains("is required"), "{entry} {fault:?}");
    }
    for headers in [json!({"x-a": "body:a"}), json!({"*": "body:a"})] {
        let text = json!({"event_type": "const:a", "headers": headers, "required": ["headers"]});
        let fault = event(&message(&[], "{}"), mapping(text)).unwrap_err();
        assert!(fault.field.starts_with("headers."), "{fault:?}");
    }
}

#[test]
fn texts_that_cannot_be_stored_are_refused_by_name() {
    let long = "x".repeat(513);
    for entry in ["event_type", "owner", "endpoint", "idempotency_key"] {
        for value in [long.as_str(), "a\u{0}"] {
            let mut text = json!({"event_type": "const:a"});
            text[entry] = "body:x".into();
            let fault = event(&message(&[], json!({"x": value}).to_string()), mapping(text)).unwrap_err();
            assert_eq!(fault.field, entry, "{fault:?}");
        }
    }
    let headers = mapping(json!({"event_type": "const:a", "headers": {"x-a": "body:x"}}));
    assert_eq!(event(&message(&[], r#"{"x":"a\nb"}"#), headers).unwrap_err().field, "headers");
    let object = mapping(json!({"event_type": "const:a", "headers": {"*": "body:x"}}));
    assert_eq!(event(&message(&[], r#"{"x":[]}"#), object.clone()).unwrap_err().field, "headers.*");
    assert_eq!(event(&message(&[], r#"{"x":{"a":{}}}"#), object).unwrap_err().field, "headers.*");
    let time = mapping(json!({"event_type": "const:a", "occurred_at": "body:x"}));
    for value in [json!("now"), json!(1.5), json!(i64::MAX)] {
        let fault = event(&message(&[], json!({"x": value}).to_string()), time.clone()).unwrap_err();
        assert_eq!(fault.field, "occurred_at", "{value}");
    }
}

#[test]
fn the_brokers_key_is_the_ordering_key_unless_the_message_has_another() {
    let of = |key: &str, text: Value, body: &str| {
        let mut sent = message(&[], body.to_owned());
        sent.position.key = Some(key.to_owned());
        event(&sent, mapping(text)).unwrap().ordering_key.unwrap()
    };
    let envelope = format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1}}"#);
    let cloud = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":"p"}"#;

    assert_eq!(of("k", json!({}), &envelope), "k");
    assert_eq!(of("k", json!({"event_type": "const:a"}), "{}"), "k");
    assert_eq!(of("k", json!({"event_type": "const:a", "ordering_key": "body:o"}), "{}"), "k");
    assert_eq!(of("k", json!({"event_type": "const:a", "ordering_key": "body:o"}), r#"{"o":5}"#), "5");
    assert_eq!(of("k", json!({}), cloud), "p");
    assert_eq!(of("k", json!({"ordering_key": "ce:source"}), cloud), "/s");
    // Any key of a broker is one, however long; equal keys stay equal.
    let long = of(&"k".repeat(513), json!({}), &envelope);
    assert!(long.starts_with("sha256:") && long == of(&"k".repeat(513), json!({}), &envelope));
    assert!(of("\u{0}", json!({}), &envelope).starts_with("sha256:"));
}

#[test]
fn a_tombstone_is_refused_or_becomes_the_event_that_the_mapping_names() {
    let mut sent = message(&[("x-op", "d")], "");
    sent.tombstone = true;
    sent.position.key = Some("o-1".to_owned());
    let of = |text: Value| event(&sent, mapping(text));

    for text in [json!({}), json!({"event_type": "const:a"}), json!({"tombstone_event_type": "order.gone"})] {
        let fault = of(text).unwrap_err();
        assert_eq!(fault.reason, Reason::Undecodable);
        assert!(fault.problem.contains("`tombstone_event_type`"), "{fault:?}");
    }
    let gone = of(json!({"tombstones": "event", "tombstone_event_type": "order.gone"})).unwrap();
    assert_eq!((gone.event_type.as_str(), &gone.body[..]), ("order.gone", &b"null"[..]));
    assert_eq!((gone.target, gone.ordering_key.as_deref()), (Target::Broadcast, Some("o-1")));
    let mapped = of(json!({
        "event_type": "body:type", "owner": "key", "headers": {"x-key": "key"},
        "tombstones": "event", "tombstone_event_type": "order.gone",
    }));
    let mapped = mapped.unwrap();
    assert_eq!((mapped.target, mapped.headers.get("x-key")), (Target::Fanout("o-1".to_owned()), Some("o-1")));
    let fault = of(json!({
        "event_type": "body:type", "owner": "body:owner", "tombstones": "event", "tombstone_event_type": "order.gone",
    }));
    assert_eq!(fault.unwrap_err().field, "owner");
    // An empty body is not the same.
    assert_eq!(
        event(&message(&[], ""), mapping(json!({"tombstones": "event", "tombstone_event_type": "g"})))
            .unwrap_err()
            .field,
        ""
    );
}

#[test]
fn strict_is_about_the_contracts_envelope_alone() {
    let strict = || mapping(json!({"strict": true}));
    let extra = format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1,"extra":1}}"#);
    assert!(event(&message(&[], extra.clone()), Mapping::default()).is_ok());
    let fault = event(&message(&[], extra), strict()).unwrap_err();
    assert!(fault.problem.contains("`extra`") && fault.reason == Reason::Undecodable, "{fault:?}");
    let cloud = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","extra":"1"}"#;
    assert!(event(&message(&[], cloud), strict()).is_ok());
}

#[test]
fn size_is_judged_before_the_body_is_looked_at() {
    let large = "x".repeat(10_001);
    for (said, text) in [
        (vec![], json!({})),
        (vec![], json!({"event_type": "const:a", "data": "raw"})),
        (vec![("content-type", "application/cloudevents+json")], json!({})),
        (vec![("content-type", "application/cloudevents-batch")], json!({})),
    ] {
        assert_eq!(
            event(&message(&said, large.clone()), mapping(text)).unwrap_err().reason,
            Reason::TooLarge
        );
    }
}

#[test]
fn the_endpoint_is_told_the_label_where_the_broker_has_one() {
    let of = |label: Option<&str>, name: Option<&str>| {
        let mut sent = message(&[], format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1}}"#));
        sent.position.label = label.map(str::to_owned);
        sent.position.message_id = name.map(str::to_owned);
        event(&sent, Mapping::default()).unwrap().headers.get(BROKER_ID_HEADER).map(str::to_owned)
    };
    assert_eq!(of(Some("key"), Some("topic/0/7")).as_deref(), Some("key"));
    assert_eq!(of(None, Some("m-1")).as_deref(), Some("m-1"));
    assert_eq!(of(None, None), None);
}

/// Over HTTP a header may say what the body does not; a broker's name of a message is something else.
#[test]
fn a_producers_key_counts_where_the_body_has_none() {
    let of = |has_route: bool, body: &str| {
        let mut sent = message(&[], body.to_owned());
        sent.position.message_id = Some("from-header".to_owned());
        sent.route = has_route.then(|| longshore_source::Route {
            project: PROJECT.as_u128(),
            kind: "single",
            inbound: None,
        });
        event(&sent, Mapping::default()).unwrap().idempotency_key
    };
    let without = format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1}}"#);
    let with =
        format!(r#"{{"event_type":"a","endpoint_id":"{ENDPOINT}","data":1,"idempotency_key":"from-body"}}"#);

    assert_eq!(of(true, &without).as_deref(), Some("from-header"));
    assert_eq!(of(true, &with).as_deref(), Some("from-body"));
    assert_eq!(of(false, &without), None);
}

fn place() -> impl Strategy<Value = String> {
    prop_oneof![
        "body:[a-c]{1}(\\.[a-c0-2]{1}){0,3}",
        "header:[a-c]{1}",
        "ce:(id|type|a)",
        "const:.{1,4}",
        Just("key".to_owned()),
        Just("address".to_owned()),
        Just("routing_key".to_owned()),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-c](\\.[a-c])?", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_mapping_of_any_message_makes_an_event_or_a_fault(
        places in prop::collection::vec(prop::collection::vec(place(), 1..3), 9),
        used in prop::collection::vec(any::<bool>(), 9),
        data in prop::sample::select(vec!["body", "raw", "body:a", "body:a.b"]),
        is_required in any::<bool>(),
        body in prop_oneof![
            document().prop_map(|value| value.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..32),
        ],
        said in prop::collection::vec(("[a-c]|ce-id|content-type", ".{0,6}"), 0..4),
        key in prop::option::of(".{0,4}"),
        is_tombstone in any::<bool>(),
    ) {
        let entries = ["kind", "endpoint", "owner", "idempotency_key", "ordering_key", "occurred_at"];
        let mut text = json!({
            "event_type": places[0], "data": data, "tombstones": "event", "tombstone_event_type": "gone",
        });
        for (at, entry) in entries.into_iter().enumerate() {
            if used[at] {
                text[entry] = json!(places[at + 1]);
                if is_required {
                    text["required"] = json!([entry]);
                }
            }
        }
        if used[6] {
            text["headers"] = json!({"x-a": places[7], "*": "body:a"});
        }
        let mapping = mapping(text);
        let mut sent = message(&[], body.clone());
        sent.headers = said;
        sent.position = Position { key, address: "a/b".to_owned(), ..Position::default() };
        sent.tombstone = is_tombstone;

        if let Ok(event) = event(&sent, mapping) {
            prop_assert!(!event.event_type.is_empty() && event.event_type.len() <= 512);
            prop_assert!(event.ordering_key.is_none_or(|key| key.len() <= 512 && !key.chars().any(char::is_control)));
            if event.content_type.is_none() {
                prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&event.body).is_ok());
            } else {
                prop_assert_eq!(&event.body[..], &body[..]);
            }
        }
    }
}
