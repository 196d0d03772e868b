//! An endpoint that is down for its first three attempts.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::free_addr;
use longshore_testkit::receiver::{Receiver, Reply};

use crate::load::broadcast;
use crate::stage::{Endpoint, PATIENCE, Stage};

const RETRY: &str = ", retry: {type: list, delays: [500ms, 1s, 2s]}";
const DELAYS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// How much later than scheduled an attempt may start.
const LATE: Duration = Duration::from_millis(500);
const ENDPOINTS: usize = 5;

/// An attempt on record: its number, when it started and ended in microseconds, how, and what followed.
type Attempt = (i16, i64, i64, String, String);

/// Asserts that every delivery succeeded at its fourth attempt, and each attempt was made when it was due.
async fn assert_on_schedule(stage: &Stage, deliveries: usize, outcome: &str) {
    let done: Vec<(String, i16)> =
        sqlx::query_as("SELECT state, attempt_count FROM deliveries").fetch_all(&stage.pool).await.unwrap();
    assert_eq!(done, vec![("Success".to_owned(), 4); deliveries]);
    let query = "SELECT number, (extract(epoch FROM started_at) * 1000000)::bigint, \
                 (extract(epoch FROM started_at) * 1000000)::bigint + duration_us, outcome, next_state \
                 FROM attempts ORDER BY delivery_id, number";
    let attempts: Vec<Attempt> = sqlx::query_as(query).fetch_all(&stage.pool).await.unwrap();
    assert_eq!(attempts.len(), 4 * deliveries);
    let mut latest = Duration::ZERO;
    for delivery in attempts.chunks(4) {
        assert_eq!(delivery.iter().map(|attempt| attempt.0).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let outcomes: Vec<_> = delivery.iter().map(|a| (a.3.as_str(), a.4.as_str())).collect();
        let failed = (outcome, "Retry");
        assert_eq!(outcomes, [failed, failed, failed, ("success", "Success")]);
        for (pair, delay) in delivery.windows(2).zip(DELAYS) {
            let waited = Duration::from_micros(u64::try_from(pair[1].1 - pair[0].2).unwrap());
            let late = waited.checked_sub(delay);
            assert!(
                late.is_some_and(|late| late <= LATE),
                "attempt {}: {waited:?} after a failure",
                pair[1].0
            );
            latest = latest.max(late.unwrap());
        }
    }
    eprintln!("{deliveries} deliveries at the fourth attempt after `{outcome}`: at most {latest:?} late");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_errors_and_then_success_are_on_schedule_and_on_record() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let path = |index| format!("/e{index}");
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS)
        .map(|index| Endpoint { subscription: RETRY, ..Endpoint::at(stage.receiver.url(&path(index))) })
        .collect();
    for index in 0..ENDPOINTS {
        let down = Reply::status(500);
        stage.receiver.script(&path(index), [down.clone(), down.clone(), down, Reply::status(200)]);
    }
    stage.apply(&endpoints, &stage.queue.settings()).await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish([broadcast(0)]).await;

    stage.receiver.wait_for(4 * ENDPOINTS, PATIENCE).await;
    stage.settle(1, PATIENCE).await;

    assert_on_schedule(&stage, ENDPOINTS, "server_error").await;
    for index in 0..ENDPOINTS {
        let requests = stage.receiver.requests_to(&path(index));
        for (pair, delay) in requests.windows(2).zip(DELAYS) {
            let waited = pair[1].at - pair[0].at;
            assert!(waited >= delay && waited <= delay + LATE, "{waited:?} between two requests");
        }
    }
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_comes_up_after_three_refused_connections_gets_its_event_on_schedule() {
    const DELIVERIES: usize = 5;
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let addr = free_addr();
    let endpoint = Endpoint { subscription: RETRY, ..Endpoint::at(format!("http://{addr}/hook")) };
    stage.apply(&[endpoint], &stage.queue.settings()).await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish((0..DELIVERIES as u64).map(broadcast)).await;

    stage.count_reaches("SELECT count(*) FROM attempts", 3 * DELIVERIES as i64).await;
    let receiver = Receiver::start_at(addr).await;
    receiver.wait_for(DELIVERIES, PATIENCE).await;
    stage.settle(DELIVERIES, PATIENCE).await;

    assert_on_schedule(&stage, DELIVERIES, "connect").await;
    assert_eq!(receiver.count(), DELIVERIES);
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}
