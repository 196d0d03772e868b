//! Leases of processes: lost, taken over, handed back.

use std::time::Duration;

use longshore_core::ports::{DeliveryQueue, Next, Stored};
use longshore_store::Store;
use longshore_store::leadership::Candidate;

use super::bed::{Bed, ENDPOINT, LEASE, attempted, claim, event, here, persist, record};

/// Beats until somebody dead was buried; the lease is short, so this is soon.
async fn beat_until_due(store: &Store, count: usize) -> Vec<longshore_core::ports::ClaimedDelivery> {
    let mut claimed = Vec::new();
    let found = tokio::time::timeout(Duration::from_secs(10), async {
        while claimed.len() < count {
            assert!(store.heartbeat(here()).await.unwrap());
            claimed.extend(claim(store, 100).await);
        }
    });
    assert!(found.await.is_ok(), "{} of {count} taken over", claimed.len());
    claimed
}

#[tokio::test]
async fn a_dead_process_is_taken_over_when_its_lease_ends_and_not_before() {
    let bed = Bed::new().await;
    let dead = bed.process_for(Duration::from_secs(1)).await;
    let heir = bed.process().await;
    let started = std::time::Instant::now();
    let (fresh, scheduled) = (bed.fresh(&dead).await, bed.claimed(&dead).await);
    dead.heartbeat(fresh.id).await.unwrap();
    heir.heartbeat(here()).await.unwrap();
    assert!(claim(&heir, 100).await.is_empty());

    let mut found: Vec<_> = beat_until_due(&heir, 2).await.into_iter().map(|claim| claim.id).collect();

    assert!(started.elapsed() >= Duration::from_secs(1));
    found.sort_unstable();
    assert_eq!(found, [fresh.id, scheduled.id]);
    assert_eq!(record(&dead, &[attempted(&fresh, Next::Success)]).await, 1);
    let old = dead.owner();
    assert!(!dead.heartbeat(here()).await.unwrap());
    assert_ne!(dead.owner(), old);
    assert!(dead.heartbeat(here()).await.unwrap());
}

#[tokio::test]
async fn what_was_tried_before_its_process_died_keeps_its_count() {
    let bed = Bed::new().await;
    let (dead, heir) = (bed.process().await, bed.process().await);
    let first = bed.fresh(&dead).await;
    record(&dead, &[attempted(&first, Next::RetryAfter(Duration::ZERO))]).await;
    let again = claim(&dead, 1).await;
    bed.run("UPDATE processes SET lease_until = '-infinity' WHERE id = (SELECT claimed_by FROM schedule)")
        .await;

    heir.heartbeat(here()).await.unwrap();

    // Nobody has claimed it, so nobody may seem to: an endpoint that pauses now would show it as processing for ever.
    assert_eq!(bed.delivery(first.id).await, ("Retry".to_owned(), 1, None));
    assert_eq!(again.len(), 1);
    assert!(bed.scheduled(first.id).await.unwrap().0 <= 0.0);
    assert_eq!(claim(&heir, 1).await[0].attempts, 1);
}

#[tokio::test]
async fn a_process_that_resigns_hands_over_at_once() {
    let bed = Bed::new().await;
    let (leaving, heir) = (bed.process().await, bed.process().await);
    let (fresh, scheduled) = (bed.fresh(&leaving).await, bed.claimed(&leaving).await);

    leaving.resign(fresh.id).await.unwrap();

    let mut found: Vec<_> = claim(&heir, 100).await.into_iter().map(|claim| claim.id).collect();
    found.sort_unstable();
    assert_eq!(found, [fresh.id, scheduled.id]);
    assert_eq!(bed.count("SELECT count(*) FROM processes").await, 1);
    assert_eq!(persist(&leaving, &[event(&[(ENDPOINT, true)])]).await, [Stored::New { owner: None }]);
}

