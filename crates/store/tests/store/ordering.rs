//! Lanes: one delivery at a time, in the order of the batch, whatever runs beside.

use std::collections::HashSet;
use std::time::Duration;

use longshore_core::ports::{
    ClaimedDelivery, DeliveryQueue, EventLog, NewEvent, Next, PersistBatch, Recorded,
};
use longshore_core::{DeliveryId, LaneId, SubscriptionId};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, LEASE, attempted, claim, event, here, persist, record, skipped};

const LANE: LaneId = LaneId::from_u128(0x1A);
const OTHER_LANE: LaneId = LaneId::from_u128(0x1B);
const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_u128(0x5);

fn laned(lane: LaneId) -> NewEvent {
    let mut new = event(&[(ENDPOINT, true)]);
    new.deliveries[0].lane = Some(lane);
    new.deliveries[0].subscription = Some(SUBSCRIPTION);
    new
}

fn several(lane: LaneId, count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| laned(lane)).collect()
}

fn ids(events: &[NewEvent]) -> Vec<DeliveryId> {
    events.iter().map(|new| new.deliveries[0].id).collect()
}

async fn recorded(store: &Store, delivery: &ClaimedDelivery, next: Next) -> Recorded {
    let recorded = store.record(&[attempted(delivery, next)], LEASE).await.unwrap();
    assert_eq!(recorded.refused, 0);
    recorded
}

async fn lanes(bed: &Bed) -> i64 {
    bed.count("SELECT count(*) FROM lanes").await
}

#[tokio::test]
async fn a_lane_gives_one_delivery_at_a_time_in_the_order_of_the_batch() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut events = several(LANE, 3);
    let wanted = ids(&events);
    // The ids of events say nothing about their order.
    events.sort_by_key(|new| std::cmp::Reverse(new.event.id));
    persist(&store, &events).await;

    let first = claim(&store, 10).await;
    assert_eq!(first.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), wanted[..1]);
    assert!(claim(&store, 10).await.is_empty());
    assert_eq!(bed.state(wanted[1]).await, "Scheduled");

    let second = recorded(&store, &first[0], Next::Success).await.claimed.remove(0);
    assert_eq!((second.id, second.scheduled, second.owner), (wanted[1], true, store.owner()));
    assert_eq!(bed.state(second.id).await, "Processing");
    assert!(second.sequence() > first[0].sequence());
    let more = several(LANE, 1);
    persist(&store, &more).await;
    let third = recorded(&store, &second, Next::Failure).await.claimed.remove(0);
    let fourth = recorded(&store, &third, Next::Success).await.claimed.remove(0);
    assert_eq!([third.id, fourth.id], [wanted[2], ids(&more)[0]]);
    assert!(recorded(&store, &fourth, Next::Success).await.claimed.is_empty());
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 0);

    let again = several(LANE, 1);
    persist(&store, &again).await;
    assert_eq!(claim(&store, 10).await[0].id, ids(&again)[0]);
}

#[tokio::test]
async fn lanes_go_on_beside_each_other_and_beside_what_has_none() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut events = several(LANE, 2);
    events.extend(several(OTHER_LANE, 2));
    events.push(event(&[(ENDPOINT, false)]));
    persist(&store, &events).await;

    let got: HashSet<DeliveryId> = claim(&store, 10).await.iter().map(|delivery| delivery.id).collect();

    let all = ids(&events);
    assert_eq!(got, HashSet::from([all[0], all[2], all[4]]));
    let waiting = store.waiting(10).await.unwrap();
    assert_eq!(waiting.len(), 1, "what waits behind is due at no time: {waiting:?}");
}

#[tokio::test]
async fn a_retry_keeps_its_place_and_so_does_what_is_parked() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    persist(&store, &several(LANE, 2)).await;
    let first = claim(&store, 10).await.remove(0);

    let nothing = recorded(&store, &first, Next::RetryAfter(Duration::ZERO)).await;
    assert!(nothing.claimed.is_empty() && !nothing.has_due);
    let again = claim(&store, 10).await;
    assert_eq!((again.len(), again[0].id, again[0].sequence()), (1, first.id, first.sequence()));
    record(&store, &[skipped(&again[0], Next::Parked(Duration::ZERO))]).await;
    let again = claim(&store, 10).await;
    assert_eq!((again.len(), again[0].id), (1, first.id));
}

