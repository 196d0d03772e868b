use longshore_core::SystemClock;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const A: EndpointId = EndpointId::from_u128(1);
const B: EndpointId = EndpointId::from_u128(2);

fn ledger(deliveries: usize) -> Ledger {
    let ids = Arc::new(IdGenerator::new(Timestamp::EPOCH, StdRng::seed_from_u64(1)));
    Ledger::new(LedgerLimits { deliveries, bytes: 1_000_000 }, ids)
}

fn want(endpoint: EndpointId) -> Wanted {
    Wanted { endpoint, concurrency: 5, per_request: 1, most: usize::MAX, bytes: 10, is_laned: false }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_does_not_move_spills_after_one_wait_and_leaves_others_alone() {
    let ledger = ledger(1_000);
    let start = Instant::now();

    let places = ledger.reserve(&[want(A); 30], &SystemClock).await;
    assert_eq!(places.iter().filter(|place| place.hand_over).count(), 10);
    assert_eq!(start.elapsed(), PATIENCE);

    let more = ledger.reserve(&[want(A), want(B)], &SystemClock).await;
    assert_eq!([more[0].hand_over, more[1].hand_over], [false, true]);
    assert_eq!(start.elapsed(), PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_spilled_lane_stays_spilled_until_told() {
    let ledger = ledger(1_000);
    let places = ledger.reserve(&[want(A); 11], &SystemClock).await;
    for place in places.iter().filter(|place| place.hand_over) {
        ledger.release(place.id, A, 10, true);
    }

    assert!(!ledger.reserve(&[want(A)], &SystemClock).await[0].hand_over);
    assert_eq!(ledger.spilled_lanes(), [A]);
    ledger.spilled([A].into_iter(), false);
    assert!(ledger.reserve(&[want(A)], &SystemClock).await[0].hand_over);
}

#[tokio::test(start_paused = true)]
async fn ingest_waits_for_a_lane_that_moves() {
    let ledger = ledger(1_000);
    let first = ledger.reserve(&[want(A); 10], &SystemClock).await;
    ledger.release(first[0].id, A, 10, true);
    let waiting = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.reserve(&[want(A); 2], &SystemClock).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());

    ledger.release(first[1].id, A, 10, true);

    assert!(waiting.await.unwrap().iter().all(|place| place.hand_over));
}

#[tokio::test(start_paused = true)]
async fn oldest_never_passes_what_is_held() {
    let ledger = ledger(1_000);
    let places = ledger.reserve(&[want(A); 3], &SystemClock).await;

    assert_eq!(ledger.oldest(), places[0].id);
    ledger.release(places[0].id, A, 10, true);
    assert_eq!(ledger.oldest(), places[1].id);
    ledger.release(places[1].id, A, 10, true);
    ledger.release(places[2].id, A, 10, true);
    let oldest = ledger.oldest();
    assert!(oldest > places[2].id);
    assert!(ledger.reserve(&[want(A)], &SystemClock).await[0].id >= oldest);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_in_all_but_for_a_few_of_each_endpoint() {
    let ledger = ledger(8);

    let hanging = ledger.reserve(&[want(A); 20], &SystemClock).await;
    let healthy = ledger.reserve(&[want(B); 20], &SystemClock).await;

    assert_eq!(hanging.iter().filter(|place| place.hand_over).count(), 8);
    assert_eq!(healthy.iter().filter(|place| place.hand_over).count(), OVERDRAFT);
    assert_eq!(ledger.held().0, 8 + OVERDRAFT);
}

#[tokio::test(start_paused = true)]
async fn the_overdrafts_of_many_endpoints_end_at_twice_the_limits() {
    let ledger = ledger(8);
    let wanted: Vec<Wanted> = (1..=100).map(|id| want(EndpointId::from_u128(id))).collect();

    let places = ledger.reserve(&wanted, &SystemClock).await;
    assert_eq!(places.iter().filter(|place| place.hand_over).count(), 16);

    let large = Wanted { bytes: 1_500_000, ..want(A) };
    let alone = Ledger::new(ledger.shared.limits, Arc::clone(&ledger.shared.ids));
    let places = alone.reserve(&[large, large, large], &SystemClock).await;
    assert_eq!([true, false, false], [0, 1, 2].map(|at: usize| places[at].hand_over));
}

fn claim(project: u128, endpoint: u128) -> Claimable {
    let (endpoint, project) = (EndpointId::from_u128(endpoint), ProjectId::from_u128(project));
    Claimable { endpoint, project, concurrency: 50, per_request: 1, most: usize::MAX }
}

#[tokio::test(start_paused = true)]
async fn claims_take_what_there_is_room_for_in_even_parts() {
    let ledger = ledger(40);
    let claims = [claim(1, 1), claim(1, 2), claim(1, 3), claim(2, 4)];

    assert_eq!(ledger.reserve_claims(&claims, 1_000), [6, 7, 7, 20]);
    assert_eq!(ledger.held().0, 40);

    ledger.unreserve_claims(EndpointId::from_u128(4), 20);
    let granted = ledger.reserve_claims(&claims, 10);
    assert_eq!((granted[..3].iter().sum(), granted[3]), (5_usize, 5));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_claimed_from_again_when_it_holds_half_of_what_it_may() {
    let ledger = ledger(1_000);
    assert_eq!(ledger.reserve_claims(&[claim(1, 1)], 1_000), [32]);

    ledger.unreserve_claims(A, 15);
    assert_eq!(ledger.reserve_claims(&[claim(1, 1)], 1_000), [0]);
    ledger.unreserve_claims(A, 1);
    assert_eq!(ledger.reserve_claims(&[claim(1, 1)], 1_000), [16]);
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_stuck_leave_half_of_the_memory_to_others() {
    let ledger = ledger(200);
    let claims: Vec<Claimable> = (1..=100).map(|endpoint| claim(1, endpoint)).collect();
    // Known, and nothing goes through.
    ledger.reserve_claims(&claims, 1_000);
    claims.iter().for_each(|claim| ledger.unreserve_claims(claim.endpoint, OVERDRAFT));
    assert_eq!(ledger.held().0, 0);
    tokio::time::advance(Duration::from_secs(60)).await;

    // They take half of it before anybody notices; then no more than a few each, of which there are some already.
    let first: usize = ledger.reserve_claims(&claims, 100).iter().sum();
    assert_eq!(first, 100);
    let more: Vec<usize> = ledger.reserve_claims(&claims[..10], 1_000);
    assert_eq!(more, [3; 10]);
    let other = ledger.reserve_claims(&[claim(2, 101)], 1_000);
    assert_eq!(other, [32]);

    // One through which something went is stuck no more.
    ledger.release(DeliveryId::from_u128(1), A, 10, true);
    ledger.unreserve_claims(A, 3);
    assert_eq!(ledger.reserve_claims(&[claim(1, 1)], 1_000), [32]);
}

#[tokio::test(start_paused = true)]
async fn a_full_memory_leaves_every_endpoint_a_few_claims_up_to_twice_the_limits() {
    let ledger = ledger(32);
    assert_eq!(ledger.reserve_claims(&[claim(1, 1)], 1_000), [32]);

    assert_eq!(ledger.reserve_claims(&[claim(1, 2), claim(1, 3)], 1_000), [OVERDRAFT; 2]);
    let many: Vec<Claimable> = (10..50).map(|endpoint| claim(1, endpoint)).collect();
    assert_eq!(ledger.reserve_claims(&many, 1_000).iter().sum::<usize>(), 24);
    assert_eq!(ledger.held().0, 64);

    ledger.add_bytes(2_000_000);
    claims_nothing(&ledger);
}

fn claims_nothing(ledger: &Ledger) {
    (1..50).for_each(|endpoint| ledger.unreserve_claims(EndpointId::from_u128(endpoint), 32));
    assert_eq!(ledger.reserve_claims(&[claim(1, 1), claim(1, 2)], 1_000), [0, 0], "bodies fill it");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_deliveries_share_requests_may_hold_two_full_ones() {
    let ledger = ledger(10_000);
    let shared = Wanted { concurrency: 1, per_request: 300, ..want(A) };

    let places = ledger.reserve(&vec![shared; 700], &SystemClock).await;

    assert_eq!(places.iter().filter(|place| place.hand_over).count(), 600);
    let claimable = Claimable { per_request: 300, ..claim(1, 2) };
    assert_eq!(ledger.reserve_claims(&[claimable], 1_000), [600]);
}