#[tokio::test]
async fn nothing_is_missed_of_a_process_that_dies_while_it_stores() {
    let bed = Bed::new().await;
    let heir = bed.process().await;
    for _ in 0..20 {
        let dying = bed.process().await;
        let oldest = here();
        let batch: Vec<_> = (0..200).map(|_| event(&[(ENDPOINT, true)])).collect();
        bed.run(&format!(
            "UPDATE processes SET lease_until = '-infinity' WHERE id = '{}'",
            dying.owner().as_uuid()
        ))
        .await;
        let bury = async {
            for _ in 0..20 {
                heir.heartbeat(here()).await.unwrap();
            }
        };

        tokio::join!(persist(&dying, &batch), bury);
        heir.heartbeat(oldest).await.unwrap();

        let stuck =
            format!("SELECT count(*) FROM deliveries WHERE claimed_by = '{}'", dying.owner().as_uuid());
        assert_eq!(bed.count(&stuck).await, 0);
        dying.close().await;
    }
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 20 * 200);
}

#[tokio::test]
async fn a_burial_waits_for_the_transaction_of_the_one_it_buries() {
    let bed = Bed::new().await;
    let (dead, heir) = (bed.process().await, bed.process().await);
    bed.run("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END'")
        .await;
    let partition: String =
        sqlx::query_scalar("SELECT 'deliveries_' || to_char(now() AT TIME ZONE 'utc', 'YYYYMMDD')")
            .fetch_one(&bed.sql)
            .await
            .unwrap();
    bed.run(&format!(
        "CREATE TRIGGER slow BEFORE INSERT ON {partition} FOR EACH ROW EXECUTE FUNCTION slow()"
    ))
    .await;
    let new = event(&[(ENDPOINT, true)]);
    let id = new.deliveries[0].id;
    bed.run(&format!(
        "UPDATE processes SET lease_until = '-infinity', oldest = '{}' WHERE id = '{}'",
        id.as_uuid(),
        dead.owner().as_uuid()
    ))
    .await;

    let (stored, ()) = tokio::join!(persist(&dead, std::slice::from_ref(&new)), async {
        // From before its transaction began to after it ended.
        while bed.count("SELECT count(*) FROM processes").await > 1 {
            heir.heartbeat(here()).await.unwrap();
        }
    });

    assert!(matches!(stored[0], Stored::New { .. }));
    assert_eq!(bed.delivery(id).await, ("Scheduled".to_owned(), 0, None));
    assert!(bed.scheduled(id).await.unwrap().0 <= 0.0);
}

#[tokio::test]
async fn a_lost_lease_is_told_although_nobody_can_be_buried() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    bed.run("DELETE FROM processes").await;
    // Another one is dead and cannot be taken over: its deliveries may not be written.
    let dead = bed.process().await;
    bed.claimed(&dead).await;
    bed.run(&format!(
        "UPDATE processes SET lease_until = '-infinity' WHERE id = '{}'",
        dead.owner().as_uuid()
    ))
    .await;
    bed.run("ALTER TABLE schedule ADD CONSTRAINT stuck CHECK (claimed_by IS NOT NULL) NOT VALID").await;

    assert!(!store.heartbeat(here()).await.unwrap());
    assert!(store.heartbeat(here()).await.unwrap());
}

/// A duty belongs to one process until its lease is over by the clock of Postgres.
#[tokio::test]
async fn a_duty_is_one_processs_until_it_is_silent_or_gives_it_back() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let (one, two) = (Candidate::new("a".to_owned()), Candidate::new("b".to_owned()));
    let lead = async |who: &Candidate| store.lead("upkeep", who, LEASE).await.unwrap();
    let leader =
        async || store.leader("upkeep").await.unwrap().map(|leader| (leader.hostname, leader.is_alive));

    assert_eq!(leader().await, None);
    assert!(lead(&one).await && lead(&one).await && !lead(&two).await);
    assert!(store.lead("other", &two, LEASE).await.unwrap(), "another duty is another's");
    assert_eq!(leader().await, Some(("a".to_owned(), true)));
    bed.run("UPDATE leaderships SET held_until = now() - interval '1 second' WHERE duty = 'upkeep'").await;
    assert_eq!(leader().await, Some(("a".to_owned(), false)));
    assert!(lead(&two).await && !lead(&one).await);
    store.stop_leading("upkeep", &one).await.unwrap();
    assert!(!lead(&one).await, "who does not have it gives nothing back");
    store.stop_leading("upkeep", &two).await.unwrap();
    assert!(lead(&one).await);
}
