//! Sources over the public API of a running gateway: webhooks received and passed on, a broker followed, quarantine.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use longshore_core::ports::{EventLog, PersistBatch, QuarantinedMessage};
use longshore_core::quarantine::{MessageFacts, Reason};
use longshore_core::{Clock, QuarantineId, SourceId, SystemClock};
use longshore_testkit::database::count;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::rabbitmq::{Outgoing, QueueKind, Rabbit};
use longshore_testkit::receiver::Receiver;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bed::{PATIENCE, PROJECT, ask, setup, subscribe};
use crate::support::{API_KEY, Database, longshore};

/// Within this a changed source is in effect.
const PROMISE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

struct Stage {
    database: Database,
    receiver: Receiver,
    gateway: Gateway,
}

impl Stage {
    /// A gateway, and one endpoint that takes everything.
    async fn start() -> Self {
        let database = Database::create().await;
        assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
        let receiver = Receiver::start().await;
        subscribe(&database, &receiver.url("/hook"));
        let gateway = setup(&database).start().await;
        Self { database, receiver, gateway }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        ask(&self.gateway.url("/"), &request).await
    }

    /// Asks the public API within the project.
    async fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {API_KEY}");
        let headers = [("authorization", &bearer[..]), ("content-type", "application/json")];
        let path = format!("/api/v1/projects/{PROJECT}{path}");
        let (status, _, answer) = self.send(method, &path, &headers, &body.to_string()).await;
        (status, serde_json::from_str(&answer).unwrap())
    }

    /// The item of a list that is so, once there is one.
    async fn until(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let (_, listed) = self.api("GET", path, &json!({})).await;
            let found = listed["data"]["content"].as_array().unwrap().iter().find(|item| is_wanted(item));
            if let Some(found) = found {
                return found.clone();
            }
            assert!(since.elapsed() < PATIENCE, "{listed}");
            sleep(POLL).await; // an outcome is written in its own time
        }
    }

    /// Makes a source that receives webhooks, and the only subscription one of its. Returns its path once it is there.
    async fn source(&self, body: &Value) -> String {
        let (status, made) = self.api("POST", "/sources", body).await;
        assert_eq!(status, 201, "{made}");
        let id: SourceId = made["data"]["uid"].as_str().unwrap().parse().unwrap();
        let bind = format!(
            "WITH bound AS (UPDATE subscriptions SET source_id = '{}' RETURNING 1) SELECT count(*) FROM bound",
            id.as_uuid()
        );
        assert_eq!(count(self.database.inner(), &bind).await, 1);
        let path = format!("/ingest/{}", made["data"]["mask_id"].as_str().unwrap());
        let since = Instant::now();
        while self.send("GET", &path, &[], "").await.0 == 404 {
            assert!(since.elapsed() < PROMISE);
            sleep(POLL).await; // another process gives no signal
        }
        path
    }
}

