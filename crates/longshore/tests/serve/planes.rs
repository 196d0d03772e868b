//! The two planes apart: what each serves, and that the one that delivers does not need the other.

use std::time::Duration;

use longshore_testkit::database::count;
use longshore_testkit::gateway::{Gateway, Setup};
use longshore_testkit::receiver::Receiver;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::bed::{ENDPOINT, PATIENCE, PROJECT, Traffic, ask, get, post, setup, subscribe};
use crate::support::{API_KEY, Database, longshore};

const EVENT: &str = r#"{"event_type": "a", "data": 1}"#;

fn role(database: &Database, role: &str) -> Setup {
    setup(database).arg("--role").arg(role)
}

async fn prepared() -> (Database, Receiver) {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    (database, receiver)
}

/// A request with the project's key; gives status and head.
async fn asked(gateway: &Gateway, method: &str, path: &str, body: &str) -> (u16, String) {
    let request = format!(
        "{method} /api/v1/projects/{PROJECT}{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, head, _) = ask(&gateway.url("/"), &request).await;
    (status, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_plane_serves_its_own_and_nothing_of_the_other() {
    let (database, receiver) = prepared().await;
    let (control, data) = (role(&database, "control").start().await, role(&database, "data").start().await);

    assert_eq!(post(&data.url("/"), EVENT).await, 201);
    receiver.wait_for(1, PATIENCE).await;
    assert_eq!(asked(&data, "GET", "", "").await.0, 404, "no API in the data plane");
    assert_eq!(get(&data, "/api/v1/openapi.json").await.0, 404);
    assert_eq!(asked(&control, "GET", "", "").await.0, 200);
    assert_eq!(get(&control, "/api/v1/openapi.json").await.0, 200);
    let refused = post(&control.url("/"), EVENT).await;
    assert!([404, 405].contains(&refused), "no ingest in the control plane: {refused}");
    for (gateway, path) in
        [(&data, "/healthz"), (&data, "/egress-ips"), (&control, "/healthz"), (&control, "/none")]
    {
        let (_, head, _) = get(gateway, path).await;
        assert!(head.contains("\nx-request-id: "), "{path}: {head}");
    }
    let (_, head) = asked(&data, "POST", "/events/broadcast", EVENT).await;
    assert!(head.contains("\nx-request-id: ") && head.contains("\nx-convoy-version: 2025-11-24"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_control_plane_is_noticed_by_no_producer_and_no_endpoint() {
    let (database, receiver) = prepared().await;
    let mut control = role(&database, "control").start().await;
    let data = role(&database, "data").start().await;
    // It asserts that every answer is a 201.
    let traffic = Traffic::start(&[&data]);
    receiver.wait_for(50, PATIENCE).await;

    control.kill_9().await;
    let killed = receiver.count();
    receiver.wait_for(killed + 200, PATIENCE).await;

    let accepted = traffic.stop().await;
    receiver.wait_for(accepted, PATIENCE).await;
    assert_eq!(count(database.inner(), "SELECT count(*) FROM events").await, accepted as i64);
    assert_eq!(receiver.count(), accepted, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_control_plane_does_the_upkeep_and_the_other_takes_over() {
    let (database, _receiver) = prepared().await;
    let (mut one, two) = (role(&database, "control").start().await, role(&database, "control").start().await);
    let leads = async |gateway: &Gateway| {
        let metrics = gateway.get("/metrics").await.map(|(_, body)| body).unwrap_or_default();
        metrics.contains("maintenance_is_leader{duty=\"maintenance\"} 1")
    };
    let until = async |gateway: &Gateway| {
        let asked = timeout(PATIENCE, async {
            while !leads(gateway).await {
                sleep(Duration::from_millis(50)).await; // another process gives no signal
            }
        });
        asked.await.expect("it leads");
    };
    until(&one).await;
    assert!(!leads(&two).await);
    let holder = || async {
        let query = "SELECT holder::text FROM leaderships WHERE duty = 'maintenance' AND held_until > now()";
        let pool = sqlx::PgPool::connect_with(database.inner().options()).await.unwrap();
        let holders: Vec<String> = sqlx::query_scalar(query).fetch_all(&pool).await.unwrap();
        holders
    };
    let first = holder().await;
    let expired = "INSERT INTO idempotent_requests (id, hash, request, started_at) \
                   VALUES (gen_random_uuid(), 'h', 'r', now() - interval '2 days')";
    let pool = sqlx::PgPool::connect_with(database.inner().options()).await.unwrap();
    sqlx::query(expired).execute(&pool).await.unwrap();

    one.kill_9().await;
    let killed = Instant::now();
    until(&two).await;

    assert!(killed.elapsed() < Duration::from_secs(15), "taken over after {:?}", killed.elapsed());
    let second = holder().await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    let swept = timeout(PATIENCE, async {
        while count(database.inner(), "SELECT count(*) FROM idempotent_requests").await > 0 {
            sleep(Duration::from_millis(50)).await; // another process gives no signal
        }
    });
    swept.await.expect("who leads does the upkeep at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_the_api_reaches_every_data_plane_within_a_second() {
    let (database, old) = prepared().await;
    let data = [role(&database, "data").start().await, role(&database, "data").start().await];
    let control = role(&database, "control").start().await;
    let new = Receiver::start().await;

    let body = json!({"url": new.url("/hook")}).to_string();
    assert_eq!(asked(&control, "PUT", &format!("/endpoints/{ENDPOINT}"), &body).await.0, 202);
    sleep(Duration::from_secs(1)).await; // the time that is promised

    for gateway in &data {
        for _ in 0..5 {
            assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
        }
    }
    new.wait_for(10, PATIENCE).await;
    assert_eq!(old.count(), 0);
}
