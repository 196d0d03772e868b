//! The forms of requests, from a broker to a real receiver, read and verified by other people's code.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use cloudevents::binding::http::to_event;
use cloudevents::{AttributesReader, Data, Event};
use longshore_core::endpoint::{CloudEventsMode, ContentType, Endpoint};
use longshore_core::{AttemptOutcome, Clock, DeliveryState, RetrySchedule, Secret, Snapshot, SystemClock};
use longshore_pipeline::dispatch::HttpTransport;
use longshore_pipeline::ingest::Origin;
use longshore_source::Status;
use longshore_source::memory::{MemorySource, Publication};
use longshore_testkit::clock::TokioClock;
use longshore_testkit::memory::{MemoryDatabase, StoredDelivery};
use longshore_testkit::receiver::{Receiver, Reply, Request};
use url::form_urlencoded;

use super::bed::{A, Bed, PROJECT, Process, SECRET, SOURCE, endpoint, project};
use super::http::{SOON, settings};

const MOMENT: Duration = Duration::from_millis(100);
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A gateway in real time that sends to a receiver.
pub(crate) struct Wire {
    pub(crate) bed: Bed,
    pub(crate) receiver: Receiver,
    target: Endpoint,
    _process: Process,
}

fn configure(bed: &Bed, target: Endpoint) {
    let retries = RetrySchedule::list(vec![MOMENT; 50]).unwrap();
    bed.config.send_replace(Arc::new(Snapshot::new(vec![project(retries)], vec![target], Vec::new())));
}

impl Wire {
    /// With one endpoint at `/hook`, changed as the test wants it. A failed attempt is repeated after a moment.
    pub(crate) async fn start(change: impl FnOnce(&mut Endpoint)) -> Self {
        let receiver = Receiver::start().await;
        let clock = TokioClock::starting_at(SystemClock.now());
        let mut bed = Bed::new();
        bed.clock = clock;
        bed.database = MemoryDatabase::new(clock);
        let mut target = Endpoint { url: receiver.url("/hook").parse().unwrap(), ..endpoint(A) };
        change(&mut target);
        configure(&bed, target.clone());
        let broker = bed.broker.clone();
        let connect = move || MemorySource::connect(&broker, NonZeroUsize::new(1_000).unwrap());
        let origin = Origin {
            source: Some((SOURCE, PROJECT)),
            kind: "memory",
            status: Status::new("memory", "bed"),
            mapping: longshore_pipeline::ingest::fixed(longshore_core::Mapping::default()),
        };
        let process = bed.start_with(connect, origin, HttpTransport::new(&settings()).unwrap(), clock);
        Self { bed, receiver, target, _process: process }
    }

    /// Publishes data of an event for the endpoint, in the contract's envelope.
    pub(crate) fn publish(&self, n: u64, data: &str, headers: &str) {
        let envelope = format!(
            r#"{{"event_type":"invoice.paid","endpoint_id":"{A}","data":{data},"custom_headers":{{{headers}}}}}"#
        );
        self.bed
            .broker
            .publish(Publication { message_id: Some(format!("m-{n}")), ..Publication::from(envelope) });
    }

    /// The deliveries, once so many are in that state.
    pub(crate) async fn until(&self, state: DeliveryState, count: usize) -> Vec<StoredDelivery> {
        let database = &self.bed.database;
        let arrived = database.wait_until(|database| database.count_in(state) >= count);
        tokio::time::timeout(SOON, arrived).await.unwrap();
        database.deliveries()
    }
}

/// What a receiver checks first.
pub(crate) fn verify(request: &Request) {
    request.verify_standard(SECRET).unwrap();
    request.verify_contract(SECRET.as_bytes()).unwrap();
}

fn of_request(request: &Request) -> Event {
    to_event(request.headers(), request.body.to_vec()).unwrap()
}

