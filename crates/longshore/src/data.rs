//! The data plane's tasks: the dispatcher, the HTTP ingest, the sources, the configuration they follow.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::serve::ListenerExt;
use longshore_api::{Health, probe_router};
use longshore_core::{Clock, ports::ClaimedDelivery};
use longshore_core::{DeliveryId, IdGenerator, ProjectId, Snapshot, SourceId, SystemClock};
use longshore_pipeline::dispatch::{self, Dispatch, DispatchLimits, Guard, HttpSettings, HttpTransport};
use longshore_pipeline::ingest::{self, Ingest, IngestLimits, Origin};
use longshore_pipeline::{Ledger, LedgerLimits};
use longshore_source::{Context as SourceContext, Status};
use longshore_source_http::HttpIngestConfig;
use longshore_store::{Config as Resources, Feed, Store};
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, SourceConfig};
use crate::gate::ApiKeyGate;
use crate::lifecycle::{Stage, Tasks};
use crate::ops;
use crate::sources::{self, Broker};
use crate::supervisor::{Wanted, supervise};

/// How long outcomes are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Idle connections kept per receiver.
const IDLE_PER_HOST: usize = 128;

type PgIngest = Ingest<Store, SystemClock>;

/// Starts every task of the data plane.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn start(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    health: &Health,
) -> anyhow::Result<()> {
    let resources = follow(tasks, store).await?;
    let ids = Arc::new(IdGenerator::new(SystemClock.now(), StdRng::from_os_rng()));
    let limits = LedgerLimits {
        deliveries: config.dispatch.max_queued.get(),
        bytes: config.dispatch.max_queued_bytes.bytes(),
    };
    store.join(DeliveryId::from_u128(ids.watermark())).await.context("cannot take a lease")?;
    let ledger = Ledger::new(limits, ids);
    let (fresh_sender, fresh) = mpsc::unbounded_channel();
    let ingest = Ingest {
        log: Arc::new(store.clone()),
        config: resources.snapshot.clone(),
        ledger: ledger.clone(),
        dispatch: fresh_sender,
        limits: IngestLimits {
            batch: config.ingest.batch_events,
            hold_replies: config.ingest.hold,
            close: config.shutdown.drain.mul_f64(0.8),
        },
        clock: SystemClock,
    };
    start_dispatch(tasks, config, store, &resources, ledger, fresh)?;
    start_http(tasks, config, store, &resources, ingest.clone(), health).await?;
    start_sources(tasks, config, &resources, ingest);
    Ok(())
}

/// The configuration that follows changes.
struct Followed {
    config: watch::Receiver<Arc<Resources>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

async fn follow(tasks: &mut Tasks, store: &Store) -> anyhow::Result<Followed> {
    let first = store.load_config().await.context("cannot load projects, endpoints and subscriptions")?;
    let (snapshot_sender, snapshot) = watch::channel(Arc::clone(&first.snapshot));
    let (config_sender, config) = watch::channel(Arc::new(first));
    let feed = Feed { config: config_sender, snapshot: snapshot_sender };
    let (store, hard) = (store.clone(), tasks.stop().hard.clone());
    tasks.spawn("configuration feed", Stage::Support, async move {
        store.follow_config(feed, hard).await;
        Ok(())
    });
    Ok(Followed { config, snapshot })
}

fn start_dispatch(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    resources: &Followed,
    ledger: Ledger,
    fresh: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
) -> anyhow::Result<()> {
    let transport = HttpTransport::new(HttpSettings {
        guard: Guard::new(config.security.allowed_networks.clone()),
        allow_http: config.security.allow_http_endpoints,
        allowed_ports: config.security.allowed_ports.clone(),
        response_bytes: config.dispatch.response_bytes.bytes(),
        idle_per_host: IDLE_PER_HOST,
        user_agent: config.dispatch.user_agent.clone(),
    })?;
    let dispatch = Dispatch {
        queue: Arc::new(store.clone()),
        transport,
        config: resources.snapshot.clone(),
        ledger,
        fresh,
        limits: DispatchLimits {
            attempts: config.dispatch.max_in_flight.get(),
            poll: config.dispatch.poll,
            gather: GATHER,
            lease: config.database.lease,
        },
        clock: SystemClock,
        rng: SmallRng::from_os_rng(),
    };
    let stop = tasks.stop().clone();
    tasks.spawn("dispatcher", Stage::Dispatch, async move {
        dispatch::run(dispatch, stop.ingested, stop.hard).await;
        Ok(())
    });
    Ok(())
}

async fn start_http(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    resources: &Followed,
    ingest: PgIngest,
    health: &Health,
) -> anyhow::Result<()> {
    let gate =
        ApiKeyGate { config: resources.config.clone(), keys: store.keys().clone(), clock: SystemClock };
    let http = HttpIngestConfig {
        max_in_flight: config.http.max_in_flight,
        max_in_flight_bytes: NonZeroUsize::new(config.http.max_in_flight_bytes.bytes())
            .unwrap_or(NonZeroUsize::MAX),
        deadline: config.http.request_deadline,
        max_batch_items: config.http.batch_items,
        max_batch_bytes: config.http.batch_bytes.bytes(),
    };
    let (router, source) = longshore_source_http::routes(http, Arc::new(gate));
    let router = router.merge(probe_router(health.clone()));
    let listener = ops::listen(config.http.bind, "http.bind").await?.tap_io(|stream| {
        // An answer is one small packet: it must not wait for another.
        let _ = stream.set_nodelay(true);
    });
    info!(address = %config.http.bind, "taking events by HTTP");
    // The listener stops first and answers what it has taken in; only then does the source of those answers stop.
    let stop = tasks.stop().clone();
    let (hard, answered) = (stop.hard.clone(), CancellationToken::new());
    let last_answer = answered.clone().drop_guard();
    tasks.spawn("HTTP listener", Stage::Ingest, async move {
        let _last_answer = last_answer;
        hard.run_until_cancelled(ops::serve(listener, router, stop.soft)).await.unwrap_or(Ok(()))
    });
    let origin = Origin { source: None, kind: "http", status: Status::new("http", "http"), mapping: Arc::default() };
    tasks.spawn("HTTP ingest", Stage::Ingest, async move {
        Ok(ingest::run(source, origin, ingest, answered, stop.hard).await?)
    });
    Ok(())
}

/// One consumer of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Consumer {
    source: SourceId,
    worker: u16,
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.source, self.worker)
    }
}

