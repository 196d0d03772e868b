//! Ordered delivery by the broker's key: through kills, rebalances and failing attempts, and what stops it.

use std::collections::HashMap;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;
use longshore_testkit::receiver::Reply;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::brokers::{on, rate};
use crate::load::{Load, Published, broadcast};
use crate::stage::{Endpoint, PATIENCE, Stage};

const KEYS: u64 = 12;

/// The event with that number, of one of the keys.
fn keyed(number: u64) -> Publication {
    broadcast(number).key(format!("customer-{}", number % KEYS))
}

fn endpoint(stage: &Stage, subscription: &'static str) -> Endpoint {
    Endpoint { subscription, ..Endpoint::at(stage.receiver.url("/hook")) }
}

/// Asserts that each key's events began in order: more than one request of an event, but never one behind a later event.
/// Returns how many were repeated.
fn assert_in_order(stage: &Stage, keys: u64) -> usize {
    let mut latest: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut repeated = 0;
    for request in stage.receiver.requests() {
        let number = request.json()["n"].as_u64().unwrap();
        let sequence: u64 = request.header("webhook-sequence").unwrap().parse().unwrap();
        if let Some((before, of_before)) = latest.insert(number % keys, (number, sequence)) {
            assert!(before <= number, "{number} after {before}");
            assert_eq!(before == number, of_before == sequence, "a number for each event");
            assert!(of_before <= sequence, "sequence {sequence} of {number} after {of_before} of {before}");
            repeated += usize::from(before == number);
        }
    }
    repeated
}

on!(order_holds_through_kills_rebalances_and_failing_attempts: kafka);

async fn order_holds_through_kills_rebalances_and_failing_attempts(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    let subscription = ", ordered: {on_exhausted: block}, retry: {type: list, delays: [100ms, 200ms, 400ms, 1s, 1s, 1s, 1s, 1s]}";
    stage.apply(&[endpoint(&stage, subscription)], &stage.settings()).await;
    // Every seventh attempt fails for a while.
    let replies = (0..2_000).map(|n| Reply::status(if n % 7 == 6 { 503 } else { 200 }));
    stage.receiver.script("/hook", replies.chain([Reply::default()]));
    let mut one = stage.setup().start().await;
    let mut two = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), keyed);
    stage.receiver.wait_for(300, PATIENCE).await;

    for round in 0..4 {
        let victim = if round % 2 == 0 { &mut one } else { &mut two };
        victim.kill_9().await;
        let before = stage.receiver.count();
        // Its partitions go to the other one, with what was stored and not acknowledged.
        stage.receiver.wait_for(before + 200, PATIENCE).await;
        victim.restart().await;
        let before = stage.receiver.count();
        stage.receiver.wait_for(before + 200, PATIENCE).await;
    }
    // And one that joins and leaves in good order.
    let mut third = stage.setup().start().await;
    let before = stage.receiver.count();
    stage.receiver.wait_for(before + 300, PATIENCE).await;
    assert_eq!(third.sigterm(PATIENCE).await.code(), Some(0));
    let published = load.stop().await;

    stage.settle(published.confirmed.len(), 2 * PATIENCE).await;
    assert_eq!(two.sigterm(PATIENCE).await.code(), Some(0));
    let tally = stage.finish(&mut one, &published, PATIENCE).await;
    let repeated = assert_in_order(&stage, KEYS);
    tally.assert_exactly_once_stored(&format!("ordered by key, {repeated} requests repeated the latest"));
    assert!(repeated > 0, "attempts failed");
    assert_eq!(stage.count("SELECT count(*) FROM schedule").await, 0);
    stage.queue.remove().await;
}

/// What waits for somebody, as the program lists it.
async fn stopped(stage: &Stage) -> Vec<Value> {
    let listed = stage.setup().run_ok(["lanes", "list", "--json"]).await;
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn until_stopped(stage: &Stage) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(first) = stopped(stage).await.pop() {
            return first;
        }
        assert!(Instant::now() < deadline, "nothing stops");
        sleep(Duration::from_millis(100)).await; // a command gives no signal
    }
}

fn numbers(stage: &Stage) -> Vec<u64> {
    stage.receiver.requests().iter().map(|request| request.json()["n"].as_u64().unwrap()).collect()
}

