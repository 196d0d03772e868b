//! A thousand endpoints, of which fifty hang and fifty fail: what the others notice.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::publication::Publication;
use longshore_testkit::receiver::Reply;
use tokio::time::Instant;

use crate::brokers::on;
use crate::load::Load;
use crate::stage::{API_KEY, PATIENCE, PROJECT, Stage, metric};

const ENDPOINTS: u64 = 1_000;
/// The first of them hang, and as many after those fail.
const HANG: u64 = 50;
const FAIL: u64 = 50;
/// What waits for each of those when the load goes on.
const BACKLOG: u64 = 50;
/// Events a second to the healthy ones in turn; few enough that the machine is not what is measured.
const RATE: u64 = 150;
/// Of each phase.
const EVENTS: usize = 3_000;
/// Below this the machine decides: a debug build beside its broker, its database and the load.
const FLOOR: Duration = Duration::from_millis(100);
/// How much the resident memory may grow while attempts hang and retries go round.
const GROWTH_KIB: u64 = 20 * 1024;
/// A quarter of the gateway's slots: what hanging endpoints may hold, for there are so few slots here.
const SLOTS: u64 = 256;
/// Numbers of the second phase begin here, and those of the backlog at twice it.
const SECOND: u64 = 1_000_000;

on!(nine_hundred_healthy_endpoints_do_not_notice_fifty_that_hang_and_fifty_that_fail: rabbitmq);

async fn nine_hundred_healthy_endpoints_do_not_notice_fifty_that_hang_and_fifty_that_fail(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.receiver.script("/hang", [Reply::hang()]);
    stage.receiver.script("/fail", [Reply::status(500)]);
    stage.apply_text(&resources(&stage)).await;
    let mut gateway =
        stage.setup().env("LONGSHORE__DISPATCH__MAX_IN_FLIGHT", SLOTS.to_string()).start().await;

    // Once round, so that what is measured is not how long things take to begin.
    stage.queue.publish((HANG + FAIL..ENDPOINTS).map(|number| event(number, number))).await;
    stage.receiver.wait_for_path("/fine", (ENDPOINTS - HANG - FAIL) as usize, PATIENCE).await;
    let alone = phase(&stage, SECOND / 2).await;

    let bad = (0..HANG + FAIL).flat_map(|endpoint| (0..BACKLOG).map(move |n| (endpoint, n)));
    let bad = bad.map(|(endpoint, n)| event(endpoint, 2 * SECOND + endpoint * BACKLOG + n));
    stage.queue.publish(bad).await;
    stage.receiver.wait_for_path("/hang", HANG as usize, PATIENCE).await;
    stage.receiver.wait_for_path("/fail", (FAIL * BACKLOG) as usize, PATIENCE).await;
    let before = gateway.usage().rss_kib;
    let (beside, seen) = watched(&gateway, phase(&stage, SECOND)).await;

    let p99 = |latencies: &[Duration]| latencies[latencies.len() * 99 / 100];
    let (alone, beside) = (p99(&alone), p99(&beside));
    eprintln!(
        "p99 of {} healthy endpoints {alone:.1?} alone, {beside:.1?} beside {HANG} that hang and {FAIL} that fail; \
         {} requests hung and {} failed; at most {} of {SLOTS} slots in the slow lane; resident {} KiB before and {} at most",
        ENDPOINTS - HANG - FAIL,
        stage.receiver.count_to("/hang"),
        stage.receiver.count_to("/fail"),
        seen.slow,
        before,
        seen.resident
    );
    assert!(beside <= (2 * alone).max(FLOOR), "p99 {alone:?} alone, {beside:?} beside the others");
    assert!(seen.slow <= SLOTS as f64 / 4.0, "{} slots are held in the slow lane", seen.slow);
    assert!(seen.resident <= before + GROWTH_KIB, "memory grew from {before} to {} KiB", seen.resident);
    stage.depth_is(0).await;
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0), "the gateway stops with success");
    stage.queue.remove().await;
}

/// What a gateway showed at its most.
#[derive(Debug, Default)]
struct Seen {
    resident: u64,
    /// Slots of endpoints that were slow or unknown.
    slow: f64,
}

/// Runs something and looks at the gateway meanwhile.
async fn watched<T>(gateway: &Gateway, what: impl Future<Output = T>) -> (T, Seen) {
    let mut seen = Seen::default();
    let mut what = Box::pin(what);
    loop {
        tokio::select! {
            result = &mut what => return (result, seen),
            () = tokio::time::sleep(Duration::from_millis(200)) => {} // samples
        }
        seen.resident = seen.resident.max(gateway.usage().rss_kib);
        seen.slow = seen.slow.max(metric(gateway, "dispatch_slow_attempts_in_flight").await);
    }
}

/// The healthy endpoints get events in turn, which arrive; how long each took, sorted. Numbers begin at `first`.
async fn phase(stage: &Stage, first: u64) -> Vec<Duration> {
    let before = stage.receiver.count_to("/fine");
    let healthy = ENDPOINTS - HANG - FAIL;
    let load = Load::start(&stage.queue, RATE, move |n| event(HANG + FAIL + n % healthy, first + n));
    stage.receiver.wait_for_path("/fine", before + EVENTS, PATIENCE).await;
    let published = load.stop().await;
    stage.receiver.wait_for_path("/fine", before + published.confirmed.len(), PATIENCE).await;

    let mut arrived: HashMap<u64, Instant> = HashMap::new();
    for request in stage.receiver.requests_to("/fine") {
        arrived.entry(request.json()["n"].as_u64().unwrap()).or_insert(request.at);
    }
    let took = |(n, at): (&u64, &Instant)| arrived[&(first + n)].saturating_duration_since(*at);
    let mut latencies: Vec<_> = published.confirmed.iter().map(took).collect();
    latencies.sort_unstable();
    latencies
}

/// An event with that number for that endpoint alone.
fn event(endpoint: u64, number: u64) -> Publication {
    let id = endpoint_id(endpoint);
    Publication::new(format!(
        r#"{{"endpoint_id": "{id}", "event_type": "fault.test", "data": {{"n": {number}}}}}"#
    ))
}

fn endpoint_id(endpoint: u64) -> String {
    format!("01JD0000000000000000{endpoint:06}")
}

/// The endpoints; those that hang have a short deadline, so that many retries go round.
fn resources(stage: &Stage) -> String {
    let mut endpoints = String::new();
    let mut subscriptions = String::new();
    for endpoint in 0..ENDPOINTS {
        let (path, keys) = match endpoint {
            n if n < HANG => ("/hang", ", http_timeout: 3s"),
            n if n < HANG + FAIL => ("/fail", ""),
            _ => ("/fine", ""),
        };
        let (id, url) = (endpoint_id(endpoint), stage.receiver.url(path));
        writeln!(endpoints, "      - {{name: e{endpoint}, id: {id}, url: '{url}', secret: s{keys}}}")
            .unwrap();
        writeln!(
            subscriptions,
            "      - {{name: s{endpoint}, endpoint: e{endpoint}, retry: {{type: linear, delay: 10s, attempts: 100, jitter: 0.2}}}}"
        )
        .unwrap();
    }
    let (kind, settings) = (stage.queue.kind().as_str(), stage.settings());
    format!(
        "projects:\n  - name: shop\n    id: {PROJECT}\n    api_keys: [{{name: k, key: {API_KEY}}}]\n    \
         endpoints:\n{endpoints}    subscriptions:\n{subscriptions}    sources:\n      \
         - {{name: q, kind: {kind}, workers: 2, {kind}: {settings}}}\n"
    )
}
