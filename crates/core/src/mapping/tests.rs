use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(value: Value) -> Result<Mapping, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn mapping(value: Value) -> Mapping {
    read(value).unwrap()
}

#[test]
fn nothing_written_is_the_contracts_envelope() {
    let read = mapping(json!({}));

    assert_eq!(read, Mapping::default());
    assert!(read.is_contract() && !read.says_target() && !read.strict);
    assert_eq!((read.cloudevents, read.tombstones), (CloudEvents::Auto, Tombstones::Quarantine));
    assert_eq!(serde_json::to_value(read).unwrap(), json!({}));
}

#[test]
fn every_field_is_read_and_written_back() {
    let text = json!({
        "kind": "const:fanout",
        "event_type": ["header:x-type", "body:meta.type", "ce:type", "routing_key", "const:order.updated"],
        "endpoint": "body:endpoint",
        "owner": ["ce:ownerid", "address", "key"],
        "idempotency_key": "body:id",
        "ordering_key": "key",
        "occurred_at": "body:ts",
        "headers": { "x-tenant": "body:tenant", "*": ["body:meta.headers", "body:headers"] },
        "data": ["body:payload", "body"],
        "required": ["idempotency_key", "headers"],
        "cloudevents": "off",
        "tombstones": "event",
        "tombstone_event_type": "order.deleted",
    });
    let read = mapping(text.clone());

    assert_eq!(read.event_type[0], Place::Header("x-type".to_owned()));
    assert_eq!(read.data, Some(Data::Json(vec!["payload".parse().unwrap(), BodyPath::whole()])));
    assert!(read.requires(Entry::Headers) && !read.requires(Entry::Owner));
    assert!(!read.is_contract() && read.says_target());
    assert_eq!(serde_json::to_value(&read).unwrap(), text);
    assert_eq!(mapping(json!({"data": "raw", "event_type": "key"})).data, Some(Data::Raw));
}

#[test]
fn a_path_may_be_written_as_json_path_does_and_names_compare_without_case() {
    let read = mapping(json!({"event_type": ["body:$.meta.type", "header:X-Type", "ce:Subject"]}));

    let written = serde_json::to_value(read).unwrap();
    assert_eq!(written, json!({"event_type": ["body:meta.type", "header:x-type", "ce:subject"]}));
}

#[test]
fn an_error_names_its_field_and_says_what_to_write() {
    let cases = [
        (json!({"event_typ": "key"}), "`event_typ`", "`event_type`"),
        (json!({"event_type": 5}), "`event_type`", "body:meta.type"),
        (json!({"event_type": []}), "`event_type`", "leave it out"),
        (json!({"event_type": ["key", 5]}), "`event_type`", "body:meta.type"),
        (json!({"event_type": "x-type"}), "`event_type`", "`header:x-type`"),
        (json!({"event_type": "heder:x-type"}), "`event_type`", "`header:x-type`"),
        (json!({"event_type": "body"}), "`event_type`", "`body:meta.type`"),
        (json!({"event_type": "body:"}), "`event_type`", "`body:meta.type`"),
        (json!({"event_type": "body:$"}), "`event_type`", "`body:lines.0.sku`"),
        (json!({"event_type": "body:a..b"}), "`event_type`", "single dots"),
        (json!({"event_type": "body:a[0]"}), "`event_type`", "`body:lines.0.sku`"),
        (json!({"event_type": format!("body:{}", ["a"; 17].join("."))}), "`event_type`", "16"),
        (json!({"owner": "header: x"}), "`owner`", "`header:x-type`"),
        (json!({"owner": "ce:owner-id"}), "`owner`", "letters and digits"),
        (json!({"owner": "const:"}), "`owner`", "after `const:`"),
        (json!({"headers": ["x"]}), "`headers`", "x-tenant"),
        (json!({"headers": {"x y": "key"}}), "`headers.x y`", "letters, digits"),
        (json!({"headers": {"x": 1}}), "`headers.x`", "body:meta.type"),
        (json!({"headers": {"*": "key"}}), "`headers.*`", "an object in the body"),
        (json!({"headers": {"x": "key", "X": "key"}}), "is there twice", "without case"),
        (json!({"data": "header:x"}), "`data`", "\"raw\""),
        (json!({"data": ["body:a", "raw"]}), "`data`", "alone"),
        (json!({"required": ["owner"]}), "`owner`", "header:x-owner"),
        (json!({"required": ["data"]}), "`required`", "`ordering_key`"),
        (json!({"required": "owner"}), "`required`", "list"),
        (json!({"strict": "yes"}), "`strict`", "true or false"),
        (json!({"strict": true, "event_type": "key"}), "`strict`", "leave it out"),
        (json!({"cloudevents": "on"}), "`cloudevents`", "\"auto\" or \"off\""),
        (json!({"cloudevents": "off", "owner": "key"}), "`event_type`", "header:x-type"),
        (json!({"tombstones": "drop"}), "`tombstones`", "\"quarantine\" or \"event\""),
        (json!({"tombstones": "event"}), "`tombstone_event_type`", "order.deleted"),
        (json!({"tombstone_event_type": ""}), "`tombstone_event_type`", "512"),
    ];
    for (text, field, advice) in cases {
        let error = read(text.clone()).unwrap_err();
        assert!(error.contains(field) && error.contains(advice), "{text}: {error}");
    }
}

