//! `serve` as orchestrators see it: an event in, a signed webhook out, probes, signals, exit codes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bed;
mod doctor;
mod egress;
mod endpoints;
mod events;
mod keys;
mod notices;
mod planes;
mod portal;
mod rolling;
mod sources;
mod subscriptions;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use bed::{PATIENCE, post, setup, subscribe};
use longshore_testkit::receiver::Receiver;
use support::{Database, longshore};

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