#[tokio::test]
async fn nobody_jumps_the_queue_of_an_endpoint() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    persist(&store, &several(LANE, 2)).await;
    let first = claim(&store, 10).await.remove(0);
    let other = event(&[(ENDPOINT, false)]);
    persist(&store, std::slice::from_ref(&other)).await;

    let done = recorded(&store, &first, Next::Success).await;

    assert!(done.claimed.is_empty() && done.has_due);
    assert_eq!(claim(&store, 1).await[0].id, other.deliveries[0].id);
    assert_eq!(claim(&store, 1).await.len(), 1);
}

#[tokio::test]
async fn a_process_that_stops_makes_the_next_one_due_for_everybody() {
    let bed = Bed::new().await;
    let (store, other) = (bed.process().await, bed.process().await);
    let events = several(LANE, 2);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);

    let done = store.record(&[attempted(&first, Next::Success)], Duration::ZERO).await.unwrap();

    assert!(done.claimed.is_empty() && done.has_due);
    assert_eq!(claim(&other, 10).await[0].id, ids(&events)[1]);
}

#[tokio::test]
async fn a_dead_process_gives_its_head_back_and_its_late_outcome_moves_nothing() {
    let bed = Bed::new().await;
    let (dead, heir) = (bed.process().await, bed.process().await);
    let events = several(LANE, 3);
    persist(&dead, &events).await;
    let first = claim(&dead, 10).await.remove(0);
    let second = recorded(&dead, &first, Next::Success).await.claimed.remove(0);

    dead.resign(here()).await.unwrap();
    heir.heartbeat(here()).await.unwrap();
    let again = claim(&heir, 10).await;
    assert_eq!((again.len(), again[0].id), (1, second.id));
    let late = dead.record(&[attempted(&second, Next::Success)], LEASE).await.unwrap();
    assert_eq!((late.refused, late.claimed.len(), late.has_due), (1, 0, false));
    assert!(claim(&heir, 10).await.is_empty(), "the next one before the former is recorded");

    let third = recorded(&heir, &again[0], Next::Success).await.claimed.remove(0);
    assert_eq!(third.id, ids(&events)[2]);
    // Late again: the lane is further.
    let late = dead.record(&[attempted(&second, Next::Success)], LEASE).await.unwrap();
    assert_eq!((late.refused, late.claimed.len(), late.has_due), (1, 0, false));
}

#[tokio::test]
async fn a_record_whose_reply_was_lost_tells_of_the_next_one_again() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 2);
    persist(&store, &events).await;
    let outcome = [attempted(&claim(&store, 10).await[0], Next::Success)];
    let lost = store.record(&outcome, LEASE).await.unwrap();

    let again = store.record(&outcome, LEASE).await.unwrap();

    assert_eq!(again.refused, 1);
    assert_eq!((again.claimed[0].id, lost.claimed[0].id), (ids(&events)[1], ids(&events)[1]));
}

#[tokio::test]
async fn a_batch_stored_twice_enters_its_lanes_once() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 2);
    persist(&store, &events).await;
    persist(&store, &events).await;

    assert_eq!(bed.count("SELECT entered FROM lanes").await, 2);
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 2);
}

#[tokio::test]
async fn sequences_grow_within_a_lane_although_a_clock_goes_back() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut ahead = several(LANE, 1);
    // Made by a process whose clock is an hour ahead, still of today's partition or the next.
    let later = ahead[0].deliveries[0].id.as_u128() + (3_600_000_u128 << 80);
    ahead[0].deliveries[0].id = DeliveryId::from_u128(later);
    persist(&store, &ahead).await;
    persist(&store, &several(LANE, 2)).await;

    let mut delivery = claim(&store, 10).await.remove(0);
    let mut sequences = vec![delivery.sequence()];
    for _ in 0..2 {
        delivery = recorded(&store, &delivery, Next::Success).await.claimed.remove(0);
        sequences.push(delivery.sequence());
    }

    assert_eq!(sequences[0], DeliveryId::from_u128(later).sequence());
    assert_eq!(sequences[1..], [sequences[0] + 1, sequences[0] + 2]);
    assert!(sequences[2] < 1 << 53);
}

