//! Whatever comes is an event or a fault.

use super::*;

fn spelled() -> impl Strategy<Value = String> {
    let prefix =
        prop::sample::select(vec!["ce-", "ce_", "cloudEvents_", "cloudEvents:", "CE-", "x-", "c", ""]);
    let name = prop::sample::select(vec![
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "data",
        "datacontenttype",
        "kind",
        "é",
        "Subject",
        "",
    ]);
    (prefix, name).prop_map(|(prefix, name)| format!("{prefix}{name}"))
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1.0".to_owned()),
        Just("2026-01-31T08:15:00Z".to_owned()),
        Just("application/cloudevents+json".to_owned()),
        Just("application/cloudevents".to_owned()),
        Just("application/json".to_owned()),
        "[%a-f0-9\"\\\\]{0,8}",
        ".{0,12}",
    ]
}

fn member() -> impl Strategy<Value = (String, Value)> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "specversion",
            "SpecVersion",
            "id",
            "source",
            "type",
            "time",
            "data",
            "data_base64",
            "datacontenttype",
            "kind",
            "event_type",
            "ownerid",
            "partitionkey",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    let value = prop_oneof![
        value().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!({"a": [1, {"b": null}]})),
    ];
    (name, value)
}

proptest! {
    #[test]
    fn any_headers_and_body_make_an_event_or_a_fault(
        said in prop::collection::vec((prop_oneof![spelled(), Just("content-type".to_owned())], value()), 0..10),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            prop::collection::vec(member(), 0..10).prop_map(|members| {
                serde_json::to_vec(&members.into_iter().collect::<serde_json::Map<_, _>>()).unwrap()
            }),
        ],
        is_http in any::<bool>(),
        is_tombstone in any::<bool>(),
    ) {
        let mut message = message(&[], body);
        message.headers = said;
        message.tombstone = is_tombstone;
        message.route = is_http.then(|| Route { project: PROJECT.as_u128(), kind: "broadcast", inbound: None });
        if let Ok(event) = event(&message, Mapping::default())
            && let Some(attributes) = event.attributes
        {
            // What is stored is a JSON object with what makes the event unique.
            let attributes: Value = serde_json::from_str(&attributes).unwrap();
            prop_assert!(attributes["id"].is_string() && attributes["source"].is_string());
            prop_assert!(event.idempotency_key.unwrap().len() <= 512);
            if event.content_type.is_none() {
                prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&event.body).is_ok());
            }
        }
    }

    #[test]
    fn any_event_that_is_written_in_both_modes_is_read_the_same(
        id in "[!-~]{1,20}", source in "[!-~é]{1,20}", subject in "[ -~é]{1,20}", data in any::<i64>(),
    ) {
        let body = json!({
            "specversion": "1.0", "id": id, "source": source, "type": "t", "subject": subject, "data": {"n": data},
        });
        let structured = message(&[("content-type", "application/cloudevents+json")], body.to_string());
        let said = [("ce_specversion", "1.0"), ("ce_id", &id), ("ce_source", &source), ("ce_type", "t"), ("ce_subject", &subject)];
        let binary = message(&said, json!({"n": data}).to_string());

        let structured = event(&structured, Mapping::default()).unwrap();
        prop_assert_eq!(event(&binary, Mapping::default()).unwrap(), structured);
    }
}
