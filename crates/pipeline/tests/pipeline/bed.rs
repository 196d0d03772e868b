//! What the tests stand on: a broker, a store, a configuration, and processes that run the pipeline between them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_core::breaker::BreakerSettings;
use longshore_core::endpoint::{Endpoint, EndpointKey};
use longshore_core::project::{Project, ProjectSettings};
use longshore_core::signature::SigningKey;
use longshore_core::{
    Clock, DeliveryState, EndpointId, IdGenerator, ProjectId, RetrySchedule, Snapshot, SourceId,
};
use longshore_pipeline::dispatch::{self, Dispatch, DispatchLimits, Transport};
use longshore_pipeline::ingest::{self, Ingest, IngestLimits, Origin};
use longshore_pipeline::{Intake, Ledger, LedgerLimits};
use longshore_source::memory::{MemoryBroker, MemorySource, Publication};
use longshore_source::{Source, Status};
use longshore_testkit::clock::TokioClock;
use longshore_testkit::memory::{MemoryDatabase, MemoryStore};
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::transport::Script;

pub(crate) const PROJECT: ProjectId = ProjectId::from_u128(0xA);
pub(crate) const SOURCE: SourceId = SourceId::from_u128(0x5);
pub(crate) const A: EndpointId = EndpointId::from_u128(1);
pub(crate) const B: EndpointId = EndpointId::from_u128(2);
pub(crate) const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const LEASE: Duration = Duration::from_secs(15);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn host(endpoint: EndpointId) -> String {
    format!("e{}.example", endpoint.as_u128())
}

pub(crate) fn endpoint(id: EndpointId) -> Endpoint {
    Endpoint {
        name: host(id),
        keys: vec![EndpointKey { key: SigningKey::parse(SECRET).unwrap(), expires_at: None }],
        http_timeout: 10 * SECOND,
        max_concurrency: 5,
        ..Endpoint::new(id, PROJECT, format!("https://{}/", host(id)).parse().unwrap())
    }
}

pub(crate) fn project(retry: RetrySchedule) -> Project {
    let settings = ProjectSettings { retry, ..ProjectSettings::default() };
    Project { settings, ..Project::new(PROJECT, "p".to_owned()) }
}

/// Three retries, and this breaker.
pub(crate) fn guarded(breaker: BreakerSettings) -> Project {
    let mut project = project(retries(&[5, 30, 60]));
    project.settings.circuit_breaker = breaker;
    project
}

pub(crate) fn retries(seconds: &[u64]) -> RetrySchedule {
    RetrySchedule::list(seconds.iter().map(|s| Duration::from_secs(*s)).collect()).unwrap()
}

pub(crate) fn with(mut endpoint: Endpoint, change: impl FnOnce(&mut Endpoint)) -> Endpoint {
    change(&mut endpoint);
    endpoint
}

