//! Processes that stop, are cut off, die, or lose their lease: nothing is lost, and others go on.

use std::collections::HashSet;

use longshore_core::DeliveryState;
use longshore_core::ports::DeliveryQueue;
use longshore_testkit::memory::{Fault, Op};

use super::bed::{A, B, Bed, LEASE, SECOND, host};
use super::transport::{DOWN, OK, Reply};

#[tokio::test(start_paused = true)]
async fn a_soft_stop_lets_attempts_end_and_hands_the_rest_over_at_once() {
    let bed = Bed::new();
    bed.script.on(&host(A), [Reply::Status(200, 3 * SECOND)]);
    let leaving = bed.start();
    bed.publish(A, 0..10);
    // As many as an endpoint gets of which nothing is known.
    bed.script.wait_for(2).await;

    let started = tokio::time::Instant::now();
    leaving.stop().await;

    assert!((2 * SECOND..4 * SECOND).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!((bed.script.calls().len(), bed.database.count_in(DeliveryState::Success)), (2, 2));
    assert_eq!(bed.database.count_in(DeliveryState::Scheduled), 8);
    let heir = bed.start();
    bed.until(DeliveryState::Success, 10).await;
    // At once: nobody waited for a lease.
    assert!(started.elapsed() < LEASE, "{:?}", started.elapsed());
    assert_eq!(bed.script.calls().len(), 10);
    heir.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hard_stop_cuts_attempts_off_and_loses_nothing() {
    let bed = Bed::new();
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    let process = bed.start();
    bed.publish(A, 0..30);
    bed.script.wait_for(5).await;

    let started = tokio::time::Instant::now();
    process.cut().await;

    assert!(started.elapsed() <= 2 * SECOND, "{:?}", started.elapsed());
    bed.script.on(&host(A), [OK]);
    let _heir = bed.start();
    bed.until(DeliveryState::Success, 30).await;
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_a_hard_stop_kept_from_the_record_is_found_by_the_next_process() {
    let bed = Bed::new();
    let process = bed.start();
    bed.database.plan(Op::Record, [Fault::Unavailable; 100]);
    bed.publish(A, 0..5);
    bed.script.wait_for(5).await;
    tokio::time::sleep(SECOND).await;

    // The store is back in time for the lease to be given back, but not for the outcomes.
    process.cut().await;
    bed.database.plan(Op::Record, []);

    let _heir = bed.start();
    bed.until(DeliveryState::Success, 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_does_not_keep_a_hard_stop() {
    let bed = Bed::new();
    for op in [Op::Record, Op::Waiting] {
        bed.database.plan(op, [Fault::Hang]);
    }
    let process = bed.start();
    bed.publish(A, 0..5);
    bed.script.wait_for(5).await;
    tokio::time::sleep(2 * SECOND).await;

    let cut = tokio::time::timeout(10 * SECOND, process.cut()).await;

    assert!(cut.is_ok());
    let _heir = bed.start();
    bed.until(DeliveryState::Success, 5).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_held_is_delivered_by_another_within_its_lease() {
    let bed = Bed::new();
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    bed.script.on(&host(B), [DOWN, OK]);
    let (dying, heir) = (bed.start(), bed.start());
    bed.publish(A, 0..60);
    bed.publish(B, 60..70);
    bed.script.wait_for(10).await;
    dying.kill();
    let killed = tokio::time::Instant::now();
    bed.script.on(&host(A), [OK]);

    bed.until(DeliveryState::Success, 70).await;

    // The broker's lease on what was received, or the process's on what was claimed, and retries after that.
    assert!(killed.elapsed() < 120 * SECOND, "{:?}", killed.elapsed());
    assert_eq!(bed.database.events().len(), 70);
    heir.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_lost_its_lease_sends_nothing_more_of_what_it_held() {
    let bed = Bed::new();
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    let loser = bed.start();
    bed.publish(A, 0..10);
    bed.script.wait_for(2).await;
    let old = loser.store.owner();

    bed.database.expire(old);
    // It notices at its next heartbeat; the eight in its queue are everybody's again.
    bed.wait("a new owner", |_| loser.store.owner() != old).await;
    bed.script.on(&host(A), [OK]);

    bed.until(DeliveryState::Success, 10).await;
    let bodies: Vec<_> = bed.script.calls().into_iter().map(|call| call.body).collect();
    // Those in flight when the lease was lost may arrive twice; those in the queue may not.
    assert_eq!(bodies.iter().collect::<HashSet<_>>().len(), 10);
    assert_eq!(bodies.len(), 12);
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(loser.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_valid_lease_no_attempt_is_started() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.publish(A, 0..5);
    bed.until(DeliveryState::Retry, 5).await;

    // Retries fall due, but the lease cannot be renewed.
    bed.database.plan(Op::Heartbeat, [Fault::Unavailable; 20]);
    tokio::time::sleep(3 * SECOND + LEASE).await;
    let before = bed.script.calls().len();
    tokio::time::sleep(2 * LEASE).await;
    assert_eq!(bed.script.calls().len(), before);

    bed.script.on(&host(A), [OK]);
    bed.until(DeliveryState::Success, 5).await;
    drop(process);
}