#[test]
fn a_path_finds_what_a_filter_would() {
    let body = br#" {"a":{"b":[{"c":1},{"c" : "two"}]},"x.y":{"z":3},"x":{"y":{"w":4}},"n":null,"d":1,"d":2,
        "\u0065":5,"0":6} "#;
    let document = Document::parse(body).unwrap();
    let cases = [
        ("a.b.0.c", Some("1")),
        ("a.b.1.c", Some("\"two\"")),
        ("a.b.01.c", None),
        ("a.b.2.c", None),
        ("a.b.c", None),
        ("a.b.0.c.d", None),
        ("x.y.z", Some("3")),
        ("x.y.w", Some("4")),
        ("n", None),
        ("d", Some("2")),
        ("e", Some("5")),
        ("0", Some("6")),
        ("A", None),
    ];
    for (path, expected) in cases {
        assert_eq!(document.at(&path.parse().unwrap()).map(|value| value.get()), expected, "{path}");
    }
    assert!(document.at(&BodyPath::whole()).unwrap().get().starts_with('{'));
    assert_eq!(Document::parse(b"[1,[2]]").unwrap().at(&"1.0".parse().unwrap()).unwrap().get(), "2");
    assert!(Document::parse(b"null").unwrap().at(&BodyPath::whole()).is_none());
    assert!(Document::parse(b"{\"a\":1").is_err() && Document::parse(b"\xff").is_err());
}

fn place() -> impl Strategy<Value = String> {
    prop_oneof![
        "body:[a-z]{1,3}(\\.[a-z0-9]{1,2}){0,3}",
        "header:[a-zA-Z-]{1,8}",
        "ce:[a-z0-9]{1,8}",
        "const:.{1,8}",
        Just("key".to_owned()),
        Just("address".to_owned()),
        Just("routing_key".to_owned()),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        event_type in prop::collection::vec(place(), 1..4),
        owner in prop::collection::vec(place(), 1..3),
        tenant in prop::collection::vec(place(), 1..3),
        is_off in any::<bool>(),
    ) {
        let cloudevents = if is_off { "off" } else { "auto" };
        let read = mapping(json!({
            "event_type": event_type, "owner": owner, "headers": {"x-tenant": tenant}, "cloudevents": cloudevents,
        }));

        let written = serde_json::to_value(&read).unwrap();
        prop_assert_eq!(mapping(written), read);
    }

    #[test]
    fn any_text_as_a_place_is_read_or_refused(text in ".{0,24}") {
        let _ = text.parse::<Place>();
        let _ = text.parse::<BodyPath>();
        let _ = read(json!({"event_type": &text, "data": &text}));
    }
}
