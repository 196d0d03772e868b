//! What one transaction of the ingest costs, by the number of events in it, on the Postgres of `DATABASE_URL`.
//!
//! `scripts/bench micro` provides a durable one. Each event is 1 KB and makes one delivery that is handed over.

#![expect(clippy::unwrap_used, reason = "a bench whose server is away has no better answer")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use longshore_benches::payload;
use longshore_core::event::{Event, Headers, Target};
use longshore_core::ports::{EventLog, Identity, NewDelivery, NewEvent, PersistBatch};
use longshore_core::{Clock, DeliveryId, EndpointId, IdGenerator, ProjectId, Secret, SystemClock};
use longshore_store::{Keys, Profile, Settings, Store};
use longshore_testkit::database::fresh_database;
use rand::SeedableRng;
use rand::rngs::StdRng;

const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const PROJECT: ProjectId = ProjectId::from_u128(1);
const ENDPOINT: EndpointId = EndpointId::from_u128(2);

async fn open(url: String, ids: &IdGenerator) -> Store {
    let settings = Settings {
        url: Secret::new(url),
        max_connections: 1,
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
        // Nobody renews it here.
        lease: Duration::from_secs(3600),
        profile: Profile::Hot,
    };
    let store = longshore_store::connect(&settings, Keys::parse(MASTER_KEY).unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    store.join(DeliveryId::from_u128(ids.watermark())).await.unwrap();
    store
}

fn batch(ids: &IdGenerator, size: usize, body: &Bytes) -> PersistBatch {
    let now = SystemClock.now();
    let event = |_| {
        let event = Event {
            id: ids.event(now),
            project: PROJECT,
            source: None,
            target: Target::Single(ENDPOINT),
            event_type: "order.created".to_owned(),
            body: body.clone(),
            headers: Headers::default(),
            idempotency_key: None,
            received_at: now,
            ordering_key: None,
            occurred_at: None,
            content_type: None,
            attributes: None,
            url_query: None,
        };
        let delivery = NewDelivery {
            id: ids.delivery(now),
            endpoint: ENDPOINT,
            subscription: None,
            hand_over: true,
            lane: None,
        };
        NewEvent { event: Arc::new(event), identity: Identity::Id, deliveries: vec![delivery] }
    };
    PersistBatch { events: (0..size).map(event).collect(), ..PersistBatch::default() }
}

fn persist(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ids = IdGenerator::new(SystemClock.now(), StdRng::from_os_rng());
    let body = Bytes::from(payload::envelope("01JD0000000000000000000000", 1));
    let database = runtime.block_on(fresh_database());
    let store = runtime.block_on(open(database.url(), &ids));
    let mut group = c.benchmark_group("persist");
    for size in [1, 10, 100, 500] {
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(
                || batch(&ids, size, &body),
                |batch| runtime.block_on(store.persist(&batch)).unwrap(),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    runtime.block_on(store.close());
}

criterion_group!(benches, persist);
criterion_main!(benches);
