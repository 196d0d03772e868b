//! The data plane's tasks: the dispatcher, the HTTP ingest, the sources, the configuration they follow.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::HeaderValue;
use axum::serve::ListenerExt;
use longshore_api::{Health, egress_router, probe_router, with_request_ids};
use longshore_core::{Clock, ports::ClaimedDelivery};
use longshore_core::{DeliveryId, IdGenerator, Mapping, Snapshot, SystemClock};
use longshore_pipeline::dispatch::{self, Dispatch, DispatchLimits, HttpTransport};
use longshore_pipeline::ingest::{self, Ingest, IngestLimits, Origin};
use longshore_pipeline::{Intake, Ledger, LedgerLimits};
use longshore_source::Status;
use longshore_source_http::HttpIngestConfig;
use longshore_store::{Config as Resources, Feed, Store};
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Config, Inputs};
use crate::egress;
use crate::gate::ApiKeyGate;
use crate::inbox::Inboxes;
use crate::lifecycle::{Stage, Tasks};
use crate::public_keys::public_keys_router;
use crate::sources::declared::FileSource;
use crate::sources::{self, Sources};
use crate::{notices, ops};

/// How long outcomes are gathered.
const GATHER: Duration = Duration::from_millis(20);

pub(crate) type PgIngest = Ingest<Store, SystemClock>;

/// Starts every task of the data plane. The routes of the control plane, if this process has it, are served beside.
///
/// # Errors
/// What keeps it from starting.
pub(crate) async fn start(
    tasks: &mut Tasks,
    config: &Config,
    inputs: &Inputs,
    store: &Store,
    health: &Health,
    control: Option<Router>,
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
    let intake = start_intake(tasks, store);
    let ingest = Ingest {
        log: Arc::new(store.clone()),
        config: resources.snapshot.clone(),
        ledger: ledger.clone(),
        dispatch: fresh_sender,
        rules: Arc::new(egress::rules(config)),
        intake,
        limits: IngestLimits {
            batch: config.ingest.batch_events,
            hold_replies: config.ingest.hold,
            close: config.shutdown.drain.mul_f64(0.8),
        },
        clock: SystemClock,
    };
    let transport = start_dispatch(tasks, config, store, &resources, ledger, fresh)?;
    notices::start(tasks, config, store, &resources.snapshot, &transport)?;
    start_http(tasks, config, store, &resources, ingest.clone(), health, control).await?;
    let sources = Sources {
        inputs: inputs.clone(),
        declared: config.sources.iter().map(FileSource::new).collect(),
        resources: resources.config,
        ingest,
        drain: config.shutdown.drain,
    };
    sources::start(tasks, sources);
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

/// The ingest limits, which HTTP and the sources share.
fn start_intake(tasks: &mut Tasks, store: &Store) -> Intake {
    let intake = Intake::new();
    let (leases, store, hard) = (intake.clone(), store.clone(), tasks.stop().hard.clone());
    tasks.spawn("ingest limits", Stage::Support, async move {
        Box::pin(leases.run(Arc::new(store), hard)).await;
        Ok(())
    });
    intake
}

fn start_dispatch(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    resources: &Followed,
    ledger: Ledger,
    fresh: mpsc::UnboundedReceiver<Vec<ClaimedDelivery>>,
) -> anyhow::Result<HttpTransport> {
    let transport = HttpTransport::new(&egress::settings(config))?;
    let dispatch = Dispatch {
        queue: Arc::new(store.clone()),
        transport: transport.clone(),
        config: resources.snapshot.clone(),
        ledger,
        fresh,
        limits: DispatchLimits {
            attempts: config.dispatch.max_in_flight.get(),
            slow_share: config.dispatch.slow_share,
            retry_share: config.dispatch.retry_share,
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
    Ok(transport)
}

async fn start_http(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    resources: &Followed,
    ingest: PgIngest,
    health: &Health,
    control: Option<Router>,
) -> anyhow::Result<()> {
    let gate = ApiKeyGate {
        intake: ingest.intake.clone(),
        config: resources.config.clone(),
        hasher: store.api_key_hasher().await.context("cannot check API keys")?,
        clock: SystemClock,
    };
    let inbox = Inboxes { intake: ingest.intake.clone(), config: resources.config.clone() };
    let http = HttpIngestConfig {
        max_in_flight: config.http.max_in_flight,
        max_in_flight_bytes: NonZeroUsize::new(config.http.max_in_flight_bytes.bytes())
            .unwrap_or(NonZeroUsize::MAX),
        deadline: config.http.request_deadline,
        max_batch_items: config.http.batch_items,
        max_batch_bytes: config.http.batch_bytes.bytes(),
        api_version: HeaderValue::from_str(config.api.version()).context("`api.default_version`")?,
    };
    let (router, source) = longshore_source_http::routes(http, Arc::new(gate), Arc::new(inbox));
    let beside = probe_router(health.clone())
        .merge(public_keys_router(resources.snapshot.clone(), SystemClock))
        .merge(egress_router(config.security.egress_ips.clone()));
    let router = router.merge(with_request_ids(beside));
    let router = router.merge(control.unwrap_or_default());
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
    let origin = Origin {
        source: None,
        kind: "http",
        status: Status::new("http", "http"),
        mapping: ingest::fixed(Mapping::default()),
    };
    tasks.spawn("HTTP ingest", Stage::Ingest, async move {
        Ok(ingest::run(source, origin, ingest, answered, stop.hard).await?)
    });
    Ok(())
}
