//! The signed request and the HTTP client against a real receiver.

use std::time::Duration;

use bytes::Bytes;
use longshore_core::endpoint::{Authentication, Endpoint};
use longshore_core::{AttemptOutcome, Clock, DeliveryState, Secret, Snapshot, SystemClock};
use longshore_pipeline::dispatch::egress::{DnsSettings, EgressRules, Guard, Route};
use longshore_pipeline::dispatch::{Answer, HttpSettings, HttpTransport, SignedRequest, Transport};
use longshore_pipeline::ingest::Origin;
use longshore_source::Status;
use longshore_source::memory::{MemorySource, Publication};
use longshore_testkit::clock::TokioClock;
use longshore_testkit::memory::MemoryDatabase;
use longshore_testkit::receiver::{Receiver, Reply};

use super::bed::{A, Bed, PROJECT, SECOND, SECRET, SOURCE, endpoint, project, retries};

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        rules: EgressRules {
            guard: Guard::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()),
            allow_http: true,
            allowed_ports: Vec::new(),
        },
        dns: DnsSettings::default(),
        connect_timeout: 5 * SECOND,
        response_bytes: 1_000,
        idle_per_host: 10,
        kept_connections: 100,
        user_agent: String::new(),
    }
}

/// As [`settings`], with other rules.
fn ruled(change: impl FnOnce(&mut EgressRules)) -> HttpSettings {
    let mut settings = settings();
    change(&mut settings.rules);
    settings
}

pub(crate) fn request(url: &str, timeout: Duration) -> SignedRequest {
    SignedRequest {
        url: url.parse().unwrap(),
        headers: http::HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        timeout,
        route: Route::default(),
    }
}

async fn post(settings: HttpSettings, url: &str, timeout: Duration) -> Answer {
    HttpTransport::new(&settings).unwrap().send(request(url, timeout)).await
}

/// One event from the broker to the receiver, by the whole pipeline, in real time.
async fn deliver(receiver: &Receiver, envelope: &str, change: impl FnOnce(&mut Endpoint, &mut Bed)) {
    let clock = TokioClock::starting_at(SystemClock.now());
    let mut bed = Bed::new();
    bed.clock = clock;
    bed.database = MemoryDatabase::new(clock);
    let mut target = Endpoint { url: receiver.url("/hook").parse().unwrap(), ..endpoint(A) };
    let mut project = project(retries(&[1]));
    project.settings.add_event_id_trace_headers = envelope.contains("traced");
    change(&mut target, &mut bed);
    bed.config.send_replace(std::sync::Arc::new(Snapshot::new(vec![project], vec![target], Vec::new())));
    let broker = bed.broker.clone();
    let connect = move || MemorySource::connect(&broker, std::num::NonZeroUsize::MIN);
    let origin = Origin {
        source: Some((SOURCE, PROJECT)),
        kind: "memory",
        status: Status::new("memory", "bed"),
        mapping: longshore_pipeline::ingest::fixed(longshore_core::Mapping::default()),
    };
    let transport = HttpTransport::new(&settings()).unwrap();
    let process = bed.start_with(connect, origin, transport, clock);
    bed.broker.publish(Publication {
        message_id: Some("m-1".to_owned()),
        ..Publication::from(envelope.to_owned())
    });
    tokio::time::timeout(
        SOON,
        bed.database.wait_until(|database| database.count_in(DeliveryState::Success) == 1),
    )
    .await
    .unwrap();
    let recorded = bed.database.deliveries().remove(0).history.remove(0);
    let on_record = format!("{:?}", recorded.request_headers);
    assert!(!on_record.contains("s3cret"), "{on_record}");
    process.stop().await;
}

