//! Breakers over the fleet: counted together, changed by one, told to all.

use std::time::Duration;

use longshore_core::breaker::{BreakerState, Shift};
use longshore_core::ports::{Breaker, BreakerBoard, BreakerCount, BreakerShift};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, OTHER, PROJECT};

const OPEN: Shift = Shift::Open(Duration::from_secs(30));

/// With a project and two endpoints.
async fn bed() -> Bed {
    let bed = Bed::new().await;
    let (project, endpoints) = (PROJECT.as_uuid(), [ENDPOINT.as_uuid(), OTHER.as_uuid()]);
    bed.run(&format!("INSERT INTO projects (id, name) VALUES ('{project}', 'p')")).await;
    for id in endpoints {
        bed.run(&format!(
            "INSERT INTO endpoints (project_id, id, name, url) VALUES ('{project}', '{id}', 'e', 'https://a.example/')"
        ))
        .await;
    }
    bed
}

async fn breaker(store: &Store) -> Breaker {
    let all = store.breakers(Some(PROJECT)).await.unwrap();
    *all.iter().find(|breaker| breaker.endpoint == ENDPOINT).unwrap()
}

async fn shift(store: &Store, version: i64, shift: Shift) -> Option<Breaker> {
    store.shift(&[BreakerShift { endpoint: ENDPOINT, version, shift }]).await.unwrap().pop()
}

fn count(version: i64, requests: u32, failures: u32) -> [BreakerCount; 1] {
    [BreakerCount { endpoint: ENDPOINT, version, requests, failures }]
}

#[tokio::test]
async fn what_processes_count_under_one_version_is_added_up() {
    let bed = bed().await;
    let (a, b) = (bed.process().await, bed.process().await);
    a.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();
    b.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();
    let Breaker { version, state, trips, .. } = breaker(&a).await;
    assert_eq!((state, trips), (BreakerState::Closed, 0));

    a.count(&count(version, 10, 8)).await.unwrap();
    let sum = b.count(&count(version, 5, 0)).await.unwrap();
    assert_eq!((sum[0].requests, sum[0].failures), (15, 8));
    let replaced = a.count(&count(version, 11, 9)).await.unwrap();
    assert_eq!((replaced[0].requests, replaced[0].failures), (16, 9));

    assert!(a.count(&count(version - 1, 99, 99)).await.unwrap().is_empty());
    bed.run("UPDATE breaker_counts SET counted_at = now() - interval '6 seconds'").await;
    let alone = b.count(&count(version, 5, 0)).await.unwrap();
    assert_eq!((alone[0].requests, alone[0].failures), (5, 0));
}

