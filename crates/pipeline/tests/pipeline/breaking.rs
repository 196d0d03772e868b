//! Circuit breakers: what opens and closes them, what waits meanwhile, and who finds out.

use std::time::Duration;

use longshore_core::breaker::{BreakerSettings, BreakerState};
use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::{DeliveryState, EndpointId};
use longshore_testkit::memory::MemoryDatabase;
use tokio::time::Instant;

use super::bed::{A, B, Bed, SECOND, endpoint, guarded, host, with};
use super::transport::{DOWN, OK, Reply};

fn settings() -> BreakerSettings {
    BreakerSettings::default()
}

fn wide(id: EndpointId) -> Endpoint {
    with(endpoint(id), |endpoint| endpoint.max_concurrency = 31)
}

fn bed(settings: BreakerSettings) -> Bed {
    let bed = Bed::with(vec![wide(A), wide(B)]);
    bed.configure_project(guarded(settings), vec![wide(A), wide(B)], 1);
    bed
}

fn is(database: &MemoryDatabase, state: BreakerState, trips: u32) -> bool {
    database.breaker(A).is_some_and(|breaker| (breaker.state, breaker.trips) == (state, trips))
}

async fn becomes(bed: &Bed, state: BreakerState, trips: u32) {
    bed.wait(&format!("{state:?} after {trips}"), |database| is(database, state, trips)).await;
}

#[tokio::test(start_paused = true)]
async fn the_whole_walk_of_a_breaker_counts_no_attempt_while_it_is_open_and_loses_nothing() {
    let bed = bed(settings());
    let processes = [bed.start(), bed.start()];
    bed.script.on(&host(A), [DOWN]);

    bed.publish(A, 0..20);
    becomes(&bed, BreakerState::Open, 1).await;
    let opened = Instant::now();
    // Within a poll everybody knows.
    tokio::time::sleep(SECOND).await;
    let before = bed.script.calls_to(&host(A)).len();
    bed.publish(A, 20..100);
    bed.publish(B, 100..150);
    bed.until(DeliveryState::Success, 50).await;
    tokio::time::sleep((opened + 29 * SECOND) - Instant::now()).await;
    assert_eq!(bed.script.calls_to(&host(A)).len(), before, "an open breaker's endpoint is left alone");
    assert!(processes.iter().all(|process| process.ledger.held() == (0, 0)), "and fills no memory");

    becomes(&bed, BreakerState::Open, 2).await;
    let again = Instant::now();
    let probes = bed.script.calls_to(&host(A)).len() - before;
    assert_eq!(probes, 5);
    bed.script.on(&host(A), [Reply::Status(200, SECOND / 10)]);
    tokio::time::sleep(29 * SECOND).await;
    assert_eq!(bed.script.calls_to(&host(A)).len(), before + probes);
    becomes(&bed, BreakerState::Closed, 0).await;
    let closed = Instant::now();
    assert!(closed - again < 32 * SECOND, "{:?}", closed - again);
    bed.until(DeliveryState::Success, 150).await;

    // A ramp: two processes send one at a time at first, and more and more.
    let after: Vec<_> = bed.script.calls_to(&host(A)).into_iter().filter(|call| call.at > closed).collect();
    let first = after.iter().filter(|call| call.at < closed + SECOND).count();
    assert!(first <= 30, "{first} in the first second");
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts <= 4));
    assert_eq!(bed.database.count_in(DeliveryState::Success), 150);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_endpoint_costs_no_call_and_a_few_failures_open_nothing() {
    let bed = bed(settings());
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN, OK]);

    bed.publish(B, 0..100);
    bed.until(DeliveryState::Success, 100).await;
    tokio::time::sleep(10 * SECOND).await;
    assert!(bed.database.breaker(B).is_none());
    assert_eq!(bed.database.calls(longshore_testkit::memory::Op::Count), 0);

    bed.publish(A, 100..200);
    bed.until(DeliveryState::Success, 200).await;
    tokio::time::sleep(60 * SECOND).await;

    assert!(bed.database.breaker(A).is_none_or(|breaker| breaker.trips == 0));
}

#[tokio::test(start_paused = true)]
async fn what_works_from_another_process_keeps_the_breaker_closed() {
    // One process cannot reach the endpoint; the other one sends most and can.
    let bed = bed(settings());
    let healthy = bed.start();
    bed.publish(A, 0..100);
    bed.until(DeliveryState::Success, 100).await;
    let cut_off = Bed {
        script: super::transport::Script::new(),
        broker: longshore_source::memory::MemoryBroker::new(30 * SECOND),
        seed: 77.into(),
        database: bed.database.clone(),
        clock: bed.clock,
        ledger: bed.ledger,
        attempts: bed.attempts,
        config: tokio::sync::watch::Sender::new(bed.config.borrow().clone()),
    };
    cut_off.script.set_down(true);
    let lonely = cut_off.start();
    for n in 0..30 {
        cut_off.broker.publish(super::bed::message(A, 1_000 + n, &bed.clock));
    }

    bed.wait("every attempt of one process, and more", |database| {
        cut_off.script.calls().len() >= 60 || database.count_in(DeliveryState::Success) == 130
    })
    .await;
    tokio::time::sleep(10 * SECOND).await;

    let breaker = bed.database.breaker(A).unwrap();
    assert_eq!((breaker.state, breaker.trips), (BreakerState::Closed, 0));
    drop((healthy, lonely));
}

#[tokio::test(start_paused = true)]
async fn a_prober_that_dies_is_replaced() {
    let bed = bed(settings());
    let first = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.publish(A, 0..20);
    becomes(&bed, BreakerState::Open, 1).await;
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    becomes(&bed, BreakerState::HalfOpen, 1).await;
    first.kill();
    let died = Instant::now();
    bed.script.on(&host(A), [OK]);

    let _second = bed.start();
    becomes(&bed, BreakerState::Closed, 0).await;
    bed.until(DeliveryState::Success, 20).await;

    assert!(died.elapsed() < 60 * SECOND, "{:?}", died.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_turned_off_lets_go_what_it_held_back() {
    let bed = bed(settings());
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.publish(A, 0..20);
    becomes(&bed, BreakerState::Open, 1).await;
    bed.publish(A, 20..40);
    bed.script.on(&host(A), [OK]);
    tokio::time::sleep(SECOND).await;

    let off = BreakerSettings { enabled: false, ..settings() };
    bed.configure_project(guarded(off), vec![wide(A), wide(B)], 2);
    let changed = Instant::now();
    bed.until(DeliveryState::Success, 40).await;

    assert!(changed.elapsed() < 6 * SECOND, "{:?}", changed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_open_breaker_is_discarded_when_its_endpoint_is_switched_off() {
    let bed = bed(settings());
    let process = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.publish(A, 0..20);
    becomes(&bed, BreakerState::Open, 1).await;
    bed.publish(A, 20..40);
    tokio::time::sleep(SECOND).await;

    let off = with(wide(A), |endpoint| endpoint.status = EndpointStatus::Inactive);
    bed.configure_project(guarded(settings()), vec![off], 2);
    bed.until(DeliveryState::Discarded, 40).await;

    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_only_asks_for_patience_has_no_breaker() {
    let bed = bed(settings());
    let _process = bed.start();
    bed.script.on(&host(A), [Reply::Status(429, Duration::ZERO)]);

    bed.publish(A, 0..50);
    tokio::time::sleep(20 * SECOND).await;

    assert!(bed.database.breaker(A).is_none());
}
