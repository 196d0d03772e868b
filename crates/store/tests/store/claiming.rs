//! Claims: by endpoint, by one at a time, for as long as their lease.

use std::collections::HashSet;
use std::time::Duration;

use longshore_core::EndpointId;
use longshore_core::ports::{DeliveryQueue, Demand, Next};

use super::bed::{Bed, ENDPOINT, LEASE, OTHER, attempted, claim, event, persist, record};

#[tokio::test]
async fn claims_go_by_endpoint_and_take_no_more_than_asked_for() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events: Vec<_> = (0..5).map(|_| event(&[(ENDPOINT, false), (OTHER, false)])).collect();
    persist(&store, &events).await;

    let demand = [Demand { endpoint: ENDPOINT, max: 3 }, Demand { endpoint: OTHER, max: 100 }];
    let claimed = store.claim(&demand, LEASE).await.unwrap();

    let of = |endpoint| claimed.iter().filter(|delivery| delivery.endpoint == endpoint).count();
    assert_eq!((of(ENDPOINT), of(OTHER)), (3, 5));
    let delivery = claimed.iter().find(|delivery| delivery.endpoint == ENDPOINT).unwrap();
    assert_eq!(bed.delivery(delivery.id).await, ("Processing".to_owned(), 0, Some(store.owner())));
    let (due_in, owner) = bed.scheduled(delivery.id).await.unwrap();
    assert!((20.0..=30.0).contains(&due_in) && owner == Some(store.owner()), "{due_in} {owner:?}");
    assert!(store.claim(&[], LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_longest_due_are_claimed_first() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let events: Vec<_> = (0..4).map(|_| event(&[(ENDPOINT, false)])).collect();
    persist(&store, &events).await;
    let oldest = events[2].deliveries[0].id;
    bed.run(&format!(
        "UPDATE schedule SET due_at = now() - interval '1h' WHERE delivery_id = '{}'",
        oldest.as_uuid()
    ))
    .await;

    assert_eq!(claim(&store, 1).await[0].id, oldest);
}

#[tokio::test]
async fn two_claimers_never_get_the_same_delivery_and_do_not_wait_for_each_other() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    let events: Vec<_> = (0..200).map(|_| event(&[(ENDPOINT, false)])).collect();
    persist(&one, &events).await;
    // Somebody is in the middle of claiming ten of them.
    let mut open = bed.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM schedule ORDER BY due_at, delivery_id LIMIT 10 FOR UPDATE")
        .execute(&mut *open)
        .await
        .unwrap();

    let mut seen = HashSet::new();
    for _ in 0..5 {
        let (a, b) = tokio::join!(claim(&one, 30), claim(&two, 30));
        for delivery in a.iter().chain(&b) {
            assert!(seen.insert(delivery.id), "{:?} twice", delivery.id);
        }
    }

    assert_eq!(seen.len(), 190);
    open.rollback().await.unwrap();
    assert_eq!(claim(&one, 30).await.len(), 10);
}

#[tokio::test]
async fn a_claim_whose_lease_has_ended_is_due_again() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    persist(&one, &[event(&[(ENDPOINT, false)])]).await;
    let lost = one.claim(&[Demand { endpoint: ENDPOINT, max: 1 }], Duration::ZERO).await.unwrap();

    let found = claim(&two, 1).await;

    assert_eq!((lost.len(), found.len()), (1, 1));
    assert_eq!(bed.delivery(found[0].id).await.2, Some(two.owner()));
}

#[tokio::test]
async fn a_finished_delivery_is_never_claimed() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let delivery = bed.claimed(&store).await;
    record(&store, &[attempted(&delivery, Next::Success)]).await;
    bed.run(&format!(
        "INSERT INTO schedule SELECT id, project_id, endpoint_id, event_id, now() FROM deliveries WHERE id = '{}'",
        delivery.id.as_uuid()
    ))
    .await;

    assert!(claim(&store, 10).await.is_empty());
    assert_eq!(bed.state(delivery.id).await, "Success");
}

#[tokio::test]
async fn waiting_names_each_endpoint_once_with_its_first_due_time() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let endpoints: Vec<EndpointId> = (1..=50).map(EndpointId::from_u128).collect();
    for endpoint in &endpoints {
        persist(&store, &[event(&[(*endpoint, false)]), event(&[(*endpoint, false)])]).await;
    }
    bed.run(&format!(
        "UPDATE schedule SET due_at = now() + interval '1h' WHERE endpoint_id <= '{}'",
        endpoints[39].as_uuid()
    ))
    .await;

    let all = store.waiting(1_000).await.unwrap();
    let soonest = store.waiting(10).await.unwrap();

    let due: HashSet<_> = all.iter().filter(|waiting| waiting.due_in.is_zero()).map(|w| w.endpoint).collect();
    assert_eq!((all.len(), due.len()), (50, 10));
    assert!(all.iter().any(|waiting| waiting.due_in > Duration::from_secs(3_500)));
    // A limit leaves out the latest, never the same endpoints again and again.
    assert_eq!(soonest.iter().map(|waiting| waiting.endpoint).collect::<HashSet<_>>(), due);
    bed.run("DELETE FROM schedule").await;
    assert!(store.waiting(10).await.unwrap().is_empty());
}