/// An HMAC by code that is not ours.
fn sign(hash: &str, encoding: &str, secret: &str, text: &str) -> String {
    let program = "import sys,hmac,base64\nh,e,k=sys.argv[1:4]\nd=hmac.new(k.encode(),sys.stdin.buffer.read(),h)\n\
                   print(d.hexdigest() if e=='hex' else base64.b64encode(d.digest()).decode(),end='')";
    let arguments = ["-c", program, hash, encoding, secret];
    let mut child =
        Command::new("python3").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_providers_are_verified_and_passed_on() {
    let stage = Stage::start().await;
    let body = r#"{"action": "opened",  "number": 12345678901234567890}"#;
    let hmac = |secret: &str| json!({"type": "hmac", "hmac": {"secret": secret}});
    let own = json!({"type": "hmac", "hmac": {"header": "X-Own", "hash": "SHA512", "encoding": "base64", "secret": "s"}});
    let github = format!("sha256={}", sign("sha256", "hex", "g-secret", body));
    let twitter = format!("sha256={}", sign("sha256", "base64", "t-secret", body));
    let cases = [
        (json!({"provider": "github", "verifier": hmac("g-secret")}), "X-Hub-Signature-256", github),
        (
            json!({"provider": "shopify", "verifier": hmac("h-secret")}),
            "X-Shopify-Hmac-SHA256",
            sign("sha256", "base64", "h-secret", body),
        ),
        (
            json!({"provider": "twitter", "verifier": hmac("t-secret")}),
            "X-Twitter-Webhooks-Signature",
            twitter,
        ),
        (json!({"verifier": own}), "X-Own", sign("sha512", "base64", "s", body)),
        (
            json!({"verifier": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "p"}}}),
            "Authorization",
            "Basic dTpw".to_owned(),
        ),
        (
            json!({"verifier": {"type": "api_key", "api_key": {"header_name": "X-Key", "header_value": "v"}}}),
            "X-Key",
            "v".to_owned(),
        ),
    ];
    for (index, (mut wanted, header, proof)) in cases.into_iter().enumerate() {
        wanted["name"] = json!(format!("source {index}"));
        wanted["type"] = json!("http");
        wanted["event_type_location"] = json!("request.body.action");
        let path = stage.source(&wanted).await;
        let headers = [(header, &proof[..]), ("content-type", "application/json"), ("x-more", "kept")];

        let (status, _, answer) = stage.send("POST", &path, &headers, body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer),
            (200, &json!({"status": true, "message": "Event received", "data": body.len()}))
        );
        let requests = stage.receiver.wait_for(index + 1, PATIENCE).await;
        let request = &requests[index];
        assert_eq!(request.body, br#"{"action":"opened","number":12345678901234567890}"#[..]);
        assert_eq!(request.header("webhook-event-type"), Some("opened"));
        assert_eq!(request.header("x-more"), Some("kept"));
        assert!(request.header("x-convoy-source-id").is_some());
        // What is secret by itself goes no further.
        if header == "Authorization" || header == "X-Key" {
            assert_eq!(request.header(header), None);
        }

        for wrong in [&[][..], &[(header, "wrong")][..]] {
            let (status, _, answer) = stage.send("POST", &path, wrong, body).await;
            assert_eq!(status, 400, "{answer}");
            assert!(answer.contains("\"status\":false"), "{answer}");
        }
        let forged = body.replace("opened", "closed");
        if wanted["verifier"]["type"] == "hmac" {
            assert_eq!(stage.send("POST", &path, &headers, &forged).await.0, 400);
        }
        if wanted["provider"] == "twitter" {
            let (status, _, answer) =
                stage.send("GET", &format!("{path}?crc_token=challenge"), &[], "").await;
            let token = format!("sha256={}", sign("sha256", "base64", "t-secret", "challenge"));
            assert_eq!((status, answer), (200, json!({"response_token": token}).to_string()));
        }
    }
    let stored = "SELECT count(*) FROM events WHERE kind = 'incoming' AND headers::text LIKE '%dTpw%'";
    assert_eq!(count(stage.database.inner(), stored).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_says_of_its_webhooks_holds() {
    let stage = Stage::start().await;
    let limit = "WITH limited AS (UPDATE projects SET settings = settings || '{\"max_payload_bytes\": 100}' RETURNING 1)
                 SELECT count(*) FROM limited";
    assert_eq!(count(stage.database.inner(), limit).await, 1);
    let path = stage
        .source(&json!({
            "name": "forms", "type": "http", "idempotency_keys": ["request.header.X-Id"],
            "event_type_location": "request.query.topic", "forward_headers": ["X-Id"],
            "custom_response": {"body": "<ok/>", "content_type": "application/xml"},
        }))
        .await;
    let form = [("content-type", "application/x-www-form-urlencoded"), ("X-Id", "one"), ("X-Other", "no")];

    let (status, head, answer) =
        stage.send("POST", &format!("{path}?topic=a.b"), &form, "a=1&b=x+y&a=2").await;
    assert_eq!((status, answer.as_str()), (200, "<ok/>"));
    assert!(head.contains("content-type: application/xml"), "{head}");
    let requests = stage.receiver.wait_for(1, PATIENCE).await;
    assert_eq!(requests[0].json(), json!({"a": "1", "b": "x y"}));
    assert_eq!(requests[0].header("webhook-event-type"), Some("a.b"));
    assert_eq!((requests[0].header("x-id"), requests[0].header("x-other")), (Some("one"), None));
    assert_eq!(requests[0].query(), Some("topic=a.b"));
    let shown = stage.until("/events", |event| event["url_query_params"] == "topic=a.b").await;
    let delivery = stage
        .until("/eventdeliveries", |delivery| {
            delivery["url_query_params"] == "topic=a.b" && delivery["status"] == "Success"
        })
        .await;
    assert_eq!(delivery["event_id"], shown["uid"]);
    let attempts = format!("/eventdeliveries/{}/deliveryattempts", delivery["uid"].as_str().unwrap());
    let (_, attempts) = stage.api("GET", &attempts, &json!({})).await;
    assert!(attempts["data"][0]["url"].as_str().unwrap().ends_with("?topic=a.b"), "{attempts}");
    assert_eq!(attempts["data"][0]["ip_address"], "127.0.0.1");

    // The same again is stored and goes nowhere; bytes of another kind are passed on as they are.
    assert_eq!(stage.send("POST", &path, &form, "a=3").await.0, 200);
    let xml = [("content-type", "text/xml; charset=utf-8"), ("X-Id", "two")];
    assert_eq!(stage.send("POST", &path, &xml, "<a>1</a>").await.0, 200);
    let requests = stage.receiver.wait_for(2, PATIENCE).await;
    assert_eq!(requests[1].body, b"<a>1</a>"[..]);
    assert_eq!(requests[1].header("content-type"), Some("text/xml; charset=utf-8"));
    assert_eq!(requests[1].header("webhook-event-type"), Some(path.trim_start_matches("/ingest/")));
    assert_eq!(count(stage.database.inner(), "SELECT count(*) FROM events").await, 3);

    let (status, _, answer) =
        stage.send("POST", &path, &[("content-type", "application/json")], "{\"a\":").await;
    assert_eq!(status, 400);
    assert!(answer.contains("is not JSON"), "{answer}");
    let long = format!("\"{}\"", "x".repeat(100));
    assert_eq!(stage.send("POST", &path, &[], &long).await.0, 413);
    let (_, listed) = stage.api("GET", "/sources", &json!({})).await;
    let id = listed["data"]["content"][0]["uid"].as_str().unwrap();
    assert_eq!(stage.api("PUT", &format!("/sources/{id}"), &json!({"is_disabled": true})).await.0, 202);
    let since = Instant::now();
    while stage.send("POST", &path, &[], "{}").await.0 != 403 {
        assert!(since.elapsed() < PROMISE);
        sleep(POLL).await; // another process gives no signal
    }
    assert_eq!(stage.api("DELETE", &format!("/sources/{id}"), &json!({})).await.0, 200);
    let since = Instant::now();
    while stage.send("POST", &path, &[], "{}").await.0 != 404 {
        assert!(since.elapsed() < PROMISE);
        sleep(POLL).await; // another process gives no signal
    }
    assert_eq!(
        count(stage.database.inner(), "SELECT count(*) FROM events WHERE event_type = 'a.b'").await,
        1
    );
}

/// The contract's `amqp` of a test's broker.
fn amqp(url: &str, queue: &str) -> Value {
    let url = url::Url::parse(url).unwrap();
    let vhost = url.path().trim_start_matches('/').replace("%2f", "/").replace("%2F", "/");
    json!({
        "schema": url.scheme(), "host": url.host_str(), "port": url.port().unwrap_or(5672).to_string(),
        "vhost": vhost, "queue": queue, "declare": false,
        "auth": {"user": url.username(), "password": url.password()},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_asked_first_and_then_followed() {
    let (stage, rabbit) = (Stage::start().await, Rabbit::connect().await);
    let queue = rabbit.queue(QueueKind::Classic).await;
    let body = |settings: &Value| json!({"name": "orders", "type": "pub_sub", "pub_sub": {"type": "amqp", "workers": 1, "amqp": settings}});
    let mut settings = amqp(rabbit.url(), queue.name());

    let wrong = amqp(rabbit.url(), "no-such-queue");
    let (status, answer) = stage.api("POST", "/sources", &body(&wrong)).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("no-such-queue"), "{answer}");
    settings["prefetch"] = json!("many");
    let (status, answer) = stage.api("POST", "/sources", &body(&settings)).await;
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().starts_with("`pub_sub.amqp`"), "{answer}");
    settings["prefetch"] = json!(10);
    let (status, made) = stage.api("POST", "/sources", &body(&settings)).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/sources/{}", made["data"]["uid"].as_str().unwrap());

    let since = Instant::now();
    while queue.consumers().await != 1 {
        assert!(since.elapsed() < PROMISE);
        sleep(POLL).await; // a broker gives no signal
    }
    let event = r#"{"event_type": "order.paid", "data": {"n": 1}}"#;
    queue.publish([Outgoing::new(event).header("x-convoy-message-type", "broadcast")]).await;
    stage.receiver.wait_for(1, PATIENCE).await;
    let since = Instant::now();
    loop {
        let (_, status) = stage.api("GET", &format!("{path}/status"), &json!({})).await;
        let consumers = &status["data"]["consumers"];
        if status["data"]["state"] == "consuming" && consumers[0]["stored"] == 1 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{status}");
        sleep(POLL).await; // another process gives no signal
    }

    // What was read is sent back with one change; the password stays.
    let (_, read) = stage.api("GET", &path, &json!({})).await;
    let mut changed = read["data"].clone();
    changed["pub_sub"]["amqp"]["consumer_tag"] = json!("changed");
    changed["mapping"] = json!({"event_type": "const:mapped", "data": "body"});
    let (status, answer) = stage.api("PUT", &path, &changed).await;
    assert_eq!(status, 202, "{answer}");
    // Messages that come before it is in effect are of the envelope.
    let since = Instant::now();
    let mapped = "SELECT count(*) FROM events WHERE event_type = 'mapped'";
    while count(stage.database.inner(), mapped).await == 0 {
        assert!(since.elapsed() < PROMISE);
        queue.publish([Outgoing::new(event).header("x-convoy-message-type", "broadcast")]).await;
        sleep(10 * POLL).await; // the pace of the traffic
    }
    assert_eq!(stage.api("DELETE", &path, &json!({})).await.0, 200);
    let since = Instant::now();
    while queue.consumers().await != 0 {
        assert!(since.elapsed() < PROMISE);
        sleep(POLL).await; // a broker gives no signal
    }
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantined_messages_are_replayed_over_the_api() {
    let stage = Stage::start().await;
    let settings = json!({"host": "broker.invalid", "queue": "q", "auth": {"user": "u", "password": "p"}});
    let (status, made) = stage
        .api(
            "POST",
            "/sources?verify=false",
            &json!({
                "name": "orders", "type": "pub_sub", "is_disabled": true,
                "mapping": {"event_type": "header:x-type", "data": "body"},
                "pub_sub": {"type": "amqp", "amqp": settings},
            }),
        )
        .await;
    assert_eq!(status, 201, "{made}");
    let source: SourceId = made["data"]["uid"].as_str().unwrap().parse().unwrap();
    let store = stage.database.store().await;
    let mut ids = Vec::new();
    for n in 0..5_u128 {
        let now = SystemClock.now();
        let message = QuarantinedMessage {
            id: QuarantineId::from_u128(QuarantineId::floor(now).as_u128() | n),
            project: PROJECT.parse().unwrap(),
            source: Some(source),
            reason: Reason::InvalidField,
            detail: "`event_type` is required".to_owned(),
            position: format!("m-{n}"),
            facts: MessageFacts { message_id: Some(format!("m-{n}")), ..MessageFacts::default() },
            headers: Default::default(),
            body: format!("{{\"n\":{n}}}").into_bytes().into(),
            received_at: now,
        };
        ids.push(message.id.to_string());
        store.persist(&PersistBatch { quarantined: vec![message], ..PersistBatch::default() }).await.unwrap();
    }

    let (_, faulty) = stage.api("POST", &format!("/quarantine/{}/replay", ids[0]), &json!({})).await;
    assert_eq!(
        (&faulty["data"]["outcome"], &faulty["data"]["reason"]),
        (&json!("faulty"), &json!("invalid_field"))
    );
    let mapping = json!({"mapping": {"event_type": "const:order.late", "data": "body"}});
    let (_, stored) = stage.api("POST", &format!("/quarantine/{}/replay", ids[0]), &mapping).await;
    assert_eq!(stored["data"]["outcome"], "stored", "{stored}");
    let requests = stage.receiver.wait_for(1, PATIENCE).await;
    assert_eq!(
        (requests[0].header("webhook-event-type"), requests[0].json()),
        (Some("order.late"), json!({"n": 0}))
    );

    // The mapping given was for that replay alone; the source's own is put right for the rest.
    let fixed = json!({"mapping": {"event_type": ["header:x-type", "const:order.fixed"], "data": "body"}});
    let path = format!("/sources/{}", made["data"]["uid"].as_str().unwrap());
    assert_eq!(stage.api("PUT", &path, &fixed).await.0, 202);
    let (status, begun) =
        stage.api("POST", "/quarantine/replay", &json!({"filter": {"source_id": source}})).await;
    assert_eq!((status, &begun["data"]["total"]), (202, &json!(4)), "{begun}");
    let path = format!("/quarantine/operations/{}", begun["data"]["uid"].as_str().unwrap());
    let since = Instant::now();
    loop {
        let (_, operation) = stage.api("GET", &path, &json!({})).await;
        if operation["data"]["state"] == "done" {
            assert_eq!(operation["data"]["stored"], 4, "{operation}");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{operation}");
        sleep(POLL).await; // another process gives no signal
    }
    let requests = stage.receiver.wait_for(5, PATIENCE).await;
    assert!(requests[1..].iter().all(|request| request.header("webhook-event-type") == Some("order.fixed")));
    let (_, again) = stage.api("POST", "/quarantine/replay", &json!({"ids": ids})).await;
    assert_eq!(again["data"]["total"], 5);
    let (_, waiting) = stage.api("GET", "/quarantine", &json!({})).await;
    assert_eq!(waiting["data"]["content"], json!([]));
    assert_eq!(count(stage.database.inner(), "SELECT count(*) FROM events").await, 5);
}
