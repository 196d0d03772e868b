//! From the store to the endpoint: when, how often, how many at once, and to whom first.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::EndpointStatus;
use longshore_core::notice::DisableReason;
use longshore_core::project::ProjectSettings;
use longshore_core::{DeliveryState, EndpointId, ProjectId, Snapshot};
use longshore_pipeline::LedgerLimits;
use longshore_source::memory::MemoryBroker;
use longshore_testkit::memory::{Fault, Op};
use tokio::time::Instant;

use super::bed::{A, B, Bed, LEASE, SECOND, endpoint, host, project, retries, with};
use super::transport::{Call, DOWN, OK, Reply};

/// What recording and the next look may take.
const SLACK: Duration = Duration::from_millis(100);

fn assert_after(calls: &[Call], seconds: &[u64]) {
    assert_eq!(calls.len(), seconds.len() + 1, "{calls:?}");
    for (pair, seconds) in calls.windows(2).zip(seconds) {
        let (gap, wanted) = (pair[1].at - pair[0].at, Duration::from_secs(*seconds));
        assert!(gap >= wanted && gap <= wanted + SLACK, "{gap:?} instead of {wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_gets_the_event_at_the_scheduled_times_until_it_is_up() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [DOWN, DOWN, DOWN, OK]);

    bed.publish(A, [1]);
    bed.until(DeliveryState::Success, 1).await;

    assert_after(&bed.script.calls(), &[5, 30, 60]);
    let delivery = bed.database.deliveries().remove(0);
    assert_eq!(delivery.attempts, 4);
    assert_eq!(delivery.history.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_to_wait_is_waited_for_but_never_less_than_scheduled() {
    let bed = Bed::new();
    let _process = bed.start();
    bed.script.on(&host(A), [Reply::Wait(120 * SECOND), Reply::Wait(SECOND), OK]);

    bed.publish(A, [1]);
    bed.until(DeliveryState::Success, 1).await;

    assert_after(&bed.script.calls(), &[120, 30]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_given_up_after_its_last_attempt() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [DOWN]);

    bed.publish(A, [1]);
    bed.until(DeliveryState::Failure, 1).await;
    tokio::time::sleep(600 * SECOND).await;

    assert_after(&bed.script.calls(), &[5, 30, 60]);
    assert_eq!(process.ledger.held(), (0, 0));
}

/// Both endpoints, in a project with these settings.
fn configure(bed: &Bed, change: impl FnOnce(&mut ProjectSettings)) {
    let mut project = project(retries(&[5, 30, 60]));
    change(&mut project.settings);
    bed.config.send_replace(Arc::new(Snapshot::new(
        vec![project],
        vec![endpoint(A), endpoint(B)],
        Vec::new(),
    )));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_has_too_much_loses_no_attempt_by_saying_so() {
    let bed = Bed::new();
    let process = bed.start();
    let too_many = Reply::Status(429, Duration::ZERO);
    bed.script.on(&host(A), [too_many, too_many, DOWN, DOWN, too_many, DOWN, OK]);

    bed.publish(A, [1]);
    bed.until(DeliveryState::Success, 1).await;

    // Twice as long with each 429, of the delay that the schedule has come to.
    assert_after(&bed.script.calls(), &[5, 10, 5, 30, 120, 60]);
    let delivery = bed.database.deliveries().remove(0);
    assert_eq!((delivery.attempts, delivery.throttled), (7, 3));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_only_fails_is_switched_off_and_one_that_succeeds_in_between_is_not() {
    let bed = Bed::new();
    configure(&bed, |settings| settings.disable_endpoint = true);
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.script.on(&host(B), [DOWN, DOWN, OK, DOWN]);
    bed.publish(A, [1]);
    bed.publish(B, [2]);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(bed.script.calls_to(&host(B)).len(), 2);

    bed.publish(B, [3]);
    bed.until(DeliveryState::Failure, 2).await;

    assert_eq!(bed.database.count_in(DeliveryState::Success), 1);
    assert_eq!(bed.database.disabled(A), Some(DisableReason::Exhausted));
    assert_eq!(bed.database.disabled(B), None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_is_switched_off_at_its_first_word() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [Reply::Status(410, Duration::ZERO)]);

    bed.publish(A, [1]);
    bed.until(DeliveryState::Failure, 1).await;

    assert_eq!(bed.script.calls().len(), 1);
    assert_eq!(bed.database.disabled(A), Some(DisableReason::Gone));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_retries_is_spread_and_nothing_of_it_lost() {
    let bed = Bed::new();
    configure(&bed, |settings| {
        let policy = r#"{"storm_guard": {"percent": 1, "per_second": 2}}"#;
        settings.retry_policy = serde_json::from_str(policy).unwrap();
        // It would hold the retries back before the guard does.
        settings.circuit_breaker.enabled = false;
    });
    let process = bed.start();
    // Forty first attempts and twenty retries fail, then it is back.
    bed.script.on(&host(A), std::iter::repeat_n(DOWN, 60).chain([OK]));
    let started = Instant::now();

    bed.publish(A, 0..40);
    bed.until(DeliveryState::Success, 40).await;

    let within = |from: u32, to: u32| {
        let span = started + SECOND * from..started + SECOND * to;
        bed.script.calls().iter().filter(|call| span.contains(&call.at)).count()
    };
    assert_eq!(within(0, 5), 40);
    // Ten at once and two a second; without the guard it were forty.
    assert!((1..=13).contains(&within(5, 6)), "{} retries in their first second", within(5, 6));
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts <= 4));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_an_endpoint_that_is_inactive_or_gone_is_discarded() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [DOWN]);
    bed.script.on(&host(B), [DOWN]);
    bed.publish(A, 0..3);
    bed.publish(B, 3..6);
    bed.until(DeliveryState::Retry, 6).await;

    bed.configure(vec![with(endpoint(A), |endpoint| endpoint.status = EndpointStatus::Inactive)], 1);

    bed.until(DeliveryState::Discarded, 6).await;
    assert_eq!(bed.script.calls().len(), 6);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_not_gone_because_the_snapshot_is_older() {
    let bed = Bed::with(vec![endpoint(A)]);
    let process = bed.start();
    // Another process, with a newer configuration, stored a delivery for B and left it to everybody.
    bed.database.set_config_version(1);
    let newer =
        Bed { config: tokio::sync::watch::Sender::new(Arc::default()), seed: 100.into(), ..Bed::new() };
    let other = {
        let snapshot = Snapshot::new(vec![project(retries(&[5]))], vec![endpoint(B)], Vec::new());
        newer.config.send_replace(Arc::new(snapshot.at_version(1)));
        let shared =
            Bed { database: bed.database.clone(), script: bed.script.clone(), clock: bed.clock, ..newer };
        bed.script.on(&host(B), [DOWN, OK]);
        let other = shared.start();
        shared.publish(B, [1]);
        bed.until(DeliveryState::Retry, 1).await;
        other
    };
    other.kill();
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(bed.database.count_in(DeliveryState::Discarded), 0);

    bed.configure(vec![endpoint(A), endpoint(B)], 1);

    bed.until(DeliveryState::Success, 1).await;
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_a_paused_endpoint_waits_and_goes_out_when_it_resumes() {
    let paused = || with(endpoint(A), |endpoint| endpoint.status = EndpointStatus::Paused);
    let bed = Bed::new();
    bed.script.on(&host(A), [Reply::Status(200, SECOND)]);
    let process = bed.start();
    // Ten have room in memory, two of them are under way: nothing is known of the endpoint yet.
    bed.publish(A, 0..10);
    bed.script.wait_for(2).await;

    bed.configure(vec![paused()], 1);
    bed.publish(A, 10..20);
    bed.until(DeliveryState::Scheduled, 18).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(bed.script.calls().len(), 2);
    assert_eq!(process.ledger.held(), (0, 0));
    bed.configure(vec![endpoint(A)], 2);

    bed.until(DeliveryState::Success, 20).await;
    assert_eq!(bed.script.calls().len(), 20);
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_spills_and_others_do_not_notice() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    let started = Instant::now();

    bed.publish(A, 0..300);
    for n in 0..300 {
        bed.publish(B, [1_000 + n]);
        tokio::time::sleep(SECOND / 100).await;
    }
    bed.wait("the quick ones", |_| bed.script.calls_to(&host(B)).len() == 300).await;

    assert!(started.elapsed() < 5 * SECOND, "{:?}", started.elapsed());
    assert!(process.ledger.held().0 <= 20, "{:?}", process.ledger.held());
    assert!(bed.database.count_in(DeliveryState::Scheduled) >= 280);
    bed.until(DeliveryState::Success, 600).await;
    assert_eq!(bed.script.calls().len(), 600);
    assert_eq!(bed.script.most_to(&host(A)), 5);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_project_with_a_backlog_leaves_the_others_their_turns() {
    let few = EndpointId::from_u128(50);
    let other = ProjectId::from_u128(0xB);
    let many = |id| with(endpoint(EndpointId::from_u128(id)), |endpoint| endpoint.max_concurrency = 50);
    let quiet = with(endpoint(few), |endpoint| endpoint.project = other);
    let endpoints: Vec<_> = (1..=10).map(many).chain([quiet]).collect();
    let mut bed = Bed::with(endpoints.clone());
    bed.attempts = 10;
    let mut second = project(retries(&[5]));
    second.id = other;
    let snapshot = Snapshot::new(vec![project(retries(&[5])), second], endpoints, Vec::new());
    bed.config.send_replace(Arc::new(snapshot));
    for id in 1..=10 {
        bed.script.on(&host(EndpointId::from_u128(id)), [Reply::Status(200, SECOND)]);
    }
    let _process = bed.start();
    for n in 0..500 {
        bed.publish(EndpointId::from_u128(u128::from(n % 10) + 1), [n]);
    }
    bed.script.wait_for(10).await;
    // A source of the other project, in the same process' turn.
    let quiet = Bed {
        broker: MemoryBroker::new(30 * SECOND),
        config: bed.config.clone(),
        script: bed.script.clone(),
        database: bed.database.clone(),
        clock: bed.clock,
        seed: 100.into(),
        ..Bed::new()
    };
    let started = Instant::now();
    let origin = longshore_pipeline::ingest::Origin {
        source: Some((longshore_core::SourceId::from_u128(6), other)),
        kind: "memory",
        status: longshore_source::Status::new("memory", "other"),
        mapping: longshore_pipeline::ingest::fixed(longshore_core::Mapping::default()),
    };
    let broker = quiet.broker.clone();
    let connect = move || {
        longshore_source::memory::MemorySource::connect(&broker, std::num::NonZeroUsize::new(10).unwrap())
    };
    let _second = quiet.start_with(connect, origin, bed.script.clone(), bed.clock);

    quiet.publish(few, 9_000..9_005);
    bed.wait("the quiet project", |_| bed.script.calls_to(&host(few)).len() == 5).await;

    assert!(started.elapsed() < 5 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_hang_leave_most_of_the_slots_to_the_others() {
    let ids = || (3..=80).map(EndpointId::from_u128);
    let mut bed = Bed::with([A, B].into_iter().chain(ids()).map(endpoint).collect());
    bed.attempts = 40;
    for id in ids() {
        bed.script.on(&host(id), [Reply::Status(200, 3_600 * SECOND)]);
    }
    let _process = bed.start();
    bed.publish(B, [0]);
    bed.wait("the first one", |_| bed.script.calls_to(&host(B)).len() == 1).await;

    for n in 1..=5 {
        ids().for_each(|id| bed.publish(id, [100 * n + id.as_u128() as u64]));
    }
    // A quarter of the slots.
    bed.script.wait_for(11).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(bed.script.calls().len(), 11);
    let started = Instant::now();
    bed.publish(B, 10_000..10_010);
    bed.wait("the quick ones", |_| bed.script.calls_to(&host(B)).len() == 11).await;
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_adapts_sends_less_at_once_where_answers_are_errors() {
    let wide = |id, adaptive| {
        with(endpoint(id), |endpoint| {
            endpoint.max_concurrency = 50;
            endpoint.settings.adaptive_concurrency = adaptive;
        })
    };
    let bed = Bed::with(vec![wide(A, true), wide(B, false)]);
    let _process = bed.start();
    for at in [A, B] {
        bed.script.on(&host(at), [Reply::Status(503, SECOND / 10)]);
    }

    bed.publish(A, 0..200);
    bed.publish(B, 200..400);
    bed.until(DeliveryState::Failure, 400).await;

    // Both have eight after their first answer; then one has one more with each, and the other fewer.
    let most = [A, B].map(|at| bed.script.most_to(&host(at)));
    assert!(most[0] <= 8 && most[1] > 16, "{most:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_never_has_more_in_flight_than_its_limit() {
    let bed = Bed::with(vec![
        with(endpoint(A), |endpoint| endpoint.max_concurrency = 1),
        with(endpoint(B), |endpoint| endpoint.max_concurrency = 3),
    ]);
    let _process = bed.start();
    for at in [A, B] {
        bed.script.on(&host(at), [Reply::Status(503, SECOND / 7), Reply::Status(200, SECOND / 3)]);
    }

    bed.publish(A, 0..50);
    bed.publish(B, 50..150);
    bed.until(DeliveryState::Success, 150).await;

    assert_eq!((bed.script.most_to(&host(A)), bed.script.most_to(&host(B))), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_breaks_is_no_attempt_and_leaves_nothing_behind() {
    let bed = Bed::new();
    let process = bed.start();
    bed.script.on(&host(A), [Reply::Panic, OK]);

    bed.publish(A, 0..10);
    bed.until(DeliveryState::Success, 10).await;

    assert_eq!(bed.script.calls().len(), 11);
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_memory_longer_than_its_claim_is_not_sent_twice() {
    let slow = |id| with(endpoint(id), |endpoint| endpoint.max_concurrency = 50);
    let mut bed = Bed::with(vec![slow(A), slow(B)]);
    // So few at once that what was claimed waits for longer than its claim lasts.
    bed.attempts = 1;
    bed.script.on(&host(A), [Reply::Status(200, 9 * SECOND)]);
    bed.script.on(&host(B), [Reply::Status(200, 9 * SECOND)]);
    let process = bed.start();

    bed.publish(A, 0..130);
    bed.until(DeliveryState::Success, 130).await;

    assert_eq!(bed.script.calls().len(), 130);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_held_until_they_are_recorded() {
    let bed = Bed::new();
    let process = bed.start();
    bed.database.plan(Op::Record, [Fault::Unavailable, Fault::LostReply, Fault::Misconfigured]);

    bed.publish(A, 0..5);
    bed.until(DeliveryState::Success, 5).await;
    tokio::time::sleep(10 * SECOND).await;

    assert_eq!(bed.script.calls().len(), 5);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_by_what_the_ledger_allows() {
    let mut bed = Bed::with((1..=100).map(|id| endpoint(EndpointId::from_u128(id))).collect());
    bed.ledger = LedgerLimits { deliveries: 30, bytes: 1 << 20 };
    for id in 1..=100 {
        bed.script.on(&host(EndpointId::from_u128(id)), [Reply::Status(200, SECOND)]);
    }
    let process = bed.start();
    for n in 0..1_000 {
        bed.publish(EndpointId::from_u128(u128::from(n % 100) + 1), [n]);
    }

    let mut most = 0;
    let all = bed.until(DeliveryState::Success, 1_000);
    tokio::pin!(all);
    loop {
        tokio::select! {
            () = &mut all => break,
            () = tokio::time::sleep(SECOND / 10) => most = most.max(process.ledger.held().0),
        }
    }

    // Twice, for what every endpoint may hold in any case.
    assert!((1..=60).contains(&most), "{most}");
    assert_eq!(bed.script.calls().len(), 1_000);
    assert!(LEASE > SECOND);
}
