//! Whose turn it is, and how many at once.

use longshore_core::{EndpointId, ProcessId};

use super::super::MEMORY;
use super::super::pace::{FIRST, TRIAL};
use super::bed::{ANSWERED, Bed, REFUSED, delivery};

#[test]
fn projects_take_turns_whatever_their_backlog() {
    let mut bed = Bed::known(100, 50, &[11, 22]);
    bed.push(11, 100);
    bed.push(22, 3);

    assert_eq!(bed.turns(6), [11, 22, 11, 22, 11, 22]);
    assert_eq!(bed.scheduler.queued(), 97);
}

#[test]
fn endpoints_of_a_project_take_turns() {
    let mut bed = Bed::known(100, 10, &[11, 12, 13]);
    for endpoint in [11, 11, 11, 12, 12, 13] {
        bed.push(endpoint, 1);
    }

    assert_eq!(bed.turns(10), [11, 12, 13, 11, 12, 11]);
}

#[test]
fn a_project_pays_for_large_bodies() {
    let mut bed = Bed::known(100, 50, &[11, 22]);
    for _ in 0..50 {
        bed.put(delivery(1, 11, 0, 48 * 1024));
        bed.push(22, 1);
    }

    let turns = bed.turns(50);

    assert_eq!(turns.iter().filter(|endpoint| **endpoint == 11).count(), 10);
}

#[test]
fn an_endpoint_at_its_limit_waits_until_one_is_done() {
    let mut bed = Bed::known(100, 2, &[11, 12]);
    for endpoint in [11, 11, 11, 12] {
        bed.push(endpoint, 1);
    }

    assert_eq!(bed.turns(10), [11, 12, 11]);
    bed.done(11, ANSWERED);
    assert_eq!(bed.turns(10), [11]);
}

#[test]
fn there_are_no_more_attempts_than_slots() {
    let mut bed = Bed::known(10, 50, &[11]);
    bed.push(11, 20);

    assert_eq!(bed.turns(20).len(), 10);
    bed.done(11, ANSWERED);
    assert_eq!(bed.turns(20).len(), 1);
}

#[test]
fn a_lowered_limit_holds_and_a_raised_one_frees() {
    let mut bed = Bed::known(100, 3, &[11]);
    bed.push(11, 5);
    bed.most = 1;
    assert_eq!(bed.turns(10), [11]);

    bed.most = 3;
    bed.done(11, ANSWERED);

    assert_eq!(bed.turns(10), [11, 11, 11]);
}

#[test]
fn concurrency_is_earned_by_answers_and_lost_by_silence() {
    let mut bed = Bed::new(100, 20);
    bed.push(11, 200);
    bed.turns(200);
    assert_eq!(bed.in_flight(11), TRIAL);
    bed.done(11, ANSWERED);
    bed.turns(200);
    assert_eq!(bed.in_flight(11), FIRST);

    for _ in 0..30 {
        bed.done(11, ANSWERED);
        bed.turns(200);
    }
    assert_eq!(bed.in_flight(11), 20);

    for _ in 0..20 {
        bed.done(11, REFUSED);
        bed.turns(200);
    }
    assert_eq!(bed.in_flight(11), 1);
}

#[test]
fn foreign_claims_are_taken_out_and_the_rest_goes_on() {
    let mut bed = Bed::new(100, 5);
    for (endpoint, owner) in [(11, 1), (11, 2), (12, 1), (13, 2)] {
        let mut queued = delivery(1, endpoint, 0, 0);
        queued.delivery.owner = ProcessId::from_u128(owner);
        bed.put(queued);
    }

    assert_eq!(bed.scheduler.drop_foreign(ProcessId::from_u128(2)).len(), 2);

    assert_eq!(bed.turns(10), [11, 13]);
    assert_eq!(bed.scheduler.queued(), 0);
}

#[test]
fn an_endpoint_that_nobody_needs_is_forgotten() {
    let mut bed = Bed::known(100, 20, &[11, 12]);
    let is_known = |bed: &Bed, endpoint| bed.scheduler.lanes.contains_key(&EndpointId::from_u128(endpoint));
    bed.push(11, 1);
    bed.push(12, 1);
    assert_eq!(bed.turns(2), [11, 12]);
    bed.done(11, ANSWERED);

    bed.now += MEMORY / 2;
    assert!(bed.turns(1).is_empty());
    assert!(is_known(&bed, 11));
    bed.now += MEMORY;
    assert!(bed.turns(1).is_empty());
    assert!(!is_known(&bed, 11));
    bed.now += 3 * MEMORY;
    assert!(bed.turns(1).is_empty());
    assert!(is_known(&bed, 12), "an attempt is in flight");

    bed.push(11, 20);
    assert_eq!(bed.turns(10), [11, 11], "it begins anew");
}
