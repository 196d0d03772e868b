//! The store in memory keeps the promises that `longshore_core::ports` documents.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_core::event::Target;
use longshore_core::ports::{
    Aftermath, ClaimedDelivery, DeliveryQueue, Demand, EventLog, Identity, NewDelivery, NewEvent, Next,
    Outcome, PersistBatch, StoreError, Stored,
};
use longshore_core::{
    Attempt, AttemptId, AttemptOutcome, Clock, DeliveryId, DeliveryState, EndpointId, Event, EventId,
    Headers, ProcessId, ProjectId,
};
use longshore_testkit::clock::TokioClock;
use longshore_testkit::memory::{Fault, MemoryDatabase, MemoryStore, Op, PROCESS_LEASE};

const ENDPOINT: EndpointId = EndpointId::from_u128(7);
const LEASE: Duration = Duration::from_secs(30);

fn database() -> MemoryDatabase {
    MemoryDatabase::new(TokioClock::new())
}

/// An event with one delivery of the id `delivery`.
fn event(id: u128, delivery: u128, identity: Identity, hand_over: bool) -> NewEvent {
    let event = Event {
        id: EventId::from_u128(id),
        project: ProjectId::from_u128(1),
        source: None,
        target: Target::Single(ENDPOINT),
        event_type: "invoice.paid".to_owned(),
        body: Bytes::from_static(b"{}"),
        headers: Headers::default(),
        idempotency_key: None,
        received_at: TokioClock::new().now().after(Duration::from_secs(delivery as u64)),
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    };
    let delivery = NewDelivery {
        id: DeliveryId::from_u128(delivery),
        endpoint: ENDPOINT,
        subscription: None,
        hand_over,
        lane: None,
    };
    NewEvent { event: Arc::new(event), identity, deliveries: vec![delivery] }
}

fn with_key(mut new: NewEvent, key: &str) -> NewEvent {
    let mut event = Event::clone(&new.event);
    event.idempotency_key = Some(key.to_owned());
    new.event = Arc::new(event);
    new
}

async fn persist(
    store: &MemoryStore,
    events: impl IntoIterator<Item = NewEvent>,
) -> Result<Vec<Stored>, StoreError> {
    store.persist(&PersistBatch { events: events.into_iter().collect(), ..PersistBatch::default() }).await
}

fn outcome(delivery: u128, owner: ProcessId, attempts: u16, scheduled: bool, next: Next) -> Outcome {
    let attempt = Attempt {
        id: AttemptId::from_u128(attempts.into()),
        number: attempts,
        url: "http://x/".to_owned(),
        started_at: TokioClock::new().now(),
        duration: Duration::from_millis(1),
        outcome: AttemptOutcome::Timeout,
        error: String::new(),
        request_headers: Headers::default(),
        response_headers: Headers::default(),
        response_body: Bytes::new(),
        remote: None,
    };
    Outcome {
        delivery: DeliveryId::from_u128(delivery),
        event: EventId::from_u128(1),
        project: ProjectId::from_u128(1),
        endpoint: ENDPOINT,
        owner,
        attempts,
        scheduled,
        attempt: Some(attempt),
        next,
        lane: None,
        aftermath: Aftermath::default(),
    }
}

/// Records outcomes; how many were refused.
async fn record(store: &MemoryStore, outcomes: &[Outcome]) -> usize {
    store.record(outcomes, Duration::ZERO).await.unwrap().refused
}

async fn claim(store: &MemoryStore) -> Vec<ClaimedDelivery> {
    store.claim(&[Demand { endpoint: ENDPOINT, max: 10 }], LEASE).await.unwrap()
}

fn state(database: &MemoryDatabase, delivery: u128) -> DeliveryState {
    database.delivery(DeliveryId::from_u128(delivery)).unwrap().state
}

fn new_of(store: &MemoryStore) -> Stored {
    Stored::New { owner: Some(store.owner()) }
}

