//! Rate limits: of endpoints, over all processes, and of what a project takes in.

use std::time::Duration;

use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::{DeliveryState, RateLimit};
use longshore_testkit::memory::{Fault, Op};
use tokio::time::Instant;

use super::bed::{A, B, Bed, SECOND, endpoint, host, project, retries, with};
use super::transport::Call;

fn limited(count: u32, per: Duration) -> Endpoint {
    with(endpoint(A), |endpoint| {
        endpoint.settings.rate_limit = Some(RateLimit::new(count, per).unwrap());
        endpoint.max_concurrency = 50;
    })
}

/// The most calls in any window of that length.
fn most_in(calls: &[Call], window: Duration) -> usize {
    (0..calls.len())
        .map(|first| calls[first..].iter().take_while(|call| call.at - calls[first].at < window).count())
        .max()
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_gets_no_more_than_its_limit_in_any_window_and_nearly_all_of_it() {
    let bed = Bed::with(vec![limited(50, SECOND), endpoint(B)]);
    let process = bed.start();
    let start = Instant::now();

    bed.publish(A, 0..500);
    bed.publish(B, 500..600);
    bed.wait("the other endpoint", |_| bed.script.calls_to(&host(B)).len() == 100).await;
    assert!(start.elapsed() < 4 * SECOND, "an endpoint's limit is nobody else's: {:?}", start.elapsed());
    bed.until(DeliveryState::Success, 600).await;

    let calls = bed.script.calls_to(&host(A));
    let most = most_in(&calls, SECOND);
    assert!((47..=50).contains(&most), "{most} in a second");
    let took = calls[499].at - calls[0].at;
    assert!(took < 11 * SECOND, "{took:?} for ten seconds' worth");
    // What did not fit into memory is found by the first poll, a second after the start.
    let under_way = calls.iter().filter(|call| call.at > calls[0].at + 2 * SECOND).collect::<Vec<_>>();
    let gaps = under_way.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
    assert!(gaps < SECOND / 10, "not smooth: {gaps:?}");
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
    // About once a second for the limited endpoint, not once for each request.
    assert!(bed.database.calls(Op::TakeSlots) <= 40, "{} requests", bed.database.calls(Op::TakeSlots));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn processes_share_one_limit() {
    let bed = Bed::with(vec![limited(40, SECOND)]);
    let _processes = [bed.start(), bed.start(), bed.start()];

    bed.publish(A, 0..400);
    bed.until(DeliveryState::Success, 400).await;

    let calls = bed.script.calls();
    let most = most_in(&calls, SECOND);
    assert!(calls.len() == 400 && (38..=40).contains(&most), "{} sent, {most} in a second", calls.len());
    let took = calls[399].at - calls[0].at;
    assert!(took < 11 * SECOND, "{took:?} for ten seconds' worth");
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_for_a_slow_limit_waits_in_postgres() {
    let bed = Bed::with(vec![limited(4, 60 * SECOND)]);
    let process = bed.start();
    let start = Instant::now();

    bed.publish(A, 0..20);
    bed.wait("all stored", |database| database.deliveries().len() == 20).await;
    let mut held = 0;
    while bed.database.count_in(DeliveryState::Success) < 20 {
        held = held.max(process.ledger.held().0);
        tokio::time::sleep(SECOND).await;
        assert!(start.elapsed() < 330 * SECOND, "{} sent", bed.script.calls().len());
    }

    let calls = bed.script.calls();
    assert_eq!((calls.len(), most_in(&calls, 60 * SECOND)), (20, 4));
    assert!(held <= 2, "{held} held in memory");
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_counts_within_a_second() {
    let bed = Bed::with(vec![limited(1, 3_600 * SECOND)]);
    let _process = bed.start();
    bed.publish(A, 0..100);
    bed.until(DeliveryState::Success, 1).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(bed.script.calls().len(), 1);

    bed.configure(vec![limited(100, SECOND)], 1);
    let changed = Instant::now();
    bed.until(DeliveryState::Success, 51).await;
    assert!(changed.elapsed() < 2 * SECOND, "{:?}", changed.elapsed());
    bed.configure(vec![with(limited(1, SECOND), |endpoint| endpoint.settings.rate_limit = None)], 2);
    let lifted = Instant::now();
    bed.until(DeliveryState::Success, 100).await;

    assert!(lifted.elapsed() < 2 * SECOND, "{:?}", lifted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_begins_holds_for_what_is_queued() {
    let bed = Bed::with(vec![with(endpoint(A), |endpoint| endpoint.max_concurrency = 1)]);
    let _process = bed.start();
    bed.script.on(&host(A), [super::transport::Reply::Status(200, SECOND / 10)]);
    bed.publish(A, 0..60);
    bed.until(DeliveryState::Success, 1).await;

    bed.configure(vec![limited(2, SECOND)], 1);
    let changed = Instant::now();
    bed.until(DeliveryState::Success, 30).await;

    let calls = bed.script.calls();
    let later: Vec<Call> = calls.into_iter().filter(|call| call.at > changed + SECOND).collect();
    assert_eq!(most_in(&later, SECOND), 2);
}

#[tokio::test(start_paused = true)]
async fn without_slots_nothing_is_sent_and_nothing_is_lost() {
    let bed = Bed::with(vec![limited(50, SECOND)]);
    let process = bed.start();
    bed.database.plan(Op::TakeSlots, [Fault::Unavailable; 20]);

    bed.publish(A, 0..100);
    tokio::time::sleep(3 * SECOND).await;
    assert!(bed.script.calls().is_empty());

    bed.until(DeliveryState::Success, 100).await;
    assert!(most_in(&bed.script.calls(), SECOND) <= 50);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_slot_is_let_go_when_its_endpoint_is_switched_off() {
    let bed = Bed::with(vec![limited(1, 3_600 * SECOND)]);
    let process = bed.start();
    bed.publish(A, 0..50);
    bed.until(DeliveryState::Success, 1).await;

    bed.configure(
        vec![with(limited(1, 3_600 * SECOND), |endpoint| endpoint.status = EndpointStatus::Inactive)],
        1,
    );
    let changed = Instant::now();
    bed.until(DeliveryState::Discarded, 49).await;

    assert!(changed.elapsed() < 5 * SECOND, "{:?}", changed.elapsed());
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_project_above_its_ingest_limit_leaves_its_messages_at_the_broker() {
    let mut project = project(retries(&[5]));
    project.settings.ingest_rate_limit = Some(RateLimit::new(10, SECOND).unwrap());
    let bed = Bed::with(vec![endpoint(A)]);
    bed.configure_project(project, vec![endpoint(A)], 1);
    let _processes = [bed.start(), bed.start()];

    bed.publish(A, 0..100);
    tokio::time::sleep(4 * SECOND).await;
    let stored = bed.database.events().len();
    assert!((35..=60).contains(&stored), "{stored} stored");
    bed.until(DeliveryState::Success, 100).await;

    let stats = bed.broker.stats();
    assert_eq!((stats.acked, stats.redelivered), (100, 0));
}
