//! `serve` as orchestrators see it: an event in, a signed webhook out, probes, signals, exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use longshore_testkit::gateway::Setup;
use longshore_testkit::receiver::Receiver;
use support::{API_KEY, Database, file, longshore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);
const PROJECT: &str = "01JD0000000000000000000SHP";

/// Applies one endpoint that takes everything.
fn subscribe(database: &Database, url: &str) {
    let resources = format!(
        "
projects:
  - name: shop
    id: {PROJECT}
    endpoints: [{{name: receiver, url: '{url}', secret: s-one}}]
    subscriptions: [{{name: all, endpoint: receiver}}]
    api_keys: [{{name: k, key: {API_KEY}}}]
"
    );
    let file = file(&resources);
    let applied = longshore(database, &["apply", "-f", file.path().to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
}

fn setup(database: &Database) -> Setup {
    database
        .environment()
        .into_iter()
        .fold(Setup::new(env!("CARGO_BIN_EXE_longshore")), |setup, (name, value)| setup.env(name, value))
}

/// Posts one event and gives the status.
async fn post(address: &str, body: &str) -> u16 {
    let host = address.trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "POST /api/v1/projects/{PROJECT}/events/broadcast HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_posted_arrives_signed_and_sigterm_ends_with_success() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    let mut gateway = setup(&database).start().await;

    let status = post(&gateway.url("/"), r#"{"event_type": "order.paid", "data": {"total": 1.50}}"#).await;

    assert_eq!(status, 201);
    let requests = receiver.wait_for(1, PATIENCE).await;
    assert_eq!(requests[0].body, br#"{"total":1.50}"#[..]);
    assert!(gateway.get("/metrics").await.is_some_and(|(status, _)| status == 200));
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_are_followed_without_a_restart() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    subscribe(&database, &old.url("/hook"));
    let gateway = setup(&database).start().await;
    assert_eq!(post(&gateway.url("/"), r#"{"event_type": "a", "data": 1}"#).await, 201);
    old.wait_for(1, PATIENCE).await;

    subscribe(&database, &new.url("/hook"));
    // Followed within a second: until then events go to the old one.
    while new.count() == 0 {
        assert_eq!(post(&gateway.url("/"), r#"{"event_type": "a", "data": 2}"#).await, 201);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    assert!(old.count() < 100);
}

#[tokio::test]
async fn a_pending_schema_is_refused_with_the_command_to_run() {
    let database = Database::create().await;

    let refused = longshore(&database, &["serve"]);

    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("longshore migrate up"), "{refused:?}");
}