/// Two attempts of the first event fail, everything after them succeeds.
async fn exhausted(kind: BrokerKind, subscription: &'static str) -> Stage {
    let stage = Stage::new(kind).await;
    stage.apply(&[endpoint(&stage, subscription)], &stage.settings()).await;
    stage.receiver.script("/hook", [Reply::status(500), Reply::status(500), Reply::default()]);
    stage
}

fn of_one_key(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Publication> {
    numbers.map(|number| broadcast(number).key("customer"))
}

on!(a_blocked_lane_waits_for_its_command: kafka);

async fn a_blocked_lane_waits_for_its_command(kind: BrokerKind) {
    let stage = exhausted(kind, ", ordered: {}, retry: {type: list, delays: [50ms]}").await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish(of_one_key(0..3)).await;

    let blocked = until_stopped(&stage).await;
    assert_eq!((&blocked["state"], &blocked["attempts"]), (&"blocked".into(), &2.into()));
    stage.count_reaches("SELECT count(*) FROM deliveries", 3).await;
    assert_eq!(stopped(&stage).await[0]["waiting"], 2);
    // Another key is not held up.
    stage.queue.publish([broadcast(9).key("other")]).await;
    stage.receiver.wait_for(3, PATIENCE).await;
    assert_eq!(numbers(&stage), [0, 0, 9]);
    let lane = blocked["lane"].as_str().unwrap();
    stage.setup().run_ok(["lanes", "resume", lane]).await;

    stage.receiver.wait_for(6, PATIENCE).await;
    assert_eq!(numbers(&stage), [0, 0, 9, 0, 1, 2]);
    stage.settle(4, PATIENCE).await;
    assert!(stopped(&stage).await.is_empty());
    let again = stage.setup().run(["lanes", "resume", lane]).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");

    stage.receiver.script("/hook", [Reply::status(500), Reply::status(500), Reply::default()]);
    stage.queue.publish(of_one_key(10..12)).await;
    until_stopped(&stage).await;
    stage.setup().run_ok(["lanes", "discard", lane]).await;
    stage.receiver.wait_for(9, PATIENCE).await;
    assert_eq!(numbers(&stage)[6..], [10, 10, 11]);
    stage.settle(6, PATIENCE).await;
    assert_eq!(stage.count("SELECT count(*) FROM deliveries WHERE state = 'Discarded'").await, 1);
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
    stage.queue.remove().await;
}

on!(what_is_parked_or_skipped_holds_nobody: kafka);

async fn what_is_parked_or_skipped_holds_nobody(kind: BrokerKind) {
    let stage = exhausted(kind, ", ordered: {on_exhausted: park}, retry: {type: list, delays: [50ms]}").await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish(of_one_key(0..3)).await;

    stage.receiver.wait_for(4, PATIENCE).await;
    assert_eq!(numbers(&stage), [0, 0, 1, 2]);
    let parked = until_stopped(&stage).await;
    assert_eq!(parked["state"], "parked");
    stage.setup().run_ok(["lanes", "resume", parked["lane"].as_str().unwrap()]).await;
    stage.receiver.wait_for(5, PATIENCE).await;
    assert_eq!(numbers(&stage), [0, 0, 1, 2, 0]);
    stage.settle(3, PATIENCE).await;

    // The same queue with another policy: the process follows.
    let skip = ", ordered: {on_exhausted: skip}, retry: {type: list, delays: [50ms]}";
    stage.apply(&[endpoint(&stage, skip)], &stage.settings()).await;
    sleep(Duration::from_secs(1)).await; // a process reads changes four times a second and does not say so
    stage.receiver.script("/hook", [Reply::status(500), Reply::status(500), Reply::default()]);
    stage.queue.publish(of_one_key(3..5)).await;
    stage.receiver.wait_for(8, PATIENCE).await;
    assert_eq!(numbers(&stage)[5..], [3, 3, 4]);
    assert!(stopped(&stage).await.is_empty());
    let tally = stage.finish(&mut gateway, &Published::of(0..5), PATIENCE).await;
    tally.assert_exactly_once_stored("parked, resumed, skipped");
    assert_eq!(stage.count("SELECT count(*) FROM deliveries WHERE state = 'Failure'").await, 1);
    stage.queue.remove().await;
}
