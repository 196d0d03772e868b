//! Deliveries that share requests.

use std::time::Duration;

use super::super::{Gather, Limit};
use super::bed::{ANSWERED, Bed, delivery, limit};

const WAIT: Duration = Duration::from_millis(100);
const THREE: Limit = Limit { gather: Some(Gather { most: 3, wait: WAIT }), ..limit(5) };

/// Pushes deliveries of these sizes, now.
fn push(bed: &mut Bed, endpoint: u128, attempts: u16, sizes: &[usize], limit: Limit) {
    for bytes in sizes {
        let mut queued = delivery(endpoint / 10, endpoint, attempts, *bytes);
        queued.at = bed.now;
        bed.scheduler.push(queued, limit);
    }
}

#[test]
fn a_request_goes_when_it_is_full_and_otherwise_when_its_first_has_waited() {
    let mut bed = Bed::known(100, 5, &[11]);
    let start = bed.now;
    push(&mut bed, 11, 0, &[1; 2], THREE);
    assert!(bed.requests(THREE).is_empty());
    assert_eq!(bed.scheduler.next_wake(), Some(start + WAIT));

    bed.now += WAIT / 2;
    push(&mut bed, 11, 0, &[1; 2], THREE);
    assert_eq!(bed.requests(THREE), [(11, 3)]);
    assert_eq!(bed.scheduler.queued(), 1);
    // The alarm of what is gone by now tells a later instant.
    bed.now = start + WAIT;
    assert!(bed.requests(THREE).is_empty());
    assert_eq!(bed.scheduler.next_wake(), Some(start + WAIT + WAIT / 2));

    bed.now += WAIT / 2;
    assert_eq!(bed.requests(THREE), [(11, 1)]);
    assert_eq!((bed.scheduler.next_wake(), bed.scheduler.queued()), (None, 0));
}

#[test]
fn requests_count_against_the_limit_and_those_that_wait_for_it_fill_up() {
    let one = Limit { most: 1, ..THREE };
    let mut bed = Bed::known(100, 1, &[11]);
    push(&mut bed, 11, 0, &[1; 3], one);
    assert_eq!(bed.requests(one), [(11, 3)]);
    push(&mut bed, 11, 0, &[1; 2], one);
    bed.now += WAIT;
    assert!(bed.requests(one).is_empty());
    assert_eq!(bed.scheduler.next_wake(), None, "nothing to wake for before an attempt ends");
    push(&mut bed, 11, 0, &[1; 2], one);

    bed.done_with(11, ANSWERED, one);
    assert_eq!(bed.requests(one), [(11, 3)]);
    bed.done_with(11, ANSWERED, one);
    assert!(bed.requests(one).is_empty());
    bed.now += WAIT;
    assert_eq!(bed.requests(one), [(11, 1)]);
}

#[test]
fn retries_and_fresh_deliveries_share_a_request() {
    let mut bed = Bed::known(100, 5, &[11]);
    push(&mut bed, 11, 1, &[1; 2], THREE);
    push(&mut bed, 11, 0, &[1], THREE);

    assert_eq!(bed.requests(THREE), [(11, 3)]);
}

#[test]
fn large_deliveries_go_sooner_and_one_that_is_too_large_alone() {
    let mut bed = Bed::known(100, 5, &[11]);
    push(&mut bed, 11, 0, &[600_000, 600_000], THREE);
    assert_eq!(bed.requests(THREE), [(11, 1)]);
    push(&mut bed, 11, 0, &[1, 2_000_000, 1], THREE);
    assert_eq!(bed.requests(THREE), [(11, 2), (11, 1)]);
    bed.now += WAIT;
    assert_eq!(bed.requests(THREE), [(11, 1)]);
}

#[test]
fn a_request_costs_its_project_every_delivery_in_it() {
    let ten = Limit { gather: Some(Gather { most: 10, wait: WAIT }), ..limit(1) };
    let mut bed = Bed::known(100, 1, &[11, 22]);
    let limits = move |endpoint: u128| if endpoint == 11 { ten } else { limit(1) };
    push(&mut bed, 11, 0, &[1; 100], ten);
    push(&mut bed, 22, 0, &[1; 100], limit(1));

    let mut sent = [0, 0];
    for _ in 0..44 {
        let (endpoint, count) = bed.request(limits).unwrap();
        sent[usize::from(endpoint == 22)] += count;
        bed.done_with(endpoint, ANSWERED, limits(endpoint));
    }

    assert!(sent[0].abs_diff(sent[1]) <= 10, "{sent:?}");
}

#[test]
fn an_endpoint_that_is_held_or_begins_to_share_requests_loses_nothing() {
    let mut bed = Bed::known(100, 5, &[11]);
    let start = bed.now;
    // In the round as one that sends each alone.
    push(&mut bed, 11, 0, &[1; 2], limit(5));
    assert!(bed.requests(THREE).is_empty());
    assert_eq!(bed.scheduler.next_wake(), Some(start + WAIT));

    bed.scheduler.hold(longshore_core::EndpointId::from_u128(11), start + 2 * WAIT);
    bed.now += WAIT;
    assert!(bed.requests(THREE).is_empty());
    bed.now += WAIT;
    assert_eq!(bed.requests(THREE), [(11, 2)]);

    push(&mut bed, 11, 0, &[1], THREE);
    assert!(bed.requests(THREE).is_empty());
    // It shares no more: found out when it would have been sent at the latest.
    bed.now += WAIT;
    assert_eq!(bed.requests(limit(5)), [(11, 1)]);
}