#[tokio::test]
async fn a_blocked_lane_waits_until_it_is_resumed() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 2);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);
    assert!(recorded(&store, &first, Next::Blocked).await.claimed.is_empty());
    persist(&store, &several(LANE, 1)).await;

    assert!(claim(&store, 10).await.is_empty());
    assert!(store.waiting(10).await.unwrap().is_empty());
    assert_eq!(bed.delivery(first.id).await, ("Retry".to_owned(), 1, None));
    let stopped = store.stopped_deliveries(None, 10).await.unwrap();
    assert_eq!(stopped.len(), 1);
    assert_eq!((stopped[0].lane, stopped[0].delivery, stopped[0].waiting), (LANE, first.id, 2));
    assert!(stopped[0].blocked_at.is_some());

    assert_eq!(store.resume_lane(LANE).await.unwrap(), 1);
    assert_eq!(store.resume_lane(LANE).await.unwrap(), 0);
    assert!(store.stopped_deliveries(None, 10).await.unwrap().is_empty());
    let again = claim(&store, 10).await;
    assert_eq!((again.len(), again[0].id, again[0].attempts), (1, first.id, 0));
    assert_eq!(again[0].sequence(), first.sequence());
    let second = recorded(&store, &again[0], Next::Success).await.claimed.remove(0);
    assert_eq!(second.id, ids(&events)[1]);
}

#[tokio::test]
async fn a_blocked_lane_goes_on_behind_what_is_discarded() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 2);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);
    recorded(&store, &first, Next::Blocked).await;

    assert_eq!(store.discard_stopped(OTHER_LANE).await.unwrap(), 0);
    assert_eq!(store.discard_stopped(LANE).await.unwrap(), 1);

    assert_eq!(bed.state(first.id).await, "Discarded");
    assert!(bed.scheduled(first.id).await.is_none());
    assert_eq!(claim(&store, 10).await[0].id, ids(&events)[1]);
    assert_eq!(store.discard_stopped(LANE).await.unwrap(), 0, "a lane that goes on loses nothing");
}

#[tokio::test]
async fn what_is_set_aside_waits_while_its_lane_goes_on() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 3);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);

    let second = recorded(&store, &first, Next::SetAside).await.claimed.remove(0);
    assert_eq!(second.id, ids(&events)[1]);
    assert_eq!(bed.delivery(first.id).await, ("Retry".to_owned(), 1, None));
    let stopped = store.stopped_deliveries(None, 10).await.unwrap();
    assert_eq!((stopped.len(), stopped[0].delivery, stopped[0].blocked_at), (1, first.id, None));

    // Resumed it goes out beside its lane, and is set aside again.
    assert_eq!(store.resume_lane(LANE).await.unwrap(), 1);
    let again = claim(&store, 10).await.remove(0);
    assert_eq!((again.id, again.attempts, again.sequence()), (first.id, 0, first.sequence()));
    let nothing = recorded(&store, &again, Next::SetAside).await;
    assert!(nothing.claimed.is_empty() && !nothing.has_due);
    // A subscription that blocks by now sets aside what is out of its lane all the same.
    store.resume_lane(LANE).await.unwrap();
    recorded(&store, &claim(&store, 10).await.remove(0), Next::Blocked).await;
    assert_eq!(store.stopped_deliveries(None, 10).await.unwrap()[0].blocked_at, None);

    let third = recorded(&store, &second, Next::Success).await.claimed.remove(0);
    assert_eq!(third.id, ids(&events)[2]);
    assert_eq!(store.discard_stopped(LANE).await.unwrap(), 1);
    assert_eq!(bed.state(first.id).await, "Discarded");
    assert_eq!(bed.state(third.id).await, "Processing");
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_is_gone_is_discarded_with_its_head() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 1_200);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);

    let next = store.record(&[skipped(&first, Next::Discarded)], LEASE).await.unwrap();

    assert_eq!(next.claimed[0].id, ids(&events)[1_001]);
    assert_eq!(bed.count("SELECT count(*) FROM deliveries WHERE state = 'Discarded'").await, 1_001);
    let rest = store.record(&[skipped(&next.claimed[0], Next::Discarded)], LEASE).await.unwrap();
    assert!(rest.claimed.is_empty());
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 0);
    assert_eq!(bed.count("SELECT count(*) FROM lanes WHERE head IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_lane_without_an_ordered_subscription_is_not_blocked_for_ever() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let project = "INSERT INTO projects (id, name) VALUES ('00000000-0000-0000-0000-00000000000a', 'p')";
    let endpoint = "INSERT INTO endpoints (project_id, id, name, url) VALUES
        ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-0000000000e1', 'e', 'https://a.example/')";
    let subscription = "INSERT INTO subscriptions (project_id, id, endpoint_id, name, ordered) VALUES
        ('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000005',
         '00000000-0000-0000-0000-0000000000e1', 's', '{\"key\":\"key\"}')";
    for sql in [project, endpoint, subscription] {
        bed.run(sql).await;
    }
    let events = several(LANE, 2);
    persist(&store, &events).await;
    let first = claim(&store, 10).await.remove(0);
    recorded(&store, &first, Next::Blocked).await;
    assert_eq!(store.free_unordered_lanes().await.unwrap(), 0);

    bed.run("UPDATE subscriptions SET ordered = NULL").await;

    assert_eq!(store.free_unordered_lanes().await.unwrap(), 1);
    assert_eq!(bed.state(first.id).await, "Failure");
    assert_eq!(claim(&store, 10).await[0].id, ids(&events)[1]);
}

#[tokio::test]
async fn idle_lanes_are_forgotten_and_headless_ones_go_on() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events = several(LANE, 2);
    persist(&store, &events).await;
    persist(&store, &several(OTHER_LANE, 1)).await;
    // As retention does with the partition of the delivery.
    bed.run(&format!("DELETE FROM schedule WHERE delivery_id = '{}'", ids(&events)[0].as_uuid())).await;

    assert_eq!(store.tend_lanes(Duration::ZERO).await.unwrap(), (1, 0));
    let claimed = claim(&store, 10).await;
    assert_eq!(claimed.len(), 2);
    for delivery in claimed {
        recorded(&store, &delivery, Next::Success).await;
    }
    assert_eq!(store.tend_lanes(Duration::from_secs(60)).await.unwrap(), (0, 0));
    assert_eq!(lanes(&bed).await, 2);
    assert_eq!(store.tend_lanes(Duration::ZERO).await.unwrap(), (0, 2));
    assert_eq!(lanes(&bed).await, 0);
}