/// A message for one endpoint, named and dated as brokers do.
pub(crate) fn message(endpoint: EndpointId, n: u64, clock: &impl Clock) -> Publication {
    let body = format!(r#"{{"event_type": "a", "endpoint_id": "{endpoint}", "data": {{"n":{n}}}}}"#);
    Publication {
        message_id: Some(format!("m-{n}")),
        timestamp_ms: Some(clock.now().as_millis()),
        ..Publication::from(body)
    }
}

pub(crate) struct Bed {
    pub(crate) clock: TokioClock,
    pub(crate) database: MemoryDatabase,
    pub(crate) broker: MemoryBroker,
    pub(crate) config: watch::Sender<Arc<Snapshot>>,
    pub(crate) script: Script,
    pub(crate) ledger: LedgerLimits,
    pub(crate) attempts: usize,
    pub(crate) seed: AtomicU64,
}

impl Bed {
    /// With endpoints A and B.
    pub(crate) fn new() -> Self {
        Self::with(vec![endpoint(A), endpoint(B)])
    }

    pub(crate) fn with(endpoints: Vec<Endpoint>) -> Self {
        let clock = TokioClock::new();
        let snapshot = Snapshot::new(vec![project(retries(&[5, 30, 60]))], endpoints, Vec::new());
        Self {
            clock,
            database: MemoryDatabase::with_lease(clock, LEASE),
            broker: MemoryBroker::new(30 * SECOND),
            config: watch::Sender::new(Arc::new(snapshot)),
            script: Script::new(),
            ledger: LedgerLimits { deliveries: 1_000, bytes: 1 << 20 },
            attempts: 100,
            // Two beds on one database need ids of their own.
            seed: AtomicU64::new(1),
        }
    }

    pub(crate) fn configure(&self, endpoints: Vec<Endpoint>, version: i64) {
        self.configure_project(project(retries(&[5, 30, 60])), endpoints, version);
    }

    pub(crate) fn configure_project(&self, project: Project, endpoints: Vec<Endpoint>, version: i64) {
        let snapshot = Snapshot::new(vec![project], endpoints, Vec::new());
        self.database.set_config_version(version);
        self.config.send_replace(Arc::new(snapshot.at_version(version)));
    }

    pub(crate) fn publish(&self, endpoint: EndpointId, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.broker.publish(message(endpoint, n, &self.clock));
        }
    }

    /// A process with one consumer of the broker.
    pub(crate) fn start(&self) -> Process {
        let broker = self.broker.clone();
        let connect = move || MemorySource::connect(&broker, NonZeroUsize::new(200).unwrap());
        let origin = Origin {
            source: Some((SOURCE, PROJECT)),
            kind: "memory",
            status: Status::new("memory", "bed"),
            mapping: ingest::fixed(longshore_core::Mapping::default()),
        };
        self.start_with(connect, origin, self.script.clone(), self.clock)
    }

    pub(crate) fn start_with<S: Source, T: Transport, C: Clock>(
        &self,
        connect: impl Fn() -> S + Send + 'static,
        origin: Origin,
        transport: T,
        clock: C,
    ) -> Process {
        let store = self.database.process();
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let ids = Arc::new(IdGenerator::new(clock.now(), StdRng::seed_from_u64(seed)));
        let ledger = Ledger::new(self.ledger, ids);
        let (sender, fresh) = mpsc::unbounded_channel();
        let (soft, stop, hard) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let dispatch = Dispatch {
            queue: Arc::new(store.clone()),
            transport,
            config: self.config.subscribe(),
            ledger: ledger.clone(),
            fresh,
            limits: DispatchLimits {
                attempts: self.attempts,
                slow_share: 0.25,
                retry_share: 0.25,
                poll: SECOND,
                gather: Duration::from_millis(20),
                lease: LEASE,
            },
            clock: clock.clone(),
            rng: SmallRng::seed_from_u64(seed),
        };
        let dispatch = tokio::spawn(dispatch::run(dispatch, stop.clone(), hard.clone()));
        let intake = Intake::new();
        tokio::spawn(intake.clone().run(Arc::new(store.clone()), stop.clone()));
        let ingest = Ingest {
            log: Arc::new(store.clone()),
            config: self.config.subscribe(),
            ledger: ledger.clone(),
            dispatch: sender,
            rules: Arc::default(),
            intake,
            limits: IngestLimits {
                batch: NonZeroUsize::new(50).unwrap(),
                hold_replies: 5 * SECOND,
                close: 5 * SECOND,
            },
            clock,
        };
        let (soft_copy, hard_copy) = (soft.clone(), hard.clone());
        let ingest = tokio::spawn(async move {
            // As the supervisor does: whatever ends unasked is started again.
            while !soft_copy.is_cancelled() && !hard_copy.is_cancelled() {
                let run = ingest::run(
                    connect(),
                    origin.clone(),
                    ingest.clone(),
                    soft_copy.clone(),
                    hard_copy.clone(),
                );
                if run.await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
        Process { store, ledger, soft, stop, hard, ingest, dispatch }
    }

    /// Waits, for at most a day of the test's time, until so many deliveries are in that state.
    pub(crate) async fn until(&self, state: DeliveryState, count: usize) {
        self.wait(&format!("{count} {state}"), |database| database.count_in(state) >= count).await;
    }

    pub(crate) async fn wait(&self, what: &str, holds: impl FnMut(&MemoryDatabase) -> bool) {
        let waited = tokio::time::timeout(86_400 * SECOND, self.database.wait_until(holds)).await;
        let states: Vec<_> =
            DeliveryState::ALL.iter().map(|state| (*state, self.database.count_in(*state))).collect();
        assert!(waited.is_ok(), "waited a day for {what}: {states:?}, {:?}", self.broker.stats());
    }
}

/// A run of the pipeline; killed when dropped.
pub(crate) struct Process {
    pub(crate) store: MemoryStore,
    pub(crate) ledger: Ledger,
    soft: CancellationToken,
    stop: CancellationToken,
    hard: CancellationToken,
    ingest: JoinHandle<()>,
    dispatch: JoinHandle<()>,
}

impl Process {
    /// The stop that a SIGTERM asks for: ingest ends, then dispatch.
    pub(crate) async fn stop(mut self) {
        self.soft.cancel();
        (&mut self.ingest).await.unwrap();
        self.stop.cancel();
        (&mut self.dispatch).await.unwrap();
    }

    /// The stop of a process whose time to stop softly is over.
    pub(crate) async fn cut(mut self) {
        self.soft.cancel();
        self.hard.cancel();
        (&mut self.dispatch).await.unwrap();
        (&mut self.ingest).await.unwrap();
    }

    /// As cut off from the machine: nobody is told.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ingest.abort();
        self.dispatch.abort();
    }
}
