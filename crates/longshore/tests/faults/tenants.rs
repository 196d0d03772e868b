//! Two tenants on one gateway, of which one sends nine tenths of everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_testkit::broker::{BrokerKind, Queue};
use tokio::time::Instant;

use crate::bare::Bare;
use crate::brokers::on;
use crate::load::{Load, Published, broadcast};
use crate::record;
use crate::stage::{Endpoint, PATIENCE, Stage, project};

/// Below this the machine decides: a debug build beside its broker, its database and the load.
const FLOOR: Duration = Duration::from_millis(100);
/// Numbers of the large tenant begin here, and those of the small one's second phase at half of it.
const LARGE: u64 = 1_000_000;
/// Numbers of what does not count begin here.
const WARM_UP: u64 = 10 * LARGE;
/// Events of the small tenant in each phase.
const EVENTS: usize = 200;

on!(a_tenant_with_nine_tenths_of_the_load_does_not_slow_the_other_down: rabbitmq, kafka, sqs, pubsub);

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

    // What is measured is not how consumers begin: members of a group on Kafka join one after the other, and its
    // partitions stand still meanwhile.
    let (small_rate, large_rate) = rates(kind);
    let load = Load::start(&large, large_rate, |number| broadcast(LARGE + number));
    let mut published = phase(&stage, WARM_UP, small_rate, EVENTS / 2).await;
    let mut of_large = load.stop().await.numbered_from(LARGE);
    let sent = of_large.confirmed.len();
    stage.receiver.wait_for_path("/large", sent, PATIENCE).await;

    let first = phase(&stage, 0, small_rate, EVENTS).await;
    let alone = latencies(&stage, &first);
    let load = Load::start(&large, large_rate, |number| broadcast(2 * LARGE + number));
    // One process serves every queue of SQS: how much of the delay is its
    // own and the machine's, a client without a gateway tells.
    let bare = match kind {
        BrokerKind::Sqs => Some(Bare::start(small_rate).await),
        _ => None,
    };
    let second = phase(&stage, LARGE / 2, small_rate, EVENTS).await;
    let beside = latencies(&stage, &second);
    let beside_it = load.stop().await.numbered_from(2 * LARGE);
    let bare = match bare {
        Some(bare) => bare.stop().await,
        None => Vec::new(),
    };
    let share = 100 * beside_it.confirmed.len() / (beside_it.confirmed.len() + second.confirmed.len());
    of_large.extend(beside_it);
    for phase in [first, second, of_large] {
        published.extend(phase);
    }
    stage.settle(published.confirmed.len(), PATIENCE).await;

    let p99 = |sorted: &[Duration]| sorted[sorted.len() * 99 / 100];
    let (alone, beside) = (p99(&alone), p99(&beside));
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    assert_eq!(large.left().await, 0, "everything is acknowledged");
    let bare = if bare.is_empty() { Duration::ZERO } else { p99(&bare) };
    let without = if bare.is_zero() { String::new() } else { format!(", {bare:.1?} without a gateway") };
    let note = format!(
        "{share} % by one tenant; p99 of the other {alone:.1?} alone, {beside:.1?} beside it{without}"
    );
    let verdict = tally.pass(&stage, record::TENANT, note);
    assert!(share >= 85, "{share} %");
    assert!(
        beside <= (2 * alone.max(bare)).max(FLOOR),
        "p99 {alone:?} alone, {beside:?} beside the large one, {bare:?} there without a gateway"
    );
    stage.queue.remove().await;
    large.remove().await;
    verdict.append();
}

/// Events per second of the small and of the large one: few enough that the machine is not what is measured. For one
/// event by itself the debug build of the client of SQS uses 3 ms of a core, and its server 2 ms.
const fn rates(kind: BrokerKind) -> (u64, u64) {
    match kind {
        BrokerKind::Sqs => (10, 100),
        _ => (30, 250),
    }
}

/// The small tenant sends so many events, which arrive.
async fn phase(stage: &Stage, first: u64, rate: u64, events: usize) -> Published {
    let before = stage.receiver.count_to("/small");
    let load = Load::start(&stage.queue, rate, move |number| broadcast(first + number));
    stage.receiver.wait_for_path("/small", before + events, PATIENCE).await;
    let published = load.stop().await.numbered_from(first);
    stage.receiver.wait_for_path("/small", before + published.confirmed.len(), PATIENCE).await;
    published
}

/// From publishing to receipt, sorted.
fn latencies(stage: &Stage, published: &Published) -> Vec<Duration> {
    let mut first: HashMap<u64, Instant> = HashMap::new();
    for request in stage.receiver.requests_to("/small") {
        first.entry(request.json()["n"].as_u64().unwrap()).or_insert(request.at);
    }
    let latency = |(n, at): (&u64, &Instant)| first[n].saturating_duration_since(*at);
    let mut latencies: Vec<_> = published.confirmed.iter().map(latency).collect();
    latencies.sort_unstable();
    latencies
}
