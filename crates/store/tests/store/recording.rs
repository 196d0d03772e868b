//! Outcomes: what each leaves behind, and the fence.

use std::time::Duration;

use longshore_core::ports::{DeliveryQueue, Next};

use super::bed::{Bed, attempted, claim, here, record, skipped};

#[tokio::test]
async fn a_fresh_delivery_that_goes_through_never_touches_the_schedule() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let delivery = bed.fresh(&store).await;

    assert_eq!(record(&store, &[attempted(&delivery, Next::Success)]).await, 0);

    assert_eq!(bed.delivery(delivery.id).await, ("Success".to_owned(), 1, None));
    assert!(bed.scheduled(delivery.id).await.is_none());
    let row: (i16, String, i16, i32, Vec<u8>, String, String) = sqlx::query_as(
        "SELECT number, outcome, http_status, duration_us, response_body, next_state, remote_address FROM attempts",
    )
    .fetch_one(&bed.sql)
    .await
    .unwrap();
    let (success, state, remote) = ("success".to_owned(), "Success".to_owned(), "203.0.113.9".to_owned());
    assert_eq!(row, (1, success, 200, 12_000, b"ok\0".to_vec(), state, remote));
}

#[tokio::test]
async fn a_retry_falls_due_on_the_databases_clock_and_keeps_its_count() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let delivery = bed.fresh(&store).await;

    record(&store, &[attempted(&delivery, Next::RetryAfter(Duration::from_secs(90)))]).await;

    assert_eq!(bed.delivery(delivery.id).await, ("Retry".to_owned(), 1, None));
    let (due_in, owner) = bed.scheduled(delivery.id).await.unwrap();
    assert!((80.0..=90.0).contains(&due_in) && owner.is_none(), "{due_in} {owner:?}");
    assert!(claim(&store, 10).await.is_empty());
    bed.run("UPDATE schedule SET due_at = now()").await;
    let again = claim(&store, 10).await.remove(0);
    assert_eq!((again.id, again.attempts, again.scheduled), (delivery.id, 1, true));
    assert_eq!(again.event, delivery.event);
    record(&store, &[attempted(&again, Next::Success)]).await;
    assert_eq!(bed.delivery(delivery.id).await, ("Success".to_owned(), 2, None));
    assert!(bed.scheduled(delivery.id).await.is_none());
    assert_eq!(bed.count("SELECT count(*) FROM attempts").await, 2);
}

#[tokio::test]
async fn what_is_given_up_or_discarded_leaves_the_schedule() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let (failed, discarded) = (bed.claimed(&store).await, bed.claimed(&store).await);

    let outcomes = [attempted(&failed, Next::Failure), skipped(&discarded, Next::Discarded)];
    assert_eq!(record(&store, &outcomes).await, 0);

    assert_eq!(bed.delivery(failed.id).await, ("Failure".to_owned(), 1, None));
    assert_eq!(bed.delivery(discarded.id).await, ("Discarded".to_owned(), 0, None));
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 0);
    assert_eq!(bed.count("SELECT count(*) FROM deliveries WHERE finished_at IS NULL").await, 0);
}

#[tokio::test]
async fn what_is_parked_waits_and_counts_no_attempt() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let (fresh, waiting) = (bed.fresh(&store).await, bed.claimed(&store).await);

    let parked = Next::Parked(Duration::from_secs(60));
    record(&store, &[skipped(&fresh, parked), skipped(&waiting, parked)]).await;

    for delivery in [fresh, waiting] {
        assert_eq!(bed.delivery(delivery.id).await, ("Scheduled".to_owned(), 0, None));
        assert!(bed.scheduled(delivery.id).await.unwrap().0 > 50.0);
    }
    assert_eq!(bed.count("SELECT count(*) FROM attempts").await, 0);
}

#[tokio::test]
async fn the_outcome_of_a_stolen_claim_changes_nothing_but_is_on_record() {
    let bed = Bed::new().await;
    let (slow, thief) = (bed.process().await, bed.process().await);
    let delivery = bed.claimed(&slow).await;
    bed.run("UPDATE schedule SET due_at = now()").await;
    let stolen = claim(&thief, 10).await.remove(0);

    let refused = record(&slow, &[attempted(&delivery, Next::Success)]).await;

    assert_eq!(refused, 1);
    assert_eq!(bed.delivery(delivery.id).await, ("Processing".to_owned(), 0, Some(thief.owner())));
    assert_eq!(bed.scheduled(delivery.id).await.unwrap().1, Some(thief.owner()));
    assert_eq!(bed.count("SELECT count(*) FROM attempts").await, 1);
    assert_eq!(record(&thief, &[attempted(&stolen, Next::Failure)]).await, 0);
    assert_eq!(bed.state(delivery.id).await, "Failure");
    assert_eq!(record(&slow, &[attempted(&delivery, Next::Success)]).await, 1);
    assert_eq!(bed.state(delivery.id).await, "Failure");
}

#[tokio::test]
async fn recording_twice_is_recording_once() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let batch = [
        attempted(&bed.fresh(&store).await, Next::Success),
        attempted(&bed.fresh(&store).await, Next::RetryAfter(Duration::from_secs(60))),
        attempted(&bed.claimed(&store).await, Next::Failure),
    ];

    record(&store, &batch).await;
    let due = bed.scheduled(batch[1].delivery).await.unwrap().0;
    record(&store, &batch).await;

    assert_eq!(bed.count("SELECT count(*) FROM attempts").await, 3);
    assert_eq!(bed.delivery(batch[1].delivery).await, ("Retry".to_owned(), 1, None));
    assert!(bed.scheduled(batch[1].delivery).await.unwrap().0 <= due);
    assert_eq!(bed.state(batch[2].delivery).await, "Failure");
}

#[tokio::test]
async fn a_thousand_outcomes_are_one_call() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut outcomes = Vec::new();
    let events: Vec<_> = (0..1_000).map(|_| super::bed::event(&[(super::bed::ENDPOINT, true)])).collect();
    super::bed::persist(&store, &events).await;
    for new in &events {
        outcomes.push(attempted(&super::bed::claim_of(new, store.owner()), Next::Success));
    }

    assert_eq!(record(&store, &outcomes).await, 0);

    assert_eq!(bed.count("SELECT count(*) FROM deliveries WHERE state = 'Success'").await, 1_000);
    assert!(store.heartbeat(here()).await.unwrap());
}
