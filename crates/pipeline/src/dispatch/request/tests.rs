//! Requests as they are built, without a wire.

use std::sync::Arc;

use bytes::Bytes;
use longshore_core::endpoint::EndpointKey;
use longshore_core::event::{Headers, Target};
use longshore_core::signature::SigningKey;
use longshore_core::{DeliveryId, EndpointId, EventId, ProcessId, ProjectId, Secret, SourceId};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::*;

const AT: Timestamp = Timestamp::from_secs(1_700_000_000);
const PAYLOAD: &str = r#"{"event":"charge.success","amount":1000,"currency":"NGN"}"#;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn event(body: &str) -> Event {
    Event {
        id: EventId::from_u128(0x018b_cfe5_6800_0000_0000_0000_0000_0007),
        project: ProjectId::from_u128(1),
        source: Some(SourceId::from_u128(2)),
        target: Target::Broadcast,
        event_type: "charge.success".to_owned(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        headers: Headers::default(),
        idempotency_key: None,
        received_at: AT,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    }
}

fn with(event: Event, headers: &[(&str, &str)]) -> Event {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Event { headers, ..event }
}

fn endpoint() -> Endpoint {
    let key = SigningKey::parse("convoy-webhook-secret").unwrap();
    let url = "https://a.example/".parse().unwrap();
    let endpoint = Endpoint::new(EndpointId::from_u128(1), ProjectId::from_u128(1), url);
    Endpoint { keys: vec![EndpointKey { key, expires_at: None }], ..endpoint }
}

fn form() -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.settings.content_type = ContentType::Form;
    endpoint
}

fn cloudevents(mode: CloudEventsMode) -> Endpoint {
    let mut endpoint = endpoint();
    endpoint.settings.cloudevents = Some(mode);
    endpoint
}

fn delivery(event: &Event, endpoint: &Endpoint, attempts: u16) -> ClaimedDelivery {
    ClaimedDelivery {
        id: DeliveryId::from_u128(1),
        event: Arc::new(event.clone()),
        endpoint: endpoint.id,
        subscription: None,
        attempts,
        throttled: 0,
        scheduled: false,
        place: None,
        owner: ProcessId::from_u128(1),
    }
}

fn attempt(event: &Event, endpoint: &Endpoint, attempts: u16, seed: u64) -> SignedRequest {
    let trace = Trace::of(event, &mut SmallRng::seed_from_u64(seed));
    let terms = Terms { endpoint, settings: &ProjectSettings::default(), at: AT };
    build(&terms, &delivery(event, endpoint, attempts), &trace).unwrap()
}

fn request(event: &Event, endpoint: &Endpoint) -> SignedRequest {
    attempt(event, endpoint, 0, 1)
}

fn header<'r>(request: &'r SignedRequest, name: &str) -> Option<&'r str> {
    request.headers.get(name).map(|value| std::str::from_utf8(value.as_bytes()).unwrap())
}

#[test]
fn the_media_type_is_the_events_and_json_when_it_has_none_or_one_that_is_no_header() {
    let of = |named: Option<&str>| {
        let event = Event { content_type: named.map(str::to_owned), ..event("{}") };
        let event = with(event, &[("content-type", "forged/by-header")]);
        header(&request(&event, &endpoint()), "content-type").unwrap().to_owned()
    };
    assert_eq!(of(Some("application/vnd.a+json")), "application/vnd.a+json");
    assert_eq!(of(None), "application/json");
    assert_eq!(of(Some("text/plain\r\nX-Forged: 1")), "application/json");
}

#[test]
fn the_query_of_a_source_goes_on_behind_the_endpoints_own() {
    let of = |own: &str, query: Option<&str>| {
        let url = format!("https://a.example/hook{own}").parse().unwrap();
        let event = Event { url_query: query.map(str::to_owned), ..event("{}") };
        request(&event, &Endpoint { url, ..endpoint() }).url.to_string()
    };
    assert_eq!(of("", None), "https://a.example/hook");
    assert_eq!(of("?k=1", None), "https://a.example/hook?k=1");
    assert_eq!(of("", Some("topic=a.b&x=%20y")), "https://a.example/hook?topic=a.b&x=%20y");
    assert_eq!(of("?k=1&l", Some("k=2")), "https://a.example/hook?k=1&l&k=2");
    assert_eq!(of("?", Some("k=2")), "https://a.example/hook?k=2");
    // It stays a query, whatever is in it.
    assert_eq!(of("", Some("a#b@evil.example/?c d")), "https://a.example/hook?a%23b@evil.example/?c%20d");
}

