//! Endpoints that hang, beside endpoints that do not.

use std::collections::HashMap;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;
use longshore_testkit::receiver::{Receiver, Reply};
use tokio::time::Instant;

use crate::load::{Load, Published};
use crate::stage::{Endpoint, PATIENCE, Stage, endpoint_id};

/// Endpoints that answer at once; one more is the one that hangs.
const HEALTHY: u64 = 10;
const RATE: u64 = 200;
/// Events per phase. The hanging endpoint answers first after 10 s, and its backlog leaves memory before.
const WITHOUT: usize = 2_000;
const WITH: usize = 5_000;
/// Of each phase, these first ones do not count.
const WARM_UP: u64 = 400;
/// Below this the machine decides: a debug build beside its broker, its database and the load.
const FLOOR: Duration = Duration::from_millis(100);

/// An event for the endpoint whose turn it is.
fn single(number: u64) -> Publication {
    let endpoint = endpoint_id(usize::try_from(number % (HEALTHY + 1)).unwrap());
    let body = format!(r#"{{"event_type": "a", "endpoint_id": "{endpoint}", "data": {{"n": {number}}}}}"#);
    Publication::new(body).header("x-convoy-message-type", "single")
}

/// Latencies from publishing to receipt at the healthy endpoints, sorted.
fn latencies(stage: &Stage, published: &Published, from: u64) -> Vec<Duration> {
    let mut first: HashMap<u64, Instant> = HashMap::new();
    for request in stage.receiver.requests() {
        first.entry(request.json()["n"].as_u64().unwrap()).or_insert(request.at);
    }
    let counted = published
        .confirmed
        .iter()
        .filter(|(number, _)| **number >= from && **number % (HEALTHY + 1) < HEALTHY);
    let mut latencies: Vec<Duration> =
        counted.map(|(number, at)| first[number].saturating_duration_since(*at)).collect();
    latencies.sort_unstable();
    latencies
}

async fn phase(stage: &Stage, first: u64, events: usize) -> Vec<Duration> {
    let load = Load::start(&stage.queue, RATE, move |number| single(first + number));
    let healthy = events * usize::try_from(HEALTHY).unwrap() / usize::try_from(HEALTHY + 1).unwrap();
    let before = stage.receiver.count();
    stage.receiver.wait_for(before + healthy, Duration::from_secs(120)).await;
    let mut published = load.stop().await;
    let confirmed = std::mem::take(&mut published.confirmed);
    published.confirmed = confirmed.into_iter().map(|(number, at)| (first + number, at)).collect();
    let healthy = published.confirmed.keys().filter(|number| **number % (HEALTHY + 1) < HEALTHY).count();
    stage.receiver.wait_for(before + healthy, PATIENCE).await;
    latencies(stage, &published, first + WARM_UP)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_does_not_slow_its_neighbours_down() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let eleventh = Receiver::start().await;
    let mut endpoints: Vec<Endpoint> =
        (0..HEALTHY).map(|index| Endpoint::at(stage.receiver.url(&format!("/healthy/{index}")))).collect();
    endpoints.push(Endpoint { keys: ", http_timeout: 15s", ..Endpoint::at(eleventh.url("/eleventh")) });
    stage.apply(&endpoints, &stage.queue.settings()).await;
    let mut gateway = stage.setup().start().await;

    let without = phase(&stage, 0, WITHOUT).await;
    eleventh.script("/eleventh", [Reply::default().after(Duration::from_secs(10))]);
    let with = phase(&stage, 1_000_000 * (HEALTHY + 1), WITH).await;

    let percentile = |sorted: &[Duration], p: usize| sorted[(sorted.len() * p / 100).min(sorted.len() - 1)];
    let (p99_without, p99_with) = (percentile(&without, 99), percentile(&with, 99));
    eprintln!(
        "one of eleven hangs 10 s: {} and {} events at {RATE}/s; p50 {:?} → {:?}, p99 {p99_without:?} → {p99_with:?}, \
         {} at the hanging one",
        without.len(),
        with.len(),
        percentile(&without, 50),
        percentile(&with, 50),
        eleventh.count(),
    );
    assert!(p99_with <= (2 * p99_without).max(FLOOR), "p99 {p99_without:?} without, {p99_with:?} with");
    // It earned more than it began with, and no more than its limit.
    let most = eleventh.most_in_flight();
    assert!((9..=50).contains(&most), "{most} at once");
    // The attempts in progress are waited for.
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}
