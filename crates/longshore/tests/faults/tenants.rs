//! Two tenants on one gateway, of which one sends nine tenths of everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_testkit::broker::{BrokerKind, Queue};
use tokio::time::Instant;

use crate::brokers::on;
use crate::load::{Load, Published, broadcast};
use crate::record;
use crate::stage::{Endpoint, PATIENCE, Stage, project};

/// Below this the machine decides: a debug build beside its broker, its database and the load.
const FLOOR: Duration = Duration::from_millis(100);
/// Numbers of the large tenant begin here, and those of the small one's second phase at half of it.
const LARGE: u64 = 1_000_000;

on!(a_tenant_with_nine_tenths_of_the_load_does_not_slow_the_other_down: rabbitmq, kafka, pubsub);

async fn a_tenant_with_nine_tenths_of_the_load_does_not_slow_the_other_down(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    let large = Arc::new(Queue::create(kind).await);
    let endpoint = |path: &str| [Endpoint::at(stage.receiver.url(path))];
    let tenants = [
        project(0, &endpoint("/small"), &stage.queue, &stage.queue.settings(), ""),
        project(1, &endpoint("/large"), &large, &large.settings(), ""),
    ];
    stage.apply_text(&format!("projects:\n{}", tenants.concat())).await;
    let mut gateway = stage.setup().start().await;

    // What is measured is not how long a consumer takes to begin.
    let first = [3 * LARGE, 3 * LARGE + 1];
    stage.queue.publish([broadcast(first[0])]).await;
    large.publish([broadcast(first[1])]).await;
    stage.receiver.wait_for(2, PATIENCE).await;

    // Few enough that the machine is not what is measured.
    let (small_rate, large_rate, events) = (20, 150, 200);
    let mut published = phase(&stage, 0, small_rate, events).await;
    let alone = latencies(&stage, &published, small_rate);
    let load = Load::start(&large, large_rate, |number| broadcast(LARGE + number));
    let second = phase(&stage, LARGE / 2, small_rate, events).await;
    let beside = latencies(&stage, &second, LARGE / 2 + small_rate);
    let of_large = load.stop().await;
    published.confirmed.extend(Published::of(first).confirmed);
    published.confirmed.extend(second.confirmed);
    published.confirmed.extend(of_large.confirmed.iter().map(|(number, at)| (LARGE + number, *at)));
    stage.settle(published.confirmed.len(), PATIENCE).await;

    let share = 100 * of_large.confirmed.len() / (of_large.confirmed.len() + events);
    let p99 = |sorted: &[Duration]| sorted[sorted.len() * 99 / 100];
    let (alone, beside) = (p99(&alone), p99(&beside));
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    assert_eq!(large.left().await, 0, "everything is acknowledged");
    let note = format!("{share} % by one tenant; p99 of the other {alone:.1?} alone, {beside:.1?} beside it");
    let verdict = tally.pass(&stage, record::TENANT, note);
    assert!(share >= 85, "{share} %");
    assert!(beside <= (2 * alone).max(FLOOR), "p99 {alone:?} alone, {beside:?} beside the large one");
    stage.queue.remove().await;
    large.remove().await;
    verdict.append();
}

/// The small tenant sends so many events, which arrive.
async fn phase(stage: &Stage, first: u64, rate: u64, events: usize) -> Published {
    let before = stage.receiver.count_to("/small");
    let load = Load::start(&stage.queue, rate, move |number| broadcast(first + number));
    stage.receiver.wait_for_path("/small", before + events, PATIENCE).await;
    let mut published = load.stop().await;
    let confirmed = std::mem::take(&mut published.confirmed);
    published.confirmed = confirmed.into_iter().map(|(number, at)| (first + number, at)).collect();
    stage.receiver.wait_for_path("/small", before + published.confirmed.len(), PATIENCE).await;
    published
}

/// From publishing to receipt, of the numbers from there on, sorted.
fn latencies(stage: &Stage, published: &Published, from: u64) -> Vec<Duration> {
    let mut first: HashMap<u64, Instant> = HashMap::new();
    for request in stage.receiver.requests_to("/small") {
        first.entry(request.json()["n"].as_u64().unwrap()).or_insert(request.at);
    }
    let counted = published.confirmed.iter().filter(|(number, _)| **number >= from);
    let mut latencies: Vec<_> = counted.map(|(n, at)| first[n].saturating_duration_since(*at)).collect();
    latencies.sort_unstable();
    latencies
}
