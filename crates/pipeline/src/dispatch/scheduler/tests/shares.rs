//! Fresh deliveries and retries, of one endpoint and of the whole process.

use super::bed::{ANSWERED, Bed, TIMED_OUT};

#[test]
fn an_endpoint_sends_a_retry_after_three_fresh_ones_while_both_wait() {
    let mut bed = Bed::known(100, 1, &[11]);
    bed.push_retries(11, 5);
    bed.push(11, 9);

    let retries: Vec<bool> = bed.quick_turns(20).iter().map(|(_, is_retry)| *is_retry).collect();

    let (f, r) = (false, true);
    assert_eq!(retries, [f, f, f, r, f, f, f, r, f, f, f, r, r, r]);
}

#[test]
fn retries_take_their_share_of_the_slots_while_fresh_ones_wait() {
    let mut bed = Bed::known(20, 10, &[11, 12, 23, 24, 25]);
    bed.push_retries(11, 100);
    bed.push_retries(12, 100);
    for endpoint in [23, 24, 25] {
        bed.push(endpoint, 100);
    }

    let mut in_flight: Vec<_> = std::iter::from_fn(|| bed.turn()).collect();
    assert_eq!(in_flight.len(), 20);
    let mut sent = 0;
    for round in 0..1_000 {
        let retries = in_flight.iter().filter(|(_, is_retry)| *is_retry).count();
        assert!((3..=5).contains(&retries), "{retries} of 20 in round {round}");
        // Each ends in its turn, and another begins.
        let (endpoint, _) = in_flight.remove(0);
        bed.done(endpoint, ANSWERED);
        let next = bed.turn().expect("there is a slot and a backlog");
        sent += usize::from(next.1);
        in_flight.push(next);
        [23, 24, 25].iter().for_each(|endpoint| bed.push(*endpoint, 1));
        bed.push_retries(11, 1);
    }
    assert!((150..=250).contains(&sent), "{sent} of 1,000");
}

#[test]
fn retries_of_quick_endpoints_leave_the_rest_of_the_slots_to_what_may_come() {
    let mut bed = Bed::known(20, 50, &[11, 22]);
    bed.push_retries(11, 100);
    assert_eq!(bed.turns(100).len(), 5);
    bed.push(22, 100);
    assert_eq!(bed.turns(100), [22; 15]);

    bed.done(11, ANSWERED);
    assert_eq!(bed.turns(100), [11]);
}

#[test]
fn retries_of_slow_endpoints_have_their_whole_budget_while_nothing_fresh_waits_there() {
    let mut bed = Bed::known(40, 50, &[]);
    for endpoint in 20..30 {
        bed.push_retries(endpoint, 10);
    }
    assert_eq!(bed.turns(100).len(), 10);

    bed.push(51, 1);
    bed.push(52, 1);
    (20..30).for_each(|endpoint| (0..bed.in_flight(endpoint)).for_each(|_| bed.done(endpoint, TIMED_OUT)));

    assert_eq!(bed.turns(2), [51, 52]);
}

#[test]
fn fresh_deliveries_of_an_endpoint_that_was_passed_over_do_not_wait_for_its_retries() {
    let mut bed = Bed::known(8, 50, &[11, 12, 23]);
    bed.push_retries(11, 10);
    bed.push(23, 100);
    // Retries have their share, two; endpoint 12 has nothing but retries and is passed over.
    assert_eq!(bed.turns(100).len(), 8);
    bed.push_retries(12, 10);
    bed.done(23, ANSWERED);
    assert_eq!(bed.turns(1), [23]);

    bed.push(12, 1);
    bed.done(23, ANSWERED);
    bed.done(23, ANSWERED);
    let mut next = [bed.turn(), bed.turn()];
    next.sort_unstable();

    assert_eq!(next, [Some((12, false)), Some((23, false))]);
}

#[test]
fn retries_beside_fresh_deliveries_are_not_kept_back_by_those_of_others() {
    let mut bed = Bed::known(16, 50, &[11, 12]);
    bed.push_retries(11, 1_000);
    bed.push_retries(12, 1_000);
    bed.push(12, 1_000);
    let mut in_flight: Vec<_> = std::iter::from_fn(|| bed.turn()).collect();
    let mut sent = [0; 2];
    for round in 0..800 {
        let retries = in_flight.iter().filter(|(_, is_retry)| *is_retry).count();
        assert!(
            retries <= 4 + 3,
            "{retries} of 16 in round {round}: a share of all, and of the endpoint's own"
        );
        let (endpoint, _) = in_flight.remove(0);
        bed.done(endpoint, ANSWERED);
        let (endpoint, is_retry) = bed.turn().expect("there is a slot and a backlog");
        sent[endpoint as usize - 11] += usize::from(is_retry);
        in_flight.push((endpoint, is_retry));
    }
    assert!(sent.iter().all(|sent| *sent > 20), "{sent:?}");
}
