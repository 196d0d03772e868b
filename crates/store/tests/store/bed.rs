//! What the tests stand on: a migrated database of their own, stores on it, rows to put in and to look at.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use longshore_core::event::{Event, Headers, Target};
use longshore_core::ports::{
    Aftermath, ClaimedDelivery, DeliveryQueue, Demand, EventLog, Identity, NewDelivery, NewEvent, Next,
    Outcome, PersistBatch, Stored,
};
use longshore_core::{
    Attempt, AttemptOutcome, Clock, DeliveryId, EndpointId, EventId, IdGenerator, ProcessId, ProjectId,
    Secret, SystemClock, Timestamp,
};
use longshore_store::{Keys, Profile, Settings, Store, connect};
use longshore_testkit::database::{TestDatabase, fresh_from_template};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::{AssertSqlSafe, PgPool};

pub(crate) const PROJECT: ProjectId = ProjectId::from_u128(0xA);
pub(crate) const ENDPOINT: EndpointId = EndpointId::from_u128(0xE1);
pub(crate) const OTHER: EndpointId = EndpointId::from_u128(0xE2);
pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(crate) static IDS: LazyLock<IdGenerator> =
    LazyLock::new(|| IdGenerator::new(SystemClock.now(), StdRng::from_os_rng()));

pub(crate) struct Bed {
    pub(crate) database: TestDatabase,
    pub(crate) sql: PgPool,
}

pub(crate) async fn open(url: &str, lease: Duration) -> Store {
    let settings = Settings {
        url: Secret::new(url.to_owned()),
        max_connections: 4,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        lease,
        profile: Profile::Hot,
    };
    connect(&settings, Keys::parse(MASTER).unwrap()).await.unwrap()
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let database = fresh_from_template("store", |url| async move {
            let store = open(&url, LEASE).await;
            store.migrate().await.unwrap();
            store.close().await;
        })
        .await;
        let sql = PgPool::connect_with(database.options()).await.unwrap();
        Self { database, sql }
    }

    /// A process with a lease.
    pub(crate) async fn process(&self) -> Store {
        self.process_for(LEASE).await
    }

    pub(crate) async fn process_for(&self, lease: Duration) -> Store {
        let store = open(&self.database.url(), lease).await;
        store.join(here()).await.unwrap();
        store
    }

    pub(crate) async fn run(&self, sql: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&self.sql).await;
        done.unwrap_or_else(|error| panic!("`{sql}`: {error}")).rows_affected()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        let counted = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.sql).await;
        counted.unwrap_or_else(|error| panic!("`{sql}`: {error}"))
    }

    /// State, attempts, owner.
    pub(crate) async fn delivery(&self, id: DeliveryId) -> (String, i16, Option<ProcessId>) {
        let row: (String, i16, Option<uuid::Uuid>) =
            sqlx::query_as("SELECT state, attempt_count, claimed_by FROM deliveries WHERE id = $1")
                .bind(id.as_uuid())
                .fetch_one(&self.sql)
                .await
                .unwrap();
        (row.0, row.1, row.2.map(ProcessId::from_uuid))
    }

    pub(crate) async fn state(&self, id: DeliveryId) -> String {
        self.delivery(id).await.0
    }

    /// Seconds until it is due and its claimant; `None` when it has no row in the schedule.
    pub(crate) async fn scheduled(&self, id: DeliveryId) -> Option<(f64, Option<ProcessId>)> {
        let row: Option<(f64, Option<uuid::Uuid>)> = sqlx::query_as(
            "SELECT extract(epoch FROM due_at - now())::float8, claimed_by FROM schedule WHERE delivery_id = $1",
        )
        .bind(id.as_uuid())
        .fetch_optional(&self.sql)
        .await
        .unwrap();
        row.map(|(due_in, owner)| (due_in, owner.map(ProcessId::from_uuid)))
    }

    /// Stores one event with one delivery handed over; returns the claim.
    pub(crate) async fn fresh(&self, store: &Store) -> ClaimedDelivery {
        let new = event(&[(ENDPOINT, true)]);
        let stored = persist(store, std::slice::from_ref(&new)).await;
        assert_eq!(stored, [Stored::New { owner: Some(store.owner()) }]);
        claim_of(&new, store.owner())
    }

    /// Stores one event with one delivery that waits, and claims it.
    pub(crate) async fn claimed(&self, store: &Store) -> ClaimedDelivery {
        persist(store, &[event(&[(ENDPOINT, false)])]).await;
        claim(store, 1).await.remove(0)
    }
}

