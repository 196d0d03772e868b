use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_core::event::{Event, Headers, Target};
use longshore_core::{AttemptOutcome, DeliveryId, EventId, Timestamp};

use super::lane::FIRST;
use super::*;

const MOMENT: Duration = Duration::from_millis(10);

fn delivery(project: u128, endpoint: u128, owner: u128) -> Queued {
    let event = Event {
        id: EventId::from_u128(1),
        project: ProjectId::from_u128(project),
        source: None,
        target: Target::Broadcast,
        event_type: "a".to_owned(),
        body: Bytes::new(),
        headers: Headers::default(),
        idempotency_key: None,
        received_at: Timestamp::EPOCH,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
    };
    let delivery = ClaimedDelivery {
        id: DeliveryId::from_u128(1),
        event: Arc::new(event),
        endpoint: EndpointId::from_u128(endpoint),
        subscription: None,
        attempts: 0,
        scheduled: false,
        owner: ProcessId::from_u128(owner),
    };
    Queued { delivery, until: None }
}

/// The endpoints of the next turns, which do not end.
fn turns(scheduler: &mut Scheduler, most: usize, count: usize) -> Vec<u128> {
    turns_at(scheduler, Instant::now(), most, count)
}

fn turns_at(scheduler: &mut Scheduler, now: Instant, most: usize, count: usize) -> Vec<u128> {
    std::iter::from_fn(|| scheduler.next(now, |_| Limit { most }))
        .take(count)
        .map(|(queued, _)| queued.delivery.endpoint.as_u128())
        .collect()
}

fn slot(endpoint: u128) -> Slot {
    Slot { endpoint: EndpointId::from_u128(endpoint) }
}

fn answered() -> Ended {
    Ended::Tried { outcome: AttemptOutcome::Response { status: 200, retry_after: None }, took: MOMENT }
}

fn silent() -> Ended {
    Ended::Tried { outcome: AttemptOutcome::Connect, took: MOMENT }
}

#[test]
fn projects_take_turns_whatever_their_backlog() {
    let mut scheduler = Scheduler::default();
    for _ in 0..100 {
        scheduler.push(delivery(1, 11, 0), Limit { most: 1_000 });
    }
    for _ in 0..3 {
        scheduler.push(delivery(2, 22, 0), Limit { most: 1_000 });
    }

    assert_eq!(turns(&mut scheduler, 1_000, 6), [11, 22, 11, 22, 11, 22]);
    assert_eq!(scheduler.queued(), 97);
}

#[test]
fn endpoints_of_a_project_take_turns() {
    let mut scheduler = Scheduler::default();
    for endpoint in [11, 11, 11, 12, 12, 13] {
        scheduler.push(delivery(1, endpoint, 0), Limit { most: 10 });
    }

    assert_eq!(turns(&mut scheduler, 10, 10), [11, 12, 13, 11, 12, 11]);
}

#[test]
fn an_endpoint_at_its_limit_waits_until_one_is_done() {
    let mut scheduler = Scheduler::default();
    for endpoint in [11, 11, 11, 12] {
        scheduler.push(delivery(1, endpoint, 0), Limit { most: 2 });
    }

    assert_eq!(turns(&mut scheduler, 2, 10), [11, 12, 11]);
    assert!(scheduler.next(Instant::now(), |_| Limit { most: 2 }).is_none());
    scheduler.done(slot(11), answered(), Limit { most: 2 });
    assert_eq!(turns(&mut scheduler, 2, 10), [11]);
}

#[test]
fn a_lowered_limit_holds_and_a_raised_one_frees() {
    let mut scheduler = Scheduler::default();
    for _ in 0..4 {
        scheduler.push(delivery(1, 11, 0), Limit { most: 1 });
    }
    assert_eq!(turns(&mut scheduler, 1, 10), [11]);

    scheduler.done(slot(11), answered(), Limit { most: 3 });

    assert_eq!(turns(&mut scheduler, 3, 10), [11, 11, 11]);
}

#[test]
fn concurrency_is_earned_by_answers_and_lost_by_silence() {
    let mut scheduler = Scheduler::default();
    for _ in 0..200 {
        scheduler.push(delivery(1, 11, 0), Limit { most: 20 });
    }
    let mut in_flight = turns(&mut scheduler, 20, 200).len();
    assert_eq!(in_flight, FIRST);

    for _ in 0..30 {
        scheduler.done(slot(11), answered(), Limit { most: 20 });
        in_flight = in_flight - 1 + turns(&mut scheduler, 20, 200).len();
    }
    assert_eq!(in_flight, 20);

    for _ in 0..20 {
        scheduler.done(slot(11), silent(), Limit { most: 20 });
        in_flight = in_flight - 1 + turns(&mut scheduler, 20, 200).len();
    }
    assert_eq!(in_flight, 1);
}