#[test]
fn every_form_has_the_signatures_of_the_contracts_vectors() {
    let v1 = "t=1700000000,v1=77b8b9269f25a199846a55a2bd25b3fba151c70fdae60bb1dcd87fbbc943c55c";
    for endpoint in [endpoint(), form(), cloudevents(CloudEventsMode::Binary)] {
        let request = request(&event(PAYLOAD), &endpoint);

        assert_eq!(header(&request, "x-convoy-signature"), Some(v1));
    }
    let pretty = event("{ \"event\": \"charge.success\",\n \"amount\": 1000, \"currency\": \"NGN\" }");
    let request = request(&pretty, &form());
    assert_eq!(header(&request, "x-convoy-signature"), Some(v1), "a form signs compact JSON");
    assert_eq!(request.body, "event=charge.success&amount=1000&currency=NGN");
    assert_eq!(header(&request, "content-type"), Some("application/x-www-form-urlencoded"));
}

#[test]
fn a_request_says_which_attempt_it_is_and_what_happened() {
    let first = request(&event("1"), &endpoint());
    let tenth = attempt(&event("1"), &endpoint(), 9, 1);
    let odd = Event { event_type: "größe 100%\r\nx: y".to_owned(), ..event("1") };

    assert_eq!(header(&first, "webhook-attempt"), Some("1"));
    assert_eq!(header(&tenth, "webhook-attempt"), Some("10"));
    assert_eq!(header(&first, "webhook-event-type"), Some("charge.success"));
    assert_eq!(
        header(&request(&odd, &endpoint()), "webhook-event-type"),
        Some("gr%C3%B6%C3%9Fe%20100%25%0D%0Ax:%20y")
    );
}