/// What a consumer is made of; a change of any part restarts it.
#[derive(Clone, PartialEq)]
struct Declared {
    name: String,
    project: ProjectId,
    broker: Broker,
}

fn start_sources(tasks: &mut Tasks, config: &Config, resources: &Followed, ingest: PgIngest) {
    let (sender, wanted) = watch::channel(Wanted::default());
    let stop = tasks.stop().clone();
    let declared = config.sources.clone();
    let mut changes = resources.config.clone();
    let soft = stop.soft.clone();
    tasks.spawn("source declarations", Stage::Ingest, async move {
        loop {
            let now = Arc::clone(&changes.borrow_and_update());
            sender.send_replace(Arc::new(wanted_sources(&declared, &now)));
            tokio::select! {
                () = soft.cancelled() => return Ok(()),
                changed = changes.changed() => changed.context("the configuration feed has ended")?,
            }
        }
    });
    let (soft, hard) = (stop.soft.clone(), stop.hard);
    let start = move |consumer: &Consumer, declared: &Declared, token: CancellationToken| {
        run_source(*consumer, declared.clone(), ingest.clone(), token, hard.clone())
    };
    tasks.spawn("sources", Stage::Ingest, async move {
        supervise(wanted, start, StdRng::from_os_rng(), soft).await;
        Ok(())
    });
}

/// The consumers of both kinds of declarations: the configuration file's and the database's.
fn wanted_sources(declared: &[SourceConfig], resources: &Resources) -> HashMap<Consumer, Declared> {
    let mut wanted = HashMap::new();
    let mut add =
        |source: SourceId, project: ProjectId, name: &str, workers: u16, broker: Result<Broker, String>| {
            match broker {
                Ok(broker) => wanted.extend((0..workers).map(|worker| {
                    let declared = Declared { name: name.to_owned(), project, broker: broker.clone() };
                    (Consumer { source, worker }, declared)
                })),
                Err(problem) => warn!(source.name = name, %problem, "source not started"),
            }
        };
    for source in declared.iter().filter(|source| !source.disabled) {
        let found = resources.snapshot.projects().find(|project| {
            project.name == source.project || project.id.to_string().eq_ignore_ascii_case(&source.project)
        });
        let Some(project) = found.map(|project| project.id) else {
            warn!(source.name = source.name, project = source.project, "source not started: no such project");
            continue;
        };
        let settings = source.rabbitmq.as_ref().map(|table| &table.0);
        let id = sources::declared_id(project, &source.name);
        add(id, project, &source.name, source.workers, Broker::parse(&source.kind, settings));
    }
    for record in resources.sources.iter().filter(|record| !record.is_disabled) {
        // The parser's own words could quote a credential.
        let broker = serde_json::from_str(record.config.expose())
            .map_err(|_| "its stored settings are not JSON".to_owned())
            .and_then(|settings| Broker::parse(&record.kind, Some(&settings)));
        add(record.id, record.project, &record.name, record.workers, broker);
    }
    wanted
}

async fn run_source(
    consumer: Consumer,
    declared: Declared,
    ingest: PgIngest,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let name = declared.name;
    let kind = declared.broker.kind();
    let context = SourceContext { worker: consumer.worker, ..SourceContext::new(kind, &name) };
    let status = context.status.clone();
    let origin = Origin { source: Some((consumer.source, declared.project)), kind, status, mapping: Arc::default() };
    match declared.broker {
        Broker::RabbitMq { config, .. } => {
            let connecting = longshore_source_rabbitmq::connect(config, context);
            let connected = soft.run_until_cancelled(connecting).await;
            let Some(source) = connected else { return Ok(()) };
            let source = source.with_context(|| format!("source `{name}`"))?;
            info!(source.name = name, worker = consumer.worker, "consuming");
            ingest::run(source, origin, ingest, soft, hard).await.with_context(|| format!("source `{name}`"))
        }
    }
}

#[cfg(test)]
mod tests;
