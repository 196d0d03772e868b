//! Limits and breakers over two gateways: one endpoint's rate shared, a breaker's whole walk, a prober that is killed.

use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_testkit::broker::BrokerKind;
use longshore_testkit::receiver::Reply;
use tokio::time::{Instant, sleep};

use crate::load::broadcast;
use crate::stage::{Endpoint, PATIENCE, Stage, metric, project};

const RATE: usize = 50;
/// What the clocks of sender and receiver and the network may move into a window, of a debug build on a busy machine.
const TOLERANCE: usize = 5;
const WAITING: &str = "SELECT count(*) FROM deliveries WHERE state <> 'Success'";

/// The stage's project with another breaker.
async fn apply(stage: &Stage, endpoint: Endpoint, breaker: &str) {
    let text = project(0, &[endpoint], &stage.queue, &stage.queue.settings(), "");
    let text = text.replace("{enabled: false}", breaker);
    stage.apply_text(&format!("projects:\n{text}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_rate_of_an_endpoint_and_use_it() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let endpoint =
        Endpoint { keys: ", rate_limit: {count: 50, per: 1s}", ..Endpoint::at(stage.receiver.url("/hook")) };
    stage.apply(&[endpoint], &stage.queue.settings()).await;
    let mut gateways = [stage.setup().start().await, stage.setup().start().await];
    let events = 8 * RATE;

    stage.queue.publish((0..events as u64).map(broadcast)).await;
    let mut at: Vec<Instant> =
        stage.receiver.wait_for(events, PATIENCE).await.iter().map(|request| request.at).collect();

    at.sort_unstable();
    let second = Duration::from_secs(1);
    let in_window = |first: &Instant| at.iter().filter(|at| *at >= first && **at < *first + second).count();
    let most = at.iter().map(in_window).max().unwrap();
    let took = at[events - 1] - at[0];
    let used = (events - 1) as f64 / took.as_secs_f64() / RATE as f64;
    let lapsed = metric(&gateways[0], "dispatch_rate_slots_lapsed_total").await
        + metric(&gateways[1], "dispatch_rate_slots_lapsed_total").await;
    eprintln!(
        "two gateways, {RATE} a second: at most {most} in a second, {:.0} % used, {lapsed} slots lapsed",
        100.0 * used
    );
    assert!(most <= RATE + TOLERANCE, "{most} in a second");
    assert!(used >= 0.9, "{used:.2} of the rate used");
    stage.count_reaches("SELECT count(*) FROM deliveries WHERE state = 'Success'", events as i64).await;
    assert_eq!(stage.count("SELECT count(*) FROM attempts").await, events as i64, "nothing was tried twice");
    for gateway in &gateways {
        let slots = metric(gateway, "dispatch_rate_slots_taken_total").await;
        assert!(slots > 50.0, "both send: {slots}");
    }
    for gateway in &mut gateways {
        gateway.sigterm(PATIENCE).await;
    }
}

/// The states that the breaker went through.
async fn walk(stage: &Stage) -> Vec<String> {
    sqlx::query_scalar("SELECT to_state FROM breaker_events ORDER BY id")
        .fetch_all(&stage.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_walks_all_the_way_parks_meanwhile_and_loses_nothing() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let retry = ", retry: {type: list, delays: [1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s]}";
    let endpoint = Endpoint { subscription: retry, ..Endpoint::at(stage.receiver.url("/hook")) };
    apply(&stage, endpoint, "{error_timeout: 3s, probes: 3, ramp: 4s}").await;
    let mut gateways = [stage.setup().start().await, stage.setup().start().await];
    stage.receiver.script("/hook", [Reply::status(503)]);

    stage.queue.publish((0..30).map(broadcast)).await;
    stage.count_reaches("SELECT count(*) FROM breakers WHERE state = 'open' AND trips = 1", 1).await;
    // Both know, and what was under way is answered.
    sleep(Duration::from_secs(1)).await;
    let tried = stage.receiver.count();
    stage.queue.publish((30..200).map(broadcast)).await;
    stage.count_reaches("SELECT count(*) FROM breakers WHERE trips = 2", 1).await;
    assert_eq!(stage.receiver.count(), tried + 3, "while it is open nothing is tried but the probes");
    stage.receiver.script("/hook", [Reply::status(200)]);
    stage
        .count_reaches("SELECT count(*) FROM breakers WHERE state = 'closed' AND closed_at IS NOT NULL", 1)
        .await;
    stage.count_reaches("SELECT count(*) FROM deliveries WHERE state = 'Success'", 200).await;

    assert_eq!(walk(&stage).await, ["open", "half_open", "open", "half_open", "closed"]);
    assert_eq!(stage.count(WAITING).await, 0);
    assert_eq!(stage.receiver.unique_ids(), 200);
    let made = stage.count("SELECT count(*) FROM attempts").await;
    assert_eq!(made, stage.receiver.count() as i64);
    assert_eq!(
        stage.count("SELECT sum(attempt_count)::bigint FROM deliveries").await,
        made,
        "every attempt counts"
    );
    for gateway in &mut gateways {
        gateway.sigterm(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prober_that_is_killed_is_replaced() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let retry = ", retry: {type: list, delays: [1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s]}";
    let url = stage.receiver.url("/hook");
    let endpoint = Endpoint { url, keys: ", http_timeout: 3s", subscription: retry };
    apply(&stage, endpoint, "{error_timeout: 2s, probes: 2, ramp: 1s}").await;
    let mut first = stage.setup().start().await;
    stage.receiver.script("/hook", [Reply::status(503)]);
    stage.queue.publish((0..30).map(broadcast)).await;
    stage.count_reaches("SELECT count(*) FROM breakers WHERE state = 'open'", 1).await;
    stage.receiver.script("/hook", [Reply::hang()]);
    stage.count_reaches("SELECT count(*) FROM breakers WHERE state = 'half_open'", 1).await;

    first.kill_9().await;
    let killed = Instant::now();
    stage.receiver.script("/hook", [Reply::status(200)]);
    let mut second = stage.setup().start().await;
    stage.count_reaches("SELECT count(*) FROM deliveries WHERE state = 'Success'", 30).await;

    eprintln!("a killed prober was replaced and all delivered after {:.1?}", killed.elapsed());
    assert_eq!(walk(&stage).await, ["open", "half_open", "half_open", "closed"]);
    second.sigterm(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_share_the_ingest_limit_of_a_project() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let text =
        project(0, &[Endpoint::at(stage.receiver.url("/hook"))], &stage.queue, &stage.queue.settings(), "");
    let limited = "settings: {ingest_rate_limit: {count: 100, per: 20s}, circuit_breaker:";
    stage.apply_text(&format!("projects:\n{}", text.replace("settings: {circuit_breaker:", limited))).await;
    let mut gateways = [stage.setup().start().await, stage.setup().start().await];
    let started = SystemClock.now();

    stage.queue.publish((0..250).map(broadcast)).await;
    stage.count_reaches("SELECT count(*) FROM events", 100).await;
    sleep(Duration::from_secs(2)).await;
    let soon = stage.count("SELECT count(*) FROM events").await;
    let fair = 100 + 5 * i64::try_from(SystemClock.now().since(started).as_secs() + 1).unwrap();
    assert!(soon <= fair + 20, "{soon} events, {fair} are fair");
    // The rest waits at the broker and comes as there is room.
    stage.count_reaches("SELECT count(*) FROM events", soon + 40).await;

    for gateway in &mut gateways {
        gateway.sigterm(PATIENCE).await;
    }
}