#[tokio::test]
async fn the_signatures_verify_with_other_peoples_code() {
    let receiver = Receiver::start().await;
    let envelope = format!(r#"{{"event_type":"a","endpoint_id":"{A}","data":{{ "b" : 1.0, "a" : "é" }}}}"#);

    deliver(&receiver, &envelope, |_, _| {}).await;

    let request = receiver.wait_for(1, SOON).await.remove(0);
    assert_eq!(request.body, r#"{"b":1.0,"a":"é"}"#);
    request.verify_standard(SECRET).unwrap();
    request.verify_contract(SECRET.as_bytes()).unwrap();
    assert!(request.verify_standard("whsec_BBECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").is_err());
    assert_eq!((request.method(), request.header("content-type")), ("POST", Some("application/json")));
    assert!(request.header("user-agent").unwrap().starts_with("Longshore/"));
    assert_eq!(request.header("x-broker-message-id"), Some("m-1"));
    for absent in ["x-convoy-idempotency-key", "x-convoy-event-id", "x-convoy-eventdelivery-id"] {
        assert_eq!(request.header(absent), None);
    }
}

#[tokio::test]
async fn a_producers_headers_override_nothing_and_those_of_the_connection_stay_behind() {
    let receiver = Receiver::start().await;
    let envelope = format!(
        r#"{{"event_type":"traced","endpoint_id":"{A}","data":1,"idempotency_key":"k-1","custom_headers":{{
            "X-Own":"1","Content-Type":"text/plain","webhook-id":"forged","Webhook-Signature":"forged",
            "X-Convoy-Signature":"forged","x-convoy-idempotency-key":"forged","X-Key":"forged","Host":"evil.example",
            "Connection":"close","Transfer-Encoding":"chunked","Content-Length":"1","User-Agent":"forged",
            "bad name":"1","X-Bad":"a\nb"}}}}"#
    )
    .replace("a\nb", "a\\nb");
    let authenticated = |endpoint: &mut Endpoint, _: &mut Bed| {
        endpoint.credentials.authentication = Some(Authentication::ApiKey {
            header: "X-Key".to_owned(),
            value: Secret::new("s3cret".to_owned()),
        });
    };

    deliver(&receiver, &envelope, authenticated).await;

    let request = receiver.wait_for(1, SOON).await.remove(0);
    request.verify_standard(SECRET).unwrap();
    request.verify_contract(SECRET.as_bytes()).unwrap();
    assert_eq!(request.header("x-own"), Some("1"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-convoy-idempotency-key"), Some("k-1"));
    assert_eq!(request.header("x-key"), Some("s3cret"));
    assert_eq!(request.header("host"), Some(receiver.addr().to_string().as_str()));
    assert_eq!(request.header("content-length"), Some("1"), "the body is `1`");
    assert_eq!(
        (request.header("x-convoy-event-id"), request.header("connection")),
        (request.webhook_id(), None)
    );
    assert!(request.header("x-convoy-eventdelivery-id").is_some());
    assert!(request.header("x-bad").is_none() && request.header("transfer-encoding").is_none());
    assert!(request.headers().values().all(|value| value != "forged"));
    assert!(request.headers().iter().all(|(name, _)| request.headers().get_all(name).iter().count() == 1));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    receiver.script("/hook", [Reply::redirect(&other.url("/there"))]);

    let answer = post(settings(), &receiver.url("/hook"), SOON).await;

    assert_eq!(answer.outcome, AttemptOutcome::Response { status: 302, retry_after: None });
    assert!(answer.error.contains("not followed"), "{answer:?}");
    assert_eq!(answer.headers.get("location"), Some(other.url("/there").as_str()));
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn a_huge_response_is_cut_at_the_cap_and_not_waited_for() {
    let receiver = Receiver::start().await;
    receiver.script("/huge", [Reply::flood(1 << 30)]);
    receiver.script("/exact", [Reply::default().body(vec![b'x'; 1_000])]);
    receiver.script("/empty", [Reply::default()]);

    for (path, length) in [("/huge", 1_000), ("/exact", 1_000), ("/empty", 0)] {
        let answer = post(settings(), &receiver.url(path), SOON).await;

        assert!(answer.outcome.is_success(), "{path}: {answer:?}");
        assert_eq!(answer.body.len(), length, "{path}");
    }
}

#[tokio::test]
async fn one_deadline_covers_a_silent_receiver_and_a_dripping_body() {
    let receiver = Receiver::start().await;
    receiver.script("/drip", [Reply::drip("x")]);
    receiver.script("/hang", [Reply::hang()]);
    receiver.script("/close", [Reply::close()]);

    for path in ["/drip", "/hang"] {
        let started = tokio::time::Instant::now();
        let answer = post(settings(), &receiver.url(path), SECOND / 4).await;

        assert_eq!(answer.outcome, AttemptOutcome::Timeout, "{path}");
        assert!(started.elapsed() < 5 * SECOND);
        assert!(answer.error.contains("250ms"), "{}", answer.error);
    }
    let closed = post(settings(), &receiver.url("/close"), SOON).await;
    assert!(matches!(closed.outcome, AttemptOutcome::Connect | AttemptOutcome::Protocol), "{closed:?}");
}

#[tokio::test]
async fn retry_after_is_understood() {
    let receiver = Receiver::start().await;
    receiver.script("/busy", [Reply::status(429).header("retry-after", "17")]);

    let answer = post(settings(), &receiver.url("/busy"), SOON).await;

    assert_eq!(answer.outcome, AttemptOutcome::Response { status: 429, retry_after: Some(17 * SECOND) });
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_of_ours_by_number_or_by_name() {
    let receiver = Receiver::start().await;
    let port = receiver.addr().port();
    let guarded = || ruled(|rules| rules.guard = Guard::default());

    for target in
        ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0", "169.254.169.254"]
    {
        let answer = post(guarded(), &format!("http://{target}:{port}/hook"), SOON).await;

        assert_eq!(answer.outcome, AttemptOutcome::Blocked, "{target}: {answer:?}");
        assert!(answer.error.contains("allowed_networks"), "{}", answer.error);
    }
    assert_eq!(receiver.connections(), 0);
    let allowed = post(settings(), &format!("http://localhost:{port}/hook"), SOON).await;
    assert!(allowed.outcome.is_success(), "{allowed:?}");
}

#[tokio::test]
async fn plain_http_and_other_ports_need_to_be_allowed() {
    let receiver = Receiver::start().await;
    let strict = ruled(|rules| rules.allow_http = false);
    let ports = ruled(|rules| rules.allowed_ports = vec![443]);

    for (settings, word) in [(strict, "https"), (ports, "port")] {
        let answer = post(settings, &receiver.url("/hook"), SOON).await;
        assert_eq!(answer.outcome, AttemptOutcome::Blocked);
        assert!(answer.error.contains(word), "{}", answer.error);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn faults_of_the_way_are_told_apart_and_hold_no_url() {
    let receiver = Receiver::start().await;
    let address = receiver.addr();
    let tls = post(settings(), &format!("https://{address}/token-s3cret"), SOON).await;
    drop(receiver);
    let refused = post(settings(), "http://127.0.0.1:1/token-s3cret", SOON).await;
    let unresolved = post(settings(), "http://nobody.invalid/token-s3cret", SOON).await;

    assert_eq!(refused.outcome, AttemptOutcome::Connect, "{refused:?}");
    assert_eq!(unresolved.outcome, AttemptOutcome::Dns, "{unresolved:?}");
    assert_eq!(tls.outcome, AttemptOutcome::Tls, "{tls:?}");
    for answer in [tls, refused, unresolved] {
        assert!(!answer.error.is_empty() && !answer.error.contains("s3cret"), "{}", answer.error);
    }
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let receiver = Receiver::start().await;
    let transport = HttpTransport::new(&settings()).unwrap();
    for _ in 0..5 {
        let request = request(&receiver.url("/hook"), SOON);
        assert!(transport.send(request).await.outcome.is_success());
    }
    assert_eq!(receiver.connections(), 1);
}