#[tokio::test]
async fn retries_are_counted_and_stay_in_one_trace() {
    let wire = Wire::start(|_| {}).await;
    wire.receiver.script("/hook", [Reply::status(500), Reply::status(500), Reply::default()]);

    wire.publish(1, "1", "");
    let delivery = wire.until(DeliveryState::Success, 1).await.remove(0);

    let requests = wire.receiver.requests();
    let of =
        |name| requests.iter().map(|request| request.header(name).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(of("webhook-attempt"), ["1", "2", "3"]);
    assert_eq!(of("webhook-event-type"), ["invoice.paid"; 3]);
    let parents = of("traceparent");
    let trace = format!("00-{:032x}-", delivery.event.as_u128());
    assert!(parents.iter().all(|parent| parent.starts_with(&trace) && parent.len() == 55), "{parents:?}");
    assert!(parents[0] != parents[1] && parents[1] != parents[2], "a span for each");
    for (request, attempt) in requests.iter().zip(&delivery.history) {
        verify(request);
        for name in ["webhook-attempt", "traceparent", "webhook-event-type"] {
            assert_eq!(attempt.request_headers.get(name), request.header(name));
        }
    }
}

#[tokio::test]
async fn a_form_is_read_and_verified_by_both_contracts() {
    let wire = Wire::start(|endpoint| {
        endpoint.settings.content_type = ContentType::Form;
        endpoint.settings.user_agent = Some("Acme Hooks/2".to_owned());
        endpoint.credentials.headers = [("x-token".to_owned(), Secret::new("s3cret".to_owned()))].into();
    })
    .await;
    let json = r#"{"a b":"c&d=é","n":12345678901234567890.00,"list":[1,{"x":null}],"no":null}"#;

    wire.publish(1, json, r#""x-token":"event""#);
    let delivery = wire.until(DeliveryState::Success, 1).await.remove(0);

    let request = wire.receiver.requests().remove(0);
    request.verify_standard(SECRET).unwrap();
    request.verify_contract_of(json.as_bytes(), SECRET.as_bytes()).unwrap();
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        (request.header("x-token"), request.header("user-agent")),
        (Some("s3cret"), Some("Acme Hooks/2"))
    );
    let fields: Vec<(String, String)> = form_urlencoded::parse(&request.body).into_owned().collect();
    let expected =
        [("a b", "c&d=é"), ("n", "12345678901234567890.00"), ("list", r#"[1,{"x":null}]"#), ("no", "")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!format!("{:?}", delivery.history).contains("s3cret"));
}

#[tokio::test]
async fn what_has_no_form_is_on_record_and_goes_out_once_the_endpoint_takes_json() {
    let wire = Wire::start(|endpoint| endpoint.settings.content_type = ContentType::Form).await;
    wire.publish(1, "[1]", "");

    let failed = wire.until(DeliveryState::Retry, 1).await.remove(0);
    let attempt = &failed.history[0];
    assert_eq!((attempt.outcome, wire.receiver.count()), (AttemptOutcome::Unsendable, 0));
    assert!(
        attempt.error.contains("JSON object") && attempt.error.contains("content_type"),
        "{}",
        attempt.error
    );

    let mut changed = wire.target.clone();
    changed.settings.content_type = ContentType::Json;
    configure(&wire.bed, changed);
    wire.until(DeliveryState::Success, 1).await;
    assert_eq!(wire.receiver.requests()[0].body, "[1]");
}

#[tokio::test]
async fn a_binary_cloudevent_is_read_by_the_official_parser() {
    let wire = Wire::start(|endpoint| endpoint.settings.cloudevents = Some(CloudEventsMode::Binary)).await;

    wire.publish(1, r#"{ "a": 1.0 }"#, &format!(r#""traceparent":"{PARENT}","ce-id":"forged","x-a":"1""#));
    let delivery = wire.until(DeliveryState::Success, 1).await.remove(0);

    let request = wire.receiver.requests().remove(0);
    verify(&request);
    let event = of_request(&request);
    assert_eq!((event.id(), event.ty()), (delivery.event.to_string().as_str(), "invoice.paid"));
    assert_eq!(event.source(), &format!("/projects/{PROJECT}/sources/{SOURCE}"));
    assert_eq!(event.datacontenttype(), Some("application/json"));
    assert!(event.time().is_some());
    assert_eq!(event.extension("traceparent").unwrap().to_string(), PARENT);
    assert_eq!((request.body.as_ref(), request.header("x-a")), (br#"{"a":1.0}"#.as_slice(), Some("1")));
}

#[tokio::test]
async fn a_cloudevent_that_came_in_goes_out_structured_as_it_was_also_when_retried_from_the_store() {
    let wire =
        Wire::start(|endpoint| endpoint.settings.cloudevents = Some(CloudEventsMode::Structured)).await;
    wire.receiver.script("/hook", [Reply::status(503), Reply::default()]);
    let body = format!(
        r#"{{"specversion":"1.0","id":"their-1","source":"//their/source","type":"their.type","subject":"s",
            "time":"2020-01-02T03:04:05.678901234Z","endpointid":"{A}","kind":"single","partitionkey":"k","count":7,
            "data":{{"n":12345678901234567890}}}}"#
    );

    wire.bed.broker.publish(Publication {
        headers: [("content-type".to_owned(), "application/cloudevents+json".to_owned())]
            .into_iter()
            .collect(),
        ..Publication::from(body)
    });
    wire.until(DeliveryState::Success, 1).await;

    for request in wire.receiver.requests() {
        verify(&request);
        let event = of_request(&request);
        assert_eq!((event.id(), event.ty(), event.subject()), ("their-1", "their.type", Some("s")));
        assert_eq!(event.source(), "//their/source");
        assert_eq!(request.json()["time"], "2020-01-02T03:04:05.678901234Z");
        assert_eq!(event.extension("partitionkey").unwrap().to_string(), "k");
        assert_eq!(event.extension("count").unwrap().to_string(), "7");
        assert!(matches!(event.data(), Some(Data::Json(_))), "{:?}", event.data());
        assert!(request.body.ends_with(br#""data":{"n":12345678901234567890}}"#));
    }
}

#[tokio::test]
async fn data_that_is_no_json_goes_out_structured_in_base64() {
    let wire =
        Wire::start(|endpoint| endpoint.settings.cloudevents = Some(CloudEventsMode::Structured)).await;
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-endpointid", &A.to_string()),
        ("content-type", "application/octet-stream"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));

    wire.bed.broker.publish(Publication {
        headers: headers.into_iter().collect(),
        ..Publication::from(b"\xff\x00\r\n".as_slice())
    });
    wire.until(DeliveryState::Success, 1).await;

    let request = wire.receiver.requests().remove(0);
    verify(&request);
    let event = of_request(&request);
    assert_eq!(event.data(), Some(&Data::Binary(b"\xff\x00\r\n".to_vec())));
    assert_eq!(event.datacontenttype(), Some("application/octet-stream"));
}

#[tokio::test]
async fn line_ends_in_an_events_headers_never_reach_the_wire() {
    let wire = Wire::start(|endpoint| endpoint.settings.cloudevents = Some(CloudEventsMode::Binary)).await;

    wire.publish(
        1,
        "1",
        r#""x-a":"1\r\nx-forged: 1","x-b\r\nx-forged":"1","x-c":"\nx-forged: 1","x-d\u0000":"1","traceparent":"00\r\nx-forged: 1""#,
    );
    wire.until(DeliveryState::Success, 1).await;

    let request = wire.receiver.requests().remove(0);
    verify(&request);
    assert!(request.headers().iter().all(|(name, value)| {
        name != "x-forged" && !value.as_bytes().windows(8).any(|part| part == b"x-forged")
    }));
}