/// Delivers whatever of the lanes it gets, until so many are done; returns them in the order in which they ended.
async fn deliver(store: &Store, wanted: usize, done: &std::sync::Mutex<Vec<DeliveryId>>) {
    let mut held = Vec::new();
    while done.lock().unwrap().len() < wanted {
        if held.is_empty() {
            held = claim(store, 10).await;
            tokio::task::yield_now().await;
        }
        let outcomes: Vec<_> = held.drain(..).map(|delivery| attempted(&delivery, Next::Success)).collect();
        done.lock().unwrap().extend(outcomes.iter().map(|outcome| outcome.delivery));
        let recorded = store.record(&outcomes, LEASE).await.unwrap();
        assert_eq!(recorded.refused, 0, "two had the same delivery");
        held = recorded.claimed;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_enters_while_others_leave_is_neither_stuck_nor_out_of_order() {
    const ROUNDS: usize = 150;
    let bed = Bed::new().await;
    let (ingest, other, one, two) =
        (bed.process().await, bed.process().await, bed.process().await, bed.process().await);
    let done = std::sync::Mutex::new(Vec::new());
    let store_all = |store: Store, lane| async move {
        let mut entered = Vec::new();
        for round in 0..ROUNDS {
            let mut events = several(lane, 1 + round % 3);
            // The lanes of a batch come in any order, and another's lane is in it, too.
            events.extend(several(LaneId::from_u128(0x100 + (round % 2) as u128), 1));
            entered.extend(ids(&events[..=round % 3]));
            store.persist(&PersistBatch { events, ..PersistBatch::default() }).await.unwrap();
        }
        entered
    };
    let wanted = 2 * (0..ROUNDS).map(|round| 2 + round % 3).sum::<usize>();
    let work = async {
        tokio::join!(
            store_all(ingest.clone(), LANE),
            store_all(other.clone(), OTHER_LANE),
            deliver(&one, wanted, &done),
            deliver(&two, wanted, &done),
        )
    };
    let (in_one, in_other, (), ()) =
        tokio::time::timeout(Duration::from_secs(120), Box::pin(work)).await.expect("a lane is stuck");

    let done = done.into_inner().unwrap();
    assert_eq!(done.iter().collect::<HashSet<_>>().len(), wanted, "one was delivered twice");
    for entered in [in_one, in_other] {
        let of_lane: HashSet<_> = entered.iter().copied().collect();
        let left: Vec<_> = done.iter().copied().filter(|id| of_lane.contains(id)).collect();
        assert_eq!(left, entered);
    }
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 0);
    assert_eq!(bed.count("SELECT count(*) FROM lanes WHERE head IS NOT NULL").await, 0);
}
