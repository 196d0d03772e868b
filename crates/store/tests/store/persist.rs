//! What is stored once, and what is said of it.

use bytes::Bytes;
use longshore_core::event::Headers;
use longshore_core::ports::{
    DeliveryQueue, EventLog, Identity, NewEvent, PersistBatch, QuarantinedMessage, StoreError, Stored,
};
use longshore_core::quarantine::{MessageFacts, Reason};
use longshore_core::{Clock, EventId, ProjectId, QuarantineId, SystemClock, Timestamp};

use super::bed::{Bed, ENDPOINT, IDS, OTHER, PROJECT, claim, event, identified, keyed, persist, with};

const EVENTS: &str = "SELECT count(*) FROM events";

pub(crate) fn quarantined() -> QuarantinedMessage {
    QuarantinedMessage {
        id: QuarantineId::from_u128(IDS.next(SystemClock.now())),
        project: PROJECT,
        source: None,
        reason: Reason::Undecodable,
        detail: "the body is not JSON\0".to_owned(),
        position: "m-1 \0".to_owned(),
        facts: MessageFacts {
            message_id: Some("m-1\0".to_owned()),
            attempt: Some(2),
            ..MessageFacts::default()
        },
        headers: [("a\0".to_owned(), "\0".to_owned())].into_iter().collect(),
        body: Bytes::from_static(b"\xff\0{"),
        received_at: SystemClock.now(),
    }
}

#[tokio::test]
async fn an_event_is_stored_with_its_deliveries_and_known_by_its_id() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let first = event(&[(ENDPOINT, true), (OTHER, false)]);
    let again = NewEvent { event: first.event.clone(), ..event(&[(ENDPOINT, true)]) };

    assert_eq!(
        persist(&store, std::slice::from_ref(&first)).await,
        [Stored::New { owner: Some(store.owner()) }]
    );
    assert_eq!(persist(&store, &[again]).await, [Stored::Known]);

    assert_eq!(bed.count(EVENTS).await, 1);
    assert_eq!(bed.delivery(first.deliveries[0].id).await, ("Processing".to_owned(), 0, Some(store.owner())));
    assert_eq!(bed.delivery(first.deliveries[1].id).await, ("Scheduled".to_owned(), 0, None));
    assert!(bed.scheduled(first.deliveries[0].id).await.is_none());
    assert!(bed.scheduled(first.deliveries[1].id).await.unwrap().0 <= 0.0);
    assert_eq!(bed.count("SELECT count(*) FROM deliveries").await, 2);
}

#[tokio::test]
async fn a_name_is_one_message_today_and_on_an_earlier_day_when_redelivered() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let named = |redelivered| identified(Identity::Named { digest: 7, redelivered });
    let new = [Stored::New { owner: Some(store.owner()) }];

    assert_eq!(persist(&store, &[named(false)]).await, new);
    assert_eq!(persist(&store, &[named(false)]).await, [Stored::Known]);
    assert_eq!(persist(&store, &[named(true)]).await, [Stored::Known]);
    bed.run("UPDATE message_identities SET seen_on = seen_on - 1").await;
    assert_eq!(persist(&store, &[named(true)]).await, [Stored::Known]);
    assert_eq!(bed.count(EVENTS).await, 1);
}

#[tokio::test]
async fn the_same_content_is_one_message_only_when_the_broker_says_so() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let content = |digest, redelivered| identified(Identity::Content { digest, redelivered });
    let new = Stored::New { owner: Some(store.owner()) };

    assert_eq!(persist(&store, &[content(1, false)]).await, [new]);
    assert_eq!(persist(&store, &[content(1, false)]).await, [new]);
    assert_eq!(persist(&store, &[content(1, true)]).await, [Stored::Known]);
    // Lost before it was stored: the redelivery is the first that we see.
    assert_eq!(persist(&store, &[content(2, true), content(3, false)]).await, [new, new]);
    bed.run("UPDATE message_identities SET seen_on = seen_on - 1").await;
    assert_eq!(persist(&store, &[content(2, true)]).await, [Stored::Known]);
    assert_eq!(bed.count(EVENTS).await, 4);
}

#[tokio::test]
async fn of_two_copies_in_one_batch_one_is_stored() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    for digest in 1..20 {
        let mut copies =
            [true, false].map(|redelivered| identified(Identity::Content { digest, redelivered }));
        if digest % 2 == 0 {
            copies.reverse();
        }

        let stored = persist(&store, &copies).await;

        assert_eq!(stored.iter().filter(|stored| **stored == Stored::Known).count(), 1, "{digest}");
    }
    assert_eq!(bed.count(EVENTS).await, 19);
}

#[tokio::test]
async fn a_repeated_key_is_stored_marked_and_not_delivered() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let batch = [keyed("k"), keyed("k"), keyed("other")];
    let new = Stored::New { owner: Some(store.owner()) };

    assert_eq!(persist(&store, &batch).await, [new, Stored::Duplicate, new]);
    assert_eq!(persist(&store, &[keyed("k")]).await, [Stored::Duplicate]);
    let elsewhere = with(&keyed("k"), |event| event.project = ProjectId::from_u128(0xB));
    assert_eq!(persist(&store, &[elsewhere]).await, [new]);

    assert_eq!(bed.count("SELECT count(*) FROM events WHERE is_duplicate").await, 2);
    assert_eq!(bed.count("SELECT count(*) FROM deliveries").await, 3);
}