/// A lower bound of every id made from now on.
pub(crate) fn here() -> DeliveryId {
    DeliveryId::from_u128(IDS.watermark())
}

pub(crate) fn event(deliveries: &[(EndpointId, bool)]) -> NewEvent {
    let now = SystemClock.now();
    let event = Event {
        id: IDS.event(now),
        project: PROJECT,
        source: None,
        target: Target::Broadcast,
        event_type: "invoice.paid".to_owned(),
        body: Bytes::from_static(b"{\"a\":1}"),
        headers: [("X-A".to_owned(), "1".to_owned())].into_iter().collect(),
        idempotency_key: None,
        received_at: now,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    };
    let deliveries = deliveries.iter().map(|(endpoint, hand_over)| NewDelivery {
        id: IDS.delivery(now),
        endpoint: *endpoint,
        subscription: None,
        hand_over: *hand_over,
        lane: None,
    });
    NewEvent { event: Arc::new(event), identity: Identity::Id, deliveries: deliveries.collect() }
}

/// The same message once more: new ids where they are not derived.
pub(crate) fn identified(identity: Identity) -> NewEvent {
    NewEvent { identity, ..event(&[(ENDPOINT, true)]) }
}

pub(crate) fn with(new: &NewEvent, change: impl FnOnce(&mut Event)) -> NewEvent {
    let mut changed = Event::clone(&new.event);
    change(&mut changed);
    NewEvent { event: Arc::new(changed), ..new.clone() }
}

pub(crate) fn keyed(key: &str) -> NewEvent {
    with(&event(&[(ENDPOINT, true)]), |event| event.idempotency_key = Some(key.to_owned()))
}

pub(crate) async fn persist(store: &Store, events: &[NewEvent]) -> Vec<Stored> {
    let batch = PersistBatch { events: events.to_vec(), ..PersistBatch::default() };
    store.persist(&batch).await.unwrap()
}

pub(crate) async fn claim(store: &Store, max: u32) -> Vec<ClaimedDelivery> {
    store.claim(&[Demand { endpoint: ENDPOINT, max }], LEASE).await.unwrap()
}

/// Records outcomes; how many were refused.
pub(crate) async fn record(store: &Store, outcomes: &[Outcome]) -> usize {
    store.record(outcomes, LEASE).await.unwrap().refused
}

pub(crate) fn claim_of(new: &NewEvent, owner: ProcessId) -> ClaimedDelivery {
    ClaimedDelivery {
        id: new.deliveries[0].id,
        event: Arc::clone(&new.event),
        endpoint: new.deliveries[0].endpoint,
        subscription: None,
        attempts: 0,
        throttled: 0,
        scheduled: false,
        place: None,
        owner,
    }
}

/// The outcome of one more attempt, answered with that status.
pub(crate) fn attempted(delivery: &ClaimedDelivery, next: Next) -> Outcome {
    let number = delivery.attempts + 1;
    let status = if next == Next::Success { 200 } else { 503 };
    let attempt = Attempt {
        id: IDS.attempt(SystemClock.now()),
        number,
        url: "https://a.example/".to_owned(),
        started_at: SystemClock.now(),
        duration: Duration::from_millis(12),
        outcome: AttemptOutcome::Response { status, retry_after: None },
        error: String::new(),
        request_headers: Headers::default(),
        response_headers: Headers::default(),
        response_body: Bytes::from_static(b"ok\0"),
        remote: Some("203.0.113.9".parse().unwrap()),
    };
    Outcome { attempts: number, attempt: Some(attempt), ..skipped(delivery, next) }
}

/// The outcome of a delivery that was not sent.
pub(crate) fn skipped(delivery: &ClaimedDelivery, next: Next) -> Outcome {
    Outcome {
        delivery: delivery.id,
        event: delivery.event.id,
        project: delivery.event.project,
        endpoint: delivery.endpoint,
        owner: delivery.owner,
        attempts: delivery.attempts,
        scheduled: delivery.scheduled,
        attempt: None,
        next,
        lane: delivery.place.map(|place| place.lane),
        aftermath: Aftermath::default(),
    }
}

pub(crate) fn floor(at: Timestamp) -> EventId {
    EventId::floor(at)
}