const fn named(digest: u128, redelivered: bool) -> Identity {
    Identity::Named { digest, redelivered }
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_is_known_by_every_identity() {
    let database = database();
    let store = database.process();
    let content = |redelivered| Identity::Content { digest: 5, redelivered };

    // The same derived id; another id but the same name; another id but the same content, said to be redelivered.
    assert_eq!(persist(&store, [event(1, 1, Identity::Id, true)]).await.unwrap(), [new_of(&store)]);
    assert_eq!(persist(&store, [event(1, 2, Identity::Id, true)]).await.unwrap(), [Stored::Known]);
    let names = [event(2, 3, named(9, false), true), event(3, 4, named(9, false), true)];
    assert_eq!(persist(&store, names).await.unwrap(), [new_of(&store), Stored::Known]);
    let contents = [event(4, 5, content(false), true), event(5, 6, content(true), true)];
    assert_eq!(persist(&store, contents).await.unwrap(), [new_of(&store), Stored::Known]);
    // A name is one message for a day, and for longer when the broker says so.
    tokio::time::advance(Duration::from_secs(86_400)).await;
    assert_eq!(persist(&store, [event(7, 8, named(9, true), true)]).await.unwrap(), [Stored::Known]);
    // Two messages may well have the same content.
    assert_eq!(persist(&store, [event(6, 7, content(false), true)]).await.unwrap(), [new_of(&store)]);

    assert_eq!((database.events().len(), database.deliveries().len()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_key_is_stored_marked_and_not_delivered() {
    let database = database();
    let store = database.process();

    let events =
        [with_key(event(1, 1, Identity::Id, true), "k"), with_key(event(2, 2, Identity::Id, true), "k")];

    assert_eq!(persist(&store, events).await.unwrap(), [new_of(&store), Stored::Duplicate]);
    assert!(database.event(EventId::from_u128(2)).unwrap().duplicate);
    assert_eq!(database.deliveries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn repeating_a_lost_commit_gives_its_deliveries_to_their_owner() {
    let database = database();
    let store = database.process();
    let events = || {
        [
            with_key(event(1, 1, named(1, false), true), "k"),
            with_key(event(2, 2, Identity::Id, true), "k"),
            event(3, 3, Identity::Content { digest: 2, redelivered: true }, false),
        ]
    };
    database.lose_replies(Op::Persist, 1);

    assert!(matches!(persist(&store, events()).await, Err(StoreError::Unavailable(_))));
    assert_eq!(database.events().len(), 3);
    assert_eq!(
        persist(&store, events()).await.unwrap(),
        [new_of(&store), Stored::Known, Stored::New { owner: None }]
    );
    assert_eq!((database.events().len(), database.deliveries().len()), (3, 2));
    assert_eq!(database.calls(Op::Persist), 2);
}

#[tokio::test(start_paused = true)]
async fn planned_faults_change_nothing_and_are_used_up() {
    let database = database();
    let store = database.process();
    database.plan(Op::Persist, [Fault::Unavailable, Fault::Misconfigured]);
    database.reject(|new| new.event.id == EventId::from_u128(2));

    for _ in 0..2 {
        assert!(persist(&store, [event(1, 1, Identity::Id, true)]).await.unwrap_err().is_transient());
    }
    let rejected = persist(&store, [event(1, 1, Identity::Id, true), event(2, 2, Identity::Id, true)]).await;
    assert!(matches!(rejected, Err(StoreError::Rejected(_))));
    assert!(database.events().is_empty());
    assert_eq!(persist(&store, [event(1, 1, Identity::Id, true)]).await.unwrap(), [new_of(&store)]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_lasts_until_it_is_over() {
    let database = database();
    let store = database.process();
    database.set_outage(true);

    assert!(persist(&store, [event(1, 1, Identity::Id, true)]).await.is_err());
    assert!(store.heartbeat(DeliveryId::from_u128(0)).await.is_err());
    database.set_outage(false);

    assert!(store.heartbeat(DeliveryId::from_u128(0)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_handed_over_waits_and_is_claimed_once() {
    let database = database();
    let (one, two) = (database.process(), database.process());
    persist(&one, [event(1, 1, Identity::Id, false), event(2, 2, Identity::Id, true)]).await.unwrap();

    let waiting = one.waiting(10).await.unwrap();
    let claimed = claim(&two).await;

    assert_eq!((waiting.len(), waiting[0].endpoint, waiting[0].due_in), (1, ENDPOINT, Duration::ZERO));
    assert_eq!((claimed.len(), claimed[0].id, claimed[0].owner), (1, DeliveryId::from_u128(1), two.owner()));
    assert!(claim(&one).await.is_empty());
    tokio::time::advance(LEASE).await;
    assert_eq!(claim(&one).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_due_when_it_was_said_to_be() {
    let database = database();
    let store = database.process();
    persist(&store, [event(1, 1, Identity::Id, true)]).await.unwrap();

    let retry = outcome(1, store.owner(), 1, false, Next::RetryAfter(Duration::from_secs(5)));
    assert_eq!(record(&store, &[retry]).await, 0);

    assert_eq!(state(&database, 1), DeliveryState::Retry);
    tokio::time::advance(Duration::from_millis(4_999)).await;
    assert!(claim(&store).await.is_empty());
    tokio::time::advance(Duration::from_millis(1)).await;
    let claimed = claim(&store).await;
    assert_eq!((claimed[0].attempts, claimed[0].scheduled), (1, true));
    assert_eq!(record(&store, &[outcome(1, store.owner(), 2, true, Next::Success)]).await, 0);
    assert_eq!(state(&database, 1), DeliveryState::Success);
    assert_eq!(database.deliveries()[0].history.len(), 2);
    assert!(store.waiting(10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_repeated_record_and_a_strangers_change_nothing() {
    let database = database();
    let (one, two) = (database.process(), database.process());
    persist(&one, [event(1, 1, Identity::Id, true)]).await.unwrap();
    let success = outcome(1, one.owner(), 1, false, Next::Success);
    database.lose_replies(Op::Record, 1);

    assert!(one.record(std::slice::from_ref(&success), Duration::ZERO).await.is_err());
    assert_eq!(record(&one, &[success]).await, 1);
    assert_eq!(database.deliveries()[0].history.len(), 1);
    assert_eq!(record(&two, &[outcome(1, two.owner(), 1, false, Next::Failure)]).await, 1);
    assert_eq!(state(&database, 1), DeliveryState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_dead_process_is_taken_over_and_its_words_no_longer_count() {
    let database = database();
    let (dead, heir) = (database.process(), database.process());
    persist(&dead, [event(1, 1, Identity::Id, true)]).await.unwrap();
    let old = dead.owner();
    tokio::time::advance(PROCESS_LEASE / 2).await;
    assert!(heir.heartbeat(DeliveryId::from_u128(0)).await.unwrap());
    assert!(claim(&heir).await.is_empty());

    tokio::time::advance(PROCESS_LEASE / 2).await;
    assert!(heir.heartbeat(DeliveryId::from_u128(0)).await.unwrap());

    assert_eq!(claim(&heir).await.len(), 1);
    assert_eq!(record(&dead, &[outcome(1, old, 1, false, Next::Success)]).await, 1);
    assert_eq!(
        persist(&dead, [event(2, 2, Identity::Id, true)]).await.unwrap(),
        [Stored::New { owner: None }]
    );
    assert_eq!(state(&database, 2), DeliveryState::Scheduled);
    assert!(!dead.heartbeat(DeliveryId::from_u128(0)).await.unwrap());
    assert_ne!(dead.owner(), old);
    assert_eq!(claim(&dead).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watermark_above_a_fresh_delivery_loses_it_as_it_would_in_postgres() {
    let database = database();
    let store = database.process();
    persist(&store, [event(1, 1, Identity::Id, true), event(2, 2, Identity::Id, true)]).await.unwrap();

    let old = store.owner();
    store.resign(DeliveryId::from_u128(2)).await.unwrap();

    assert_ne!(store.owner(), old);
    assert_eq!(
        (state(&database, 1), state(&database, 2)),
        (DeliveryState::Processing, DeliveryState::Scheduled)
    );
}

#[tokio::test(start_paused = true)]
async fn a_parked_delivery_counts_no_attempt() {
    let database = database();
    let store = database.process();
    persist(&store, [event(1, 1, Identity::Id, true)]).await.unwrap();

    let mut parked = outcome(1, store.owner(), 0, false, Next::Parked(Duration::ZERO));
    parked.attempt = None;
    assert_eq!(record(&store, &[parked]).await, 0);

    assert_eq!((state(&database, 1), database.deliveries()[0].attempts), (DeliveryState::Scheduled, 0));
    database.wait_until(|database| database.count_in(DeliveryState::Scheduled) == 1).await;
}