#[tokio::test]
async fn repeating_a_commit_whose_reply_was_lost_finds_its_own_rows() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let batch = [
        keyed("k"),
        identified(Identity::Named { digest: 1, redelivered: false }),
        event(&[(ENDPOINT, false)]),
    ];

    let first = persist(&store, &batch).await;
    let again = persist(&store, &batch).await;

    assert_eq!(again[..2], first[..2]);
    assert!(matches!(again[2], Stored::New { .. }));
    assert_eq!(bed.count("SELECT count(*) FROM deliveries").await, 3);
    // Taken over meanwhile: still new, but not ours any more.
    bed.run("UPDATE processes SET lease_until = '-infinity'").await;
    bed.process().await.heartbeat(super::bed::here()).await.unwrap();
    assert_eq!(persist(&store, &batch[..1]).await, [Stored::New { owner: None }]);
}

#[tokio::test]
async fn a_commit_repeated_after_its_deliveries_were_claimed_again_hands_nothing_over() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let batch = [event(&[(ENDPOINT, true)])];
    persist(&store, &batch).await;
    // The reply was lost; so was the lease, and under the new one the same process claims what it had.
    bed.run("UPDATE processes SET lease_until = '-infinity'").await;
    bed.process().await.heartbeat(super::bed::here()).await.unwrap();
    store.heartbeat(super::bed::here()).await.unwrap();
    assert_eq!(claim(&store, 10).await.len(), 1);

    assert_eq!(persist(&store, &batch).await, [Stored::New { owner: None }]);
}

#[tokio::test]
async fn two_stores_with_the_same_messages_store_each_once() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    for round in 0..20_u128 {
        let same: Vec<_> = (0..40_u128)
            .map(|at| match at % 3 {
                0 => event(&[(ENDPOINT, true)]),
                1 => identified(Identity::Named { digest: round * 100 + at, redelivered: at % 2 == 0 }),
                _ => keyed(&format!("{round}-{}", at % 7)),
            })
            .collect();
        let mut backwards = same.clone();
        backwards.reverse();

        let (a, mut b) = tokio::join!(persist(&one, &same), persist(&two, &backwards));

        b.reverse();
        for (index, (a, b)) in a.iter().zip(&b).enumerate() {
            let owners = [a, b].map(|stored| matches!(stored, Stored::New { owner: Some(_) }));
            assert!(owners != [true, true], "{index}: {a:?} {b:?}");
        }
    }
    assert_eq!(bed.count(EVENTS).await, 20 * 40);
    assert_eq!(
        bed.count(
            "SELECT count(*) FROM deliveries d JOIN events e ON e.id = d.event_id WHERE e.is_duplicate"
        )
        .await,
        0
    );
}

#[tokio::test]
async fn quarantine_and_events_are_stored_together_or_not_at_all() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let message = quarantined();
    let batch = PersistBatch {
        events: vec![event(&[(ENDPOINT, true)])],
        quarantined: vec![message.clone()],
        ..PersistBatch::default()
    };

    store.persist(&batch).await.unwrap();
    store.persist(&batch).await.unwrap();
    let broken = with(&event(&[]), |event| event.event_type = "a\0".to_owned());
    let refused = PersistBatch {
        events: vec![event(&[]), broken],
        quarantined: vec![quarantined()],
        ..PersistBatch::default()
    };
    let refusal = store.persist(&refused).await.unwrap_err();

    assert!(matches!(refusal, StoreError::Rejected(_)), "{refusal}");
    let rows: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("SELECT reason, headers::text, body FROM quarantine")
            .fetch_all(&bed.sql)
            .await
            .unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].0.as_str(), &rows[0].2[..]), ("undecodable", &message.body[..]));
    assert_eq!(Headers::from_json(&rows[0].1).unwrap(), message.headers);
    assert_eq!(bed.count(EVENTS).await, 1);
}

#[tokio::test]
async fn a_process_without_a_lease_stores_for_everybody() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    bed.run("DELETE FROM processes").await;
    let new = event(&[(ENDPOINT, true)]);

    assert_eq!(persist(&store, std::slice::from_ref(&new)).await, [Stored::New { owner: None }]);

    assert_eq!(bed.delivery(new.deliveries[0].id).await, ("Scheduled".to_owned(), 0, None));
    assert!(bed.scheduled(new.deliveries[0].id).await.unwrap().0 <= 0.0);
}

#[tokio::test]
async fn an_event_outside_every_partition_waits_for_one_and_is_not_refused() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let day = std::time::Duration::from_secs(86_400);
    let old = with(&event(&[]), |event| event.id = EventId::floor(SystemClock.now().before(30 * day)));

    let batch = PersistBatch { events: vec![old], ..PersistBatch::default() };
    let failure = store.persist(&batch).await.unwrap_err();

    assert!(matches!(failure, StoreError::Unavailable(_)), "{failure}");
}

#[tokio::test]
async fn what_few_events_have_is_stored_and_claimed_with_those_that_have_it() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let plain = event(&[(ENDPOINT, false)]);
    let now = plain.event.received_at;
    let full = with(&event(&[(ENDPOINT, false)]), |event| {
        event.ordering_key = Some("customer-7".to_owned());
        event.occurred_at = Some(Timestamp::from_millis(now.as_millis() - 5_000));
        event.content_type = Some("application/cloudevents+json".to_owned());
        event.attributes = Some(r#"{"type":"a","source":"/b"}"#.to_owned());
    });

    persist(&store, &[full.clone(), plain.clone()]).await;

    let mut claimed = claim(&store, 10).await;
    claimed.sort_by_key(|delivery| delivery.id);
    assert_eq!(*claimed[0].event, *plain.event);
    assert_eq!(*claimed[1].event, *full.event);
    let of =
        "SELECT count(*) FROM events WHERE attributes ->> 'source' = '/b' AND ordering_key = 'customer-7'";
    assert_eq!(bed.count(of).await, 1);
    let none = "SELECT count(*) FROM events WHERE num_nulls(ordering_key, occurred_at, content_type, attributes) = 4";
    assert_eq!(bed.count(none).await, 1);
}