#[tokio::test]
async fn of_many_that_change_a_breaker_one_wins() {
    let bed = bed().await;
    let store = bed.process().await;
    store.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();
    let version = breaker(&store).await.version;
    let mut racers = Vec::new();
    for _ in 0..4 {
        let racer = bed.process().await;
        racers.push(tokio::spawn(async move { shift(&racer, version, OPEN).await }));
    }
    let mut winners = 0;
    for racer in racers {
        winners += usize::from(racer.await.unwrap().is_some());
    }

    assert_eq!(winners, 1);
    let found = breaker(&store).await;
    assert_eq!((found.state, found.trips), (BreakerState::Open, 1));
    assert!(found.until_in > Duration::from_secs(25) && found.until_in <= Duration::from_secs(30));
    assert_eq!(store.breaker_events(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_walk_of_a_breaker_is_on_record() {
    let bed = bed().await;
    let store = bed.process().await;
    store.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();
    let version = breaker(&store).await.version;
    assert!(shift(&store, version, Shift::Probe(Duration::from_secs(9))).await.is_none(), "it is closed");
    let open = shift(&store, version, OPEN).await.unwrap();

    assert!(shift(&store, open.version, Shift::Probe(Duration::from_secs(9))).await.is_none(), "too early");
    bed.run("UPDATE breakers SET until_at = now()").await;
    let probed = shift(&store, open.version, Shift::Probe(Duration::from_secs(9))).await.unwrap();
    assert_eq!((probed.state, probed.trips), (BreakerState::HalfOpen, 1));
    assert!(
        shift(&store, probed.version, Shift::Probe(Duration::from_secs(9))).await.is_none(),
        "somebody probes"
    );
    bed.run("UPDATE breakers SET until_at = now()").await;
    let taken_over = shift(&store, probed.version, Shift::Probe(Duration::from_secs(9))).await.unwrap();
    assert!(shift(&store, probed.version, Shift::Close).await.is_none(), "the first prober is too late");
    let again = shift(&store, taken_over.version, OPEN).await.unwrap();
    assert_eq!(again.trips, 2);
    bed.run("UPDATE breakers SET until_at = now()").await;
    let last = shift(&store, again.version, Shift::Probe(Duration::from_secs(9))).await.unwrap();
    let closed = shift(&store, last.version, Shift::Close).await.unwrap();

    assert_eq!((closed.state, closed.trips), (BreakerState::Closed, 0));
    assert!(closed.closed_for.is_some());
    let events = store.breaker_events(0, 100).await.unwrap();
    let walk: Vec<_> =
        events.iter().map(|event| (event.from.as_str(), event.to.as_str(), event.trips)).collect();
    assert_eq!(
        walk,
        [
            ("closed", "open", 1),
            ("open", "half_open", 1),
            ("half_open", "half_open", 1),
            ("half_open", "open", 2),
            ("open", "half_open", 2),
            ("half_open", "closed", 0)
        ]
    );
    assert_eq!(store.breaker_events(events[3].id, 1).await.unwrap(), events[4..5]);
}

#[tokio::test]
async fn a_breaker_that_opens_too_often_switches_its_endpoint_off() {
    let bed = bed().await;
    let store = bed.process().await;
    store.watch(&[(ENDPOINT, PROJECT), (OTHER, PROJECT)]).await.unwrap();
    let version = breaker(&store).await.version;
    let config = bed.count("SELECT version FROM config_version").await;
    let open = shift(&store, version, OPEN).await.unwrap();
    assert_eq!(
        bed.count("SELECT version FROM config_version").await,
        config,
        "that is no change of configuration"
    );

    let disabled = shift(&store, open.version, Shift::Disable).await.unwrap();

    assert_eq!((disabled.state, disabled.trips, disabled.closed_for), (BreakerState::Closed, 0, None));
    let off = "SELECT count(*) FROM endpoints WHERE status = 'inactive' AND status_reason = 'breaker' \
               AND status_changed_at IS NOT NULL";
    assert_eq!(bed.count(off).await, 1);
    assert!(bed.count("SELECT version FROM config_version").await > config, "everybody is told");
    let events = store.breaker_events(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.is_disabled).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn what_a_breaker_does_is_told_once_to_who_wants_to_know() {
    let bed = bed().await;
    bed.run(
        r#"UPDATE projects SET settings = '{"meta_events": {"enabled": true, "url": "https://a.example/"}}'"#,
    )
    .await;
    let store = bed.process().await;
    store.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();
    let version = breaker(&store).await.version;

    let open = shift(&store, version, OPEN).await.unwrap();
    bed.run("UPDATE breakers SET until_at = now()").await;
    let probed = shift(&store, open.version, Shift::Probe(Duration::from_secs(9))).await.unwrap();
    let again = shift(&store, probed.version, OPEN).await.unwrap();
    bed.run("UPDATE breakers SET until_at = now()").await;
    let last = shift(&store, again.version, Shift::Probe(Duration::from_secs(9))).await.unwrap();
    let closed = shift(&store, last.version, Shift::Close).await.unwrap();
    shift(&store, closed.version, Shift::Disable).await.unwrap();

    let told: Vec<(String, serde_json::Value)> =
        sqlx::query_as("SELECT event_type, data FROM meta_events ORDER BY id")
            .fetch_all(&bed.sql)
            .await
            .unwrap();
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["breaker.opened", "breaker.closed", "endpoint.disabled"]);
    assert_eq!(told[0].1["breaker"], serde_json::json!({"state": "open", "trips": 1}));
    assert_eq!(told[0].1["name"], "e");
    assert_eq!(told[2].1["status_reason"], "breaker");
}

#[tokio::test]
async fn whoever_follows_gets_every_change_once() {
    let bed = bed().await;
    let (a, b) = (bed.process().await, bed.process().await);
    let nothing = b.breaker_changes(0).await.unwrap();
    assert!(nothing.breakers.is_empty());

    a.watch(&[(ENDPOINT, PROJECT), (OTHER, PROJECT)]).await.unwrap();
    let both = b.breaker_changes(nothing.version).await.unwrap();
    assert_eq!(both.breakers.len(), 2);
    shift(&a, both.version, OPEN).await.unwrap();
    let one = b.breaker_changes(both.version).await.unwrap();
    assert_eq!(one.breakers.iter().map(|breaker| breaker.endpoint).collect::<Vec<_>>(), [ENDPOINT]);
    assert!(b.breaker_changes(one.version).await.unwrap().breakers.is_empty());

    // Watching again tells everybody again, but not while they are being told.
    a.watch(&[(OTHER, PROJECT)]).await.unwrap();
    assert!(b.breaker_changes(one.version).await.unwrap().breakers.is_empty());
    bed.run("UPDATE breakers SET changed_at = now() - interval '1 minute'").await;
    a.watch(&[(ENDPOINT, PROJECT), (OTHER, PROJECT)]).await.unwrap();
    let again = b.breaker_changes(one.version).await.unwrap();
    assert_eq!(again.breakers.iter().map(|breaker| breaker.endpoint).collect::<Vec<_>>(), [OTHER]);
}

#[tokio::test]
async fn breakers_go_with_their_endpoints_and_old_ones_are_swept() {
    let bed = bed().await;
    let store = bed.process().await;
    store.watch(&[(ENDPOINT, PROJECT), (OTHER, PROJECT)]).await.unwrap();
    let version = breaker(&store).await.version;
    shift(&store, version, OPEN).await.unwrap();

    store.sweep_breakers(Duration::ZERO).await.unwrap();
    assert_eq!(bed.count("SELECT count(*) FROM breakers").await, 1, "what is open stays");
    assert_eq!(bed.count("SELECT count(*) FROM breaker_events").await, 0);
    bed.run(&format!("DELETE FROM endpoints WHERE id = '{}'", ENDPOINT.as_uuid())).await;
    store.watch(&[(ENDPOINT, PROJECT)]).await.unwrap();

    assert!(store.breakers(None).await.unwrap().is_empty());
}