#[test]
fn fixed_headers_override_nothing_of_ours_beat_the_events_and_are_not_on_record() {
    let mut endpoint = endpoint();
    endpoint.settings.user_agent = Some("Acme/1".to_owned());
    let fixed =
        ["content-type", "webhook-id", "webhook-attempt", "traceparent", "x-convoy-signature", "host", "x-a"];
    endpoint.credentials.headers =
        fixed.iter().map(|name| ((*name).to_owned(), Secret::new("s3cret".to_owned()))).collect();
    let event = with(
        event("1"),
        &[("X-A", "event"), ("x-b", "event"), ("user-agent", "event"), ("webhook-batch", "9")],
    );

    let request = request(&event, &endpoint);

    let theirs: Vec<_> = request.headers.iter().filter(|(_, value)| *value == "s3cret").collect();
    assert_eq!(theirs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-a"]);
    assert_eq!((header(&request, "x-b"), header(&request, "user-agent")), (Some("event"), Some("Acme/1")));
    assert_eq!((header(&request, "host"), header(&request, "webhook-batch")), (None, None));
    assert_eq!(on_record(&request.headers).get("x-a"), Some("[redacted]"));
}

#[test]
fn an_event_without_a_trace_gets_one_and_keeps_it_with_a_span_per_attempt() {
    let parts = |seed| {
        let request = attempt(&event("1"), &endpoint(), 0, seed);
        assert_eq!(header(&request, "tracestate"), None);
        header(&request, "traceparent").unwrap().split('-').map(str::to_owned).collect::<Vec<_>>()
    };
    let (first, second) = (parts(1), parts(2));

    assert_eq!(first[..2], ["00", "018bcfe5680000000000000000000007"]);
    assert_eq!((&first[1], &first[3]), (&second[1], &second[3]));
    assert_ne!(first[2], second[2]);
    assert_eq!(first[3], "00", "nothing was recorded");
}

#[test]
fn a_producers_trace_goes_on_by_header_or_attribute_and_an_invalid_one_does_not() {
    let attributes = Some(format!(r#"{{"id":"1","traceparent":"{PARENT}","tracestate":"b=2"}}"#));
    let by_header = with(event("1"), &[("Traceparent", PARENT), ("TraceState", "a=1")]);
    let by_attribute = Event { attributes, ..event("1") };
    let invalid = with(event("1"), &[("traceparent", "00-0-0-0"), ("tracestate", "a=1")]);

    for (event, state) in [(by_header, "a=1"), (by_attribute, "b=2")] {
        let request = request(&event, &endpoint());
        let parent = header(&request, "traceparent").unwrap();
        assert!(parent.starts_with(&PARENT[..36]) && parent.ends_with("-01"), "{parent}");
        assert_ne!(&parent[36..52], &PARENT[36..52], "a span of its own");
        assert_eq!(header(&request, "tracestate"), Some(state));
    }
    let request = request(&invalid, &endpoint());
    assert!(header(&request, "traceparent").unwrap().starts_with("00-018bcfe568"));
    assert_eq!(header(&request, "tracestate"), None);
}

#[test]
fn a_binary_cloudevent_has_its_attributes_in_the_head_and_its_data_as_the_body() {
    let event = Event {
        event_type: "größe".to_owned(),
        ordering_key: Some("a \"b\" 50%".to_owned()),
        content_type: Some("text/plain".to_owned()),
        ..event("data")
    };
    let event = with(
        event,
        &[("CE-Forged", "1"), ("ce-id", "forged"), ("traceparent", PARENT), ("tracestate", "a=1")],
    );

    let request = request(&event, &cloudevents(CloudEventsMode::Binary));

    assert_eq!(request.body, "data");
    assert_eq!(header(&request, "content-type"), Some("text/plain"));
    let attributes: Vec<_> =
        request.headers.keys().filter_map(|name| name.as_str().strip_prefix("ce-")).collect();
    let expected =
        ["specversion", "id", "source", "type", "time", "partitionkey", "traceparent", "tracestate"];
    assert_eq!(attributes, expected);
    assert_eq!(header(&request, "ce-id"), Some(event.id.to_string().as_str()));
    assert_eq!(
        header(&request, "ce-source"),
        Some("/projects/00000000000000000000000001/sources/00000000000000000000000002")
    );
    assert_eq!(header(&request, "ce-type"), Some("gr%C3%B6%C3%9Fe"));
    assert_eq!(header(&request, "ce-time"), Some("2023-11-14T22:13:20Z"));
    assert_eq!(header(&request, "ce-partitionkey"), Some("a%20%22b%22%2050%25"));
    assert_eq!(header(&request, "ce-traceparent"), Some(PARENT), "where it came from");
}

#[test]
fn an_event_that_was_a_cloudevent_keeps_what_it_said() {
    let attributes = json!({
        "id": "their-1", "source": "//their/source", "subject": "s p", "time": "2020-01-02T03:04:05.678901234+02:00",
        "datacontenttype": "application/json", "partitionkey": "theirs", "traceparent": PARENT, "count": 7, "flag": true,
        "ratio": 1.5, "list": [1, "a"], "empty": "", "no": null, "bad-name": "x", "Bad": "x", "data": "x", "": "x",
        "specversion": "0.3", "type": "x",
    });
    let event = Event {
        attributes: Some(attributes.to_string()),
        ordering_key: Some("ours".to_owned()),
        ..event("[1.0]")
    };

    let request = request(&event, &cloudevents(CloudEventsMode::Structured));

    let text = std::str::from_utf8(&request.body).unwrap();
    assert!(text.ends_with(r#","data":[1.0]}"#), "{text}");
    assert_eq!(header(&request, "content-type"), Some("application/cloudevents+json"));
    assert_eq!(
        serde_json::from_str::<Value>(text).unwrap(),
        json!({
            "specversion": "1.0", "id": "their-1", "source": "//their/source", "type": "charge.success", "subject": "s p",
            "time": "2020-01-02T03:04:05.678901234+02:00", "datacontenttype": "application/json",
            "partitionkey": "theirs", "traceparent": PARENT, "count": 7, "flag": true, "ratio": "1.5", "list": "[1,\"a\"]",
            "data": [1.0],
        })
    );
}

#[test]
fn data_that_is_no_json_is_in_base64_whatever_its_media_type_says() {
    for content_type in
        [Some("application/octet-stream"), None, Some("application/json"), Some("a/b+json; charset=utf-16")]
    {
        let body = r#"1},"id":"forged""#;
        let event = Event { content_type: content_type.map(str::to_owned), ..event(body) };

        let sent: Value =
            serde_json::from_slice(&request(&event, &cloudevents(CloudEventsMode::Structured)).body).unwrap();

        assert_eq!(sent["data_base64"], "MX0sImlkIjoiZm9yZ2VkIg==", "{content_type:?}");
        assert_eq!((sent.get("data"), &sent["id"]), (None, &json!(event.id.to_string())));
        assert_eq!(sent["datacontenttype"], content_type.unwrap_or("application/json"));
    }
}

/// What an attacker who is a producer can choose.
fn hostile() -> impl Strategy<Value = Event> {
    let text = || {
        prop_oneof![
            any::<String>(),
            Just("a\r\nx-forged: 1".to_owned()),
            Just("\"},{\"id\":\"forged\"".to_owned()),
            "[a-z0-9]{1,8}",
        ]
    };
    let headers = prop::collection::vec(
        (prop_oneof![text(), Just("ce-x".to_owned()), Just("Webhook-Id".to_owned())], text()),
        0..4,
    );
    let attributes = prop::collection::btree_map(text(), text(), 0..4);
    (text(), headers, attributes, prop::option::of(text()), prop::option::of(text()), text()).prop_map(
        |(event_type, headers, attributes, ordering_key, content_type, body)| Event {
            event_type,
            headers: headers.into_iter().collect(),
            attributes: Some(serde_json::to_string(&attributes).unwrap()),
            ordering_key,
            content_type,
            ..event(&body)
        },
    )
}

proptest! {
    #[test]
    fn no_event_can_break_out_of_its_item(events in prop::collection::vec(hostile(), 1..5)) {
        for mode in [None, Some(CloudEventsMode::Structured)] {
            let mut endpoint = endpoint();
            endpoint.settings.cloudevents = mode;
            let deliveries: Vec<_> = events.iter().map(|event| delivery(event, &endpoint, 0)).collect();
            let terms = Terms { endpoint: &endpoint, settings: &ProjectSettings::default(), at: AT };
            let (request, _) = build_batch(&terms, deliveries.iter(), &mut SmallRng::seed_from_u64(1));

            let items: Vec<serde_json::Map<String, Value>> = serde_json::from_slice(&request.body).unwrap();
            prop_assert_eq!(items.len(), events.len());
            for (item, event) in items.iter().zip(&events) {
                prop_assert_eq!(&item["type"], &event.event_type);
                prop_assert!(item.contains_key("data") != item.contains_key("data_base64"));
                if mode.is_none() {
                    let known = ["id", "type", "timestamp", "headers", "content_type", "data", "data_base64"];
                    prop_assert!(item.keys().all(|name| known.contains(&name.as_str())));
                    prop_assert_eq!(&item["id"], &event.id.to_string());
                }
            }
        }
    }

    #[test]
    fn no_event_can_break_out_of_a_header_or_a_member(event in hostile()) {
        for endpoint in [endpoint(), cloudevents(CloudEventsMode::Binary), cloudevents(CloudEventsMode::Structured)] {
            let request = request(&event, &endpoint);
            prop_assert!(!request.headers.contains_key("x-forged"));
            for (name, value) in &request.headers {
                prop_assert!(value.as_bytes().iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0)), "{name}");
                prop_assert_eq!(request.headers.get_all(name).iter().count(), 1);
            }
            let id = event.id.to_string();
            prop_assert_eq!(header(&request, "webhook-id"), Some(id.as_str()));
        }
        let structured = request(&event, &cloudevents(CloudEventsMode::Structured));
        let read: Value = serde_json::from_slice(&structured.body).unwrap();
        let members = read.as_object().unwrap();
        prop_assert_eq!(&members["type"], &event.event_type);
        let attributes: Value = serde_json::from_str(event.attributes.as_deref().unwrap()).unwrap();
        let known = ["specversion", "id", "source", "type", "time", "partitionkey", "traceparent", "datacontenttype", "data", "data_base64"];
        for name in members.keys() {
            prop_assert!(known.contains(&name.as_str()) || attributes.get(name).is_some(), "{name}");
        }
    }
}