#[test]
fn foreign_claims_are_taken_out_and_the_rest_goes_on() {
    let mut scheduler = Scheduler::default();
    for (endpoint, owner) in [(11, 1), (11, 2), (12, 1), (13, 2)] {
        scheduler.push(delivery(1, endpoint, owner), Limit { most: 5 });
    }

    assert_eq!(scheduler.drop_foreign(ProcessId::from_u128(2)).len(), 2);

    let mut rest = turns(&mut scheduler, 5, 10);
    rest.sort_unstable();
    assert_eq!(rest, [11, 13]);
    assert_eq!(scheduler.queued(), 0);
}

#[test]
fn a_held_endpoint_waits_for_its_instant_and_no_other_does() {
    let mut scheduler = Scheduler::default();
    let (now, held) = (Instant::now(), EndpointId::from_u128(11));
    for endpoint in [11, 11, 12] {
        scheduler.push(delivery(1, endpoint, 0), Limit { most: 5 });
    }

    scheduler.hold(held, now + 2 * MOMENT);
    assert_eq!(turns_at(&mut scheduler, now, 5, 10), [12]);
    assert_eq!(scheduler.next_wake(), Some(now + 2 * MOMENT));
    assert!(turns_at(&mut scheduler, now + MOMENT, 5, 10).is_empty());
    assert_eq!(turns_at(&mut scheduler, now + 2 * MOMENT, 5, 10), [11, 11]);
    assert_eq!(scheduler.next_wake(), None);
}

#[test]
fn the_last_hold_counts_whether_it_is_later_or_earlier() {
    let mut scheduler = Scheduler::default();
    let (now, held) = (Instant::now(), EndpointId::from_u128(11));
    let mut hold = |moments| {
        scheduler.hold(held, now + moments * MOMENT);
        scheduler.next_wake().map(|wake| wake - now)
    };
    assert_eq!(hold(3), Some(3 * MOMENT));
    assert_eq!(hold(9), Some(3 * MOMENT));
    assert_eq!(hold(5), Some(3 * MOMENT));

    // Nothing was queued when it was held.
    scheduler.push(delivery(1, 11, 0), Limit { most: 5 });
    assert!(turns_at(&mut scheduler, now + 4 * MOMENT, 5, 10).is_empty());
    assert_eq!(scheduler.next_wake(), Some(now + 5 * MOMENT));

    scheduler.hold(held, now);
    assert_eq!(turns_at(&mut scheduler, now + 4 * MOMENT, 5, 10), [11]);
}

#[test]
fn a_drained_endpoint_keeps_what_is_in_flight_and_takes_more_later() {
    let mut scheduler = Scheduler::default();
    for endpoint in [11, 11, 11, 12] {
        scheduler.push(delivery(1, endpoint, 0), Limit { most: 1 });
    }
    assert_eq!(turns(&mut scheduler, 1, 1), [11]);

    assert_eq!(scheduler.take_queue(EndpointId::from_u128(11)).len(), 2);
    assert_eq!(scheduler.queued(), 1);
    assert!(scheduler.take_queue(EndpointId::from_u128(13)).is_empty());
    assert_eq!(turns(&mut scheduler, 1, 10), [12]);

    scheduler.push(delivery(1, 11, 0), Limit { most: 1 });
    assert!(turns(&mut scheduler, 1, 10).is_empty(), "the attempt in flight still counts");
    scheduler.done(slot(11), answered(), Limit { most: 1 });
    assert_eq!(turns(&mut scheduler, 1, 10), [11]);
}

#[test]
fn a_limit_that_was_nothing_and_rises_is_told_by_rousing() {
    let mut scheduler = Scheduler::default();
    scheduler.push(delivery(1, 11, 0), Limit { most: 1 });
    assert!(turns(&mut scheduler, 0, 10).is_empty());
    assert!(turns(&mut scheduler, 1, 10).is_empty(), "nobody said that it has risen");

    scheduler.rouse(EndpointId::from_u128(11), Limit { most: 1 });
    assert_eq!(turns(&mut scheduler, 1, 10), [11]);
}
