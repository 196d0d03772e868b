//! Endpoints that are slow, hang or are unknown: which slots they take.

use std::time::Duration;

use super::super::pace::SLOW_AFTER;
use super::bed::{ANSWERED, Bed, TIMED_OUT};

/// Long enough to be looked at in between, and for what hangs to be found.
fn pass_time(bed: &mut Bed, span: Duration) {
    let end = bed.now + span;
    while bed.now < end {
        bed.now += Duration::from_millis(100);
        assert_eq!(bed.turn(), None);
    }
}

#[test]
fn endpoints_that_hang_never_hold_more_than_the_slow_budget() {
    let mut bed = Bed::known(100, 50, &[11]);
    for endpoint in 20..100 {
        bed.push(endpoint, 50);
    }

    let hanging = bed.turns(1_000).len();
    assert_eq!(hanging, 25);
    assert_eq!(bed.scheduler.slow_in_flight(), 25);
    bed.push(11, 100);
    assert_eq!(bed.turns(1_000).len(), 50, "the quick one does not wait for them");

    let trying: Vec<u128> = (20..100).filter(|endpoint| bed.in_flight(*endpoint) > 0).take(10).collect();
    trying.iter().for_each(|endpoint| bed.done(*endpoint, TIMED_OUT));
    assert_eq!(bed.turns(1_000).len(), 10, "what ends makes place for others of them");
    assert_eq!(bed.scheduler.slow_in_flight(), 25);
}

#[test]
fn quick_endpoints_do_not_wait_for_a_slot_of_slow_ones() {
    let mut bed = Bed::known(20, 50, &[11, 22]);
    bed.push(22, 50);
    bed.turns(3);
    pass_stalled(&mut bed);
    bed.push(11, 100);

    let turns = bed.turns(100);

    assert_eq!(
        turns.iter().filter(|endpoint| **endpoint == 22).count(),
        4,
        "the slow have five, one for the unknown"
    );
    assert_eq!(turns.iter().filter(|endpoint| **endpoint == 11).count(), 12, "and three from before");
}

/// Endpoint 22 has three attempts in flight that do not end.
fn pass_stalled(bed: &mut Bed) {
    bed.scheduler.take_queue(longshore_core::EndpointId::from_u128(22));
    pass_time(bed, 3 * SLOW_AFTER);
    bed.push(22, 50);
}

#[test]
fn an_endpoint_is_found_to_hang_while_its_attempts_are_in_flight() {
    let mut bed = Bed::known(20, 50, &[22]);
    bed.push(22, 3);
    bed.turns(3);
    assert_eq!(bed.scheduler.slow_in_flight(), 0);

    pass_stalled(&mut bed);

    assert_eq!(bed.turns(100).len(), 4);
    assert_eq!(bed.scheduler.slow_in_flight(), 4);
}

#[test]
fn an_endpoint_of_which_something_ends_now_and_then_does_not_hang() {
    let mut bed = Bed::known(20, 50, &[22]);
    bed.push(22, 2);
    bed.turns(2);
    for _ in 0..20 {
        pass_time(&mut bed, SLOW_AFTER / 2);
        bed.done(22, ANSWERED);
        bed.push(22, 1);
        assert_eq!(bed.turns(1), [22]);
    }
    assert_eq!(bed.scheduler.slow_in_flight(), 0);
}

#[test]
fn a_slow_endpoint_that_is_quick_again_has_the_fast_slots() {
    let mut bed = Bed::known(20, 50, &[22]);
    bed.push(22, 1);
    for _ in 0..4 {
        bed.push(22, 1);
        bed.turns(1);
        bed.done(22, TIMED_OUT);
    }
    bed.turns(1);
    assert_eq!(bed.scheduler.slow_in_flight(), 1);
    bed.done(22, ANSWERED);

    for _ in 0..30 {
        bed.push(22, 1);
        bed.turns(1);
        bed.done(22, ANSWERED);
    }

    bed.push(22, 50);
    assert_eq!(bed.turns(100).len(), 20);
    assert_eq!(bed.scheduler.slow_in_flight(), 0);
}

#[test]
fn an_endpoint_found_quick_leaves_a_round_that_does_not_move() {
    let mut bed = Bed::new(16, 50);
    // One attempt of 11 is in flight; three endpoints that hang take the rest of the budget for unknown ones.
    bed.push(11, 1);
    assert_eq!(bed.turns(1), [11]);
    for endpoint in [21, 31, 41] {
        bed.push(endpoint, 1);
    }
    assert_eq!(bed.turns(10).len(), 3);
    bed.push(11, 5);
    assert!(bed.turns(10).is_empty());
    bed.push(51, 1);

    bed.done(11, ANSWERED);

    // Its slot goes to the next unknown one; itself it has those of quick endpoints now.
    let mut turns = bed.turns(10);
    turns.sort_unstable();
    assert_eq!(turns, [11, 11, 11, 11, 11, 51]);
}
