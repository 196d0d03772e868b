//! Endpoints that are held, drained or limited from outside.

use longshore_core::EndpointId;

use super::super::Limit;
use super::bed::{ANSWERED, BUSY, Bed, MOMENT, limit};

const HELD: EndpointId = EndpointId::from_u128(11);

#[test]
fn a_held_endpoint_waits_for_its_instant_and_no_other_does() {
    let mut bed = Bed::known(100, 5, &[11, 12]);
    for endpoint in [11, 11, 12] {
        bed.push(endpoint, 1);
    }

    bed.scheduler.hold(HELD, bed.now + 2 * MOMENT);
    assert_eq!(bed.turns(10), [12]);
    assert_eq!(bed.scheduler.next_wake(), Some(bed.now + 2 * MOMENT));
    bed.now += MOMENT;
    assert!(bed.turns(10).is_empty());
    bed.now += MOMENT;
    assert_eq!(bed.turns(10), [11, 11]);
    assert_eq!(bed.scheduler.next_wake(), None);
}

#[test]
fn the_last_hold_counts_whether_it_is_later_or_earlier() {
    let mut bed = Bed::new(100, 5);
    let start = bed.now;
    let mut hold = |moments| {
        bed.scheduler.hold(HELD, start + moments * MOMENT);
        bed.scheduler.next_wake().map(|wake| wake - start)
    };
    assert_eq!(hold(3), Some(3 * MOMENT));
    assert_eq!(hold(9), Some(3 * MOMENT));
    assert_eq!(hold(5), Some(3 * MOMENT));

    // Nothing was queued when it was held.
    bed.push(11, 1);
    bed.now += 4 * MOMENT;
    assert!(bed.turns(10).is_empty());
    assert_eq!(bed.scheduler.next_wake(), Some(start + 5 * MOMENT));

    bed.scheduler.hold(HELD, start);
    assert_eq!(bed.turns(10), [11]);
}

#[test]
fn a_drained_endpoint_keeps_what_is_in_flight_and_takes_more_later() {
    let mut bed = Bed::new(100, 1);
    for endpoint in [11, 11, 12] {
        bed.push(endpoint, 1);
    }
    bed.push_retries(11, 1);
    assert_eq!(bed.turns(1), [11]);

    let drained: Vec<u16> =
        bed.scheduler.take_queue(HELD).iter().map(|queued| queued.delivery.attempts).collect();
    assert_eq!(drained, [0, 1]);
    assert_eq!(bed.scheduler.queued(), 1);
    assert!(bed.scheduler.take_queue(EndpointId::from_u128(13)).is_empty());
    assert_eq!(bed.turns(10), [12]);

    bed.push(11, 1);
    assert!(bed.turns(10).is_empty(), "the attempt in flight still counts");
    bed.done(11, ANSWERED);
    assert_eq!(bed.turns(10), [11]);
}

#[test]
fn a_limit_that_was_nothing_and_rises_is_told_by_rousing() {
    let mut bed = Bed::new(100, 1);
    bed.push(11, 1);
    assert!(bed.scheduler.next(bed.now, |_| limit(0)).is_none());
    assert!(bed.turns(10).is_empty(), "nobody said that it has risen");

    bed.scheduler.rouse(HELD, limit(1));
    assert_eq!(bed.turns(10), [11]);
}

#[test]
fn an_adaptive_endpoint_is_cut_by_errors_and_another_is_not() {
    let most_in_flight = |is_adaptive| {
        let mut bed = Bed::known(100, 20, &[11]);
        bed.push(11, 200);
        bed.turns(200);
        let limit = Limit { is_adaptive, ..limit(20) };
        for _ in 0..3 {
            (0..bed.in_flight(11)).for_each(|_| bed.done_with(11, BUSY, limit));
            while bed.turn_with(limit).is_some() {}
        }
        bed.in_flight(11)
    };

    assert_eq!(most_in_flight(false), 20);
    assert!((1..15).contains(&most_in_flight(true)));
}
