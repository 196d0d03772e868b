//! Declarations of sources that change under load, on the brokers whose consumers cannot be counted at the broker:
//! what the gateway says it begins and ends, and what it stores. RabbitMQ is in [`crate::reconcile`].

use longshore_testkit::broker::{BrokerKind, Queue};
use longshore_testkit::gateway::Gateway;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::brokers::{on, rate};
use crate::load::{Load, broadcast};
use crate::reconcile::{EVENTS, MAPPED, MAPPING, begun, receiver, takes_effect};
use crate::stage::{PATIENCE, Stage};

on!(every_change_of_a_source_is_in_effect_within_two_seconds: kafka, sqs, pubsub);

/// Applies the receiver and one source with these settings; `keys` are further keys of the source in YAML.
async fn apply(stage: &Stage, settings: &Value, keys: &str) -> Instant {
    let kind = stage.queue.kind().as_str();
    let source = format!("    sources:\n      - {{name: q, kind: {kind}, {kind}: {settings}{keys}}}\n");
    stage.apply_text(&(receiver(stage) + &source)).await;
    Instant::now()
}

/// How often a consumer has been told to end because its declaration changed.
fn ended(gateway: &Gateway) -> usize {
    gateway.log().matches("stopping: its declaration changed or went").count()
}

/// Another setting that only the broker's own consumers have, and its new value.
fn own_setting(kind: BrokerKind) -> (&'static str, Value) {
    match kind {
        BrokerKind::Kafka => ("commit_interval", json!("2s")),
        BrokerKind::Sqs => ("wait_time", json!(5)),
        _ => ("max_in_flight", json!(50)),
    }
}

async fn every_change_of_a_source_is_in_effect_within_two_seconds(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    let next = Queue::create(kind).await;
    let settings = stage.settings();
    apply(&stage, &settings, "").await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    stage.receiver.wait_for(50, PATIENCE).await;
    assert_eq!((begun(&gateway), ended(&gateway)), (1, 0));

    let at = apply(&stage, &settings, ", workers: 3").await;
    takes_effect("workers 1 to 3", at, async || begun(&gateway) == 3).await;
    let at = apply(&stage, &settings, ", workers: 2").await;
    takes_effect("workers 3 to 2", at, async || ended(&gateway) == 1).await;
    assert_eq!(begun(&gateway), 3, "the other consumers go on");

    let at = apply(&stage, &settings, &format!(", workers: 2{MAPPING}")).await;
    takes_effect("mapping", at, async || stage.count(MAPPED).await > 0).await;
    assert_eq!((begun(&gateway), ended(&gateway)), (3, 1), "a mapping needs no new connection");

    let (name, value) = own_setting(kind);
    let mut changed = settings.clone();
    changed[name] = value;
    let at = apply(&stage, &changed, ", workers: 2").await;
    takes_effect(name, at, async || ended(&gateway) == 3 && begun(&gateway) == 5).await;
    let stored = stage.count(EVENTS).await;
    takes_effect("consumed by the new ones", at, async || stage.count(EVENTS).await > stored).await;

    let at = apply(&stage, &changed, ", workers: 2, disabled: true").await;
    takes_effect("disabled", at, async || ended(&gateway) == 5).await;
    let left = stage.queue.left().await;
    stage.depth_reaches(left + 2 * rate(kind)).await;
    let stored = stage.count(EVENTS).await;
    stage.depth_reaches(left + 4 * rate(kind)).await;
    assert_eq!(stage.count(EVENTS).await, stored, "what is disabled takes nothing in");
    let at = apply(&stage, &changed, "").await;
    takes_effect("enabled", at, async || stage.count(EVENTS).await > stored).await;

    // To another queue, and back: what came meanwhile is still there.
    let mut published = load.stop().await;
    stage.settle(published.confirmed.len(), PATIENCE).await;
    let elsewhere = published.confirmed.len() as u64;
    next.publish((elsewhere..elsewhere + 10).map(broadcast)).await;
    published.confirmed.extend((elsewhere..elsewhere + 10).map(|number| (number, Instant::now())));
    let stored = stage.count(EVENTS).await;
    let at = apply(&stage, &next.settings(), "").await;
    takes_effect("another queue", at, async || stage.count(EVENTS).await == stored + 10).await;
    let load = Load::start(&stage.queue, rate(kind), move |number| broadcast(elsewhere + 10 + number));
    let at = apply(&stage, &changed, "").await;
    takes_effect("back again", at, async || stage.count(EVENTS).await > stored + 10).await;
    let more = load.stop().await;
    published.confirmed.extend(more.confirmed.iter().map(|(number, at)| (elsewhere + 10 + number, *at)));

    let tally = stage.finish(&mut gateway, &published, 2 * PATIENCE).await;
    tally.assert_exactly_once_stored("a source that changes");
    next.remove().await;
}
