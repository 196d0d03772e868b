//! Budgets over the fleet: the timelines of endpoints, the ingest budgets of projects.

use std::time::{Duration, Instant};

use longshore_core::RateLimit;
use longshore_core::ports::{RateLanes, SlotAsk, SlotGrant, TokenAsk};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, OTHER, PROJECT};

const HORIZON: Duration = Duration::from_secs(5);
const SPACING: Duration = Duration::from_millis(2);

const fn ask(spacing: Duration, count: u32) -> SlotAsk {
    SlotAsk { endpoint: ENDPOINT, spacing, count }
}

async fn take(store: &Store, ask: SlotAsk) -> SlotGrant {
    store.take_slots(&[ask], HORIZON).await.unwrap().remove(0)
}

#[tokio::test]
async fn slices_of_two_processes_at_once_never_overlap() {
    let bed = Bed::new().await;
    let start = Instant::now();
    let mut takers = Vec::new();
    for count in [3, 7] {
        let store = bed.process().await;
        takers.push(tokio::spawn(async move {
            let mut slots = Vec::new();
            for _ in 0..40 {
                let grant = take(&store, ask(SPACING, count)).await;
                assert_eq!(grant.count, count);
                slots.push((start.elapsed() + grant.starts_in, count));
            }
            slots
        }));
    }
    let mut slices = Vec::new();
    for taker in takers {
        slices.extend(taker.await.unwrap());
    }

    // 400 slots, one after the other: the last ends where all of them together must, at the earliest.
    let last = slices.iter().map(|(begin, count)| *begin + SPACING * *count).max().unwrap();
    assert!(last >= SPACING * 400, "{last:?}");
}

#[tokio::test]
async fn an_idle_timeline_begins_now_and_saves_nothing_up() {
    let bed = Bed::new().await;
    let store = bed.process().await;

    let first = take(&store, ask(SPACING, 10)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let later = take(&store, ask(SPACING, 10)).await;
    let next = take(&store, ask(SPACING, 10)).await;

    assert_eq!([first.count, later.count, next.count], [10; 3]);
    assert!(first.starts_in < SPACING && later.starts_in < SPACING, "{first:?} {later:?}");
    assert!(next.starts_in > Duration::ZERO && next.starts_in <= SPACING * 10, "{next:?}");
}

#[tokio::test]
async fn nobody_takes_what_is_too_far_ahead_and_a_changed_limit_starts_anew() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let slow = Duration::from_secs(3_600);

    assert_eq!(take(&store, ask(slow, 1)).await.count, 1);
    let refused = take(&store, ask(slow, 1)).await;
    assert_eq!(refused.count, 0);
    assert!(refused.starts_in > Duration::from_secs(3_590), "{refused:?}");
    let again = take(&store, ask(slow, 1)).await;
    assert!(again.starts_in <= refused.starts_in, "asking costs nothing");

    let quick = take(&store, ask(SPACING, 5)).await;
    assert_eq!(quick.count, 5);
    assert!(quick.starts_in <= SPACING, "{quick:?}");
}

#[tokio::test]
async fn several_endpoints_are_asked_for_at_once() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let asks = [ask(SPACING, 1), SlotAsk { endpoint: OTHER, spacing: SPACING, count: 2 }];

    let mut counts: Vec<_> =
        store.take_slots(&asks, HORIZON).await.unwrap().into_iter().map(|grant| grant.count).collect();

    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
    assert!(store.take_slots(&[], HORIZON).await.unwrap().is_empty());
}

#[tokio::test]
async fn processes_share_an_ingest_budget() {
    let bed = Bed::new().await;
    let (a, b) = (bed.process().await, bed.process().await);
    let limit = RateLimit::new(100, Duration::from_secs(3_600)).unwrap();
    let want = |owed, wanted| [TokenAsk { project: PROJECT, limit, owed, wanted }];

    let first = a.take_tokens(&want(0, 30)).await.unwrap()[0];
    let second = b.take_tokens(&want(10, 80)).await.unwrap()[0];
    let third = a.take_tokens(&want(5, 10)).await.unwrap()[0];

    assert_eq!((first.granted, first.left), (30, 70));
    assert_eq!((second.granted, second.left), (60, 0));
    assert_eq!((third.granted, third.left), (0, 0));
    assert!(
        second.more_in > Duration::from_secs(30) && second.more_in <= Duration::from_secs(36),
        "{second:?}"
    );
    assert!(third.more_in > Duration::from_secs(200), "what is owed is paid for first: {third:?}");
    assert!(third.full_in > Duration::from_secs(3_600));
}
