//! What `serve` starts, and how its parts are joined.
//!
//! What it does not do: any work. Invariant: everything that runs is a task of [`Tasks`] and hears its stop.

use std::time::Duration;

use anyhow::{Context, anyhow};
use longshore_api::{Health, Reason, ops_router};
use longshore_core::ports::StoreError;
use longshore_store::Store;
use longshore_store::partitions::Retention;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::commands::{open_store, require_schema};
use crate::config::{Config, Inputs};
use crate::lifecycle::{Signals, Stage, Tasks};
use crate::{control, data, leadership, maintenance, ops, telemetry};

/// Between two attempts to reach Postgres at the start.
const AGAIN: Duration = Duration::from_secs(1);
/// How long after its last sign of life another control plane does what one does for all.
const LEADERSHIP: Duration = Duration::from_secs(10);

/// Runs the configured role until told to stop.
///
/// # Errors
/// What kept it from starting, or what failed later.
pub(crate) async fn serve(config: Config, inputs: Inputs) -> anyhow::Result<()> {
    // First of all: a signal that comes while starting must be heard.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    // Several crates speak TLS; with one provider for all, none has to guess.
    let provider = rustls::crypto::aws_lc_rs::default_provider().install_default();
    provider.map_err(|_| anyhow!("another TLS provider is in place"))?;
    let health = Health::new();
    let mut tasks = Tasks::default();
    let store = tokio::select! {
        biased;
        signal = signals.next() => {
            info!(signal, "stopped while starting");
            return Ok(());
        }
        started = start(&mut tasks, &config, &inputs, &health) => started?,
    };
    health.clear(Reason::Starting);
    info!(role = ?config.runtime.role, version = env!("CARGO_PKG_VERSION"), "serving");
    let signals = Mutex::new(signals);
    let signal = || async { signals.lock().await.next().await };
    let result = tasks.run(&config.shutdown, signal, || health.set(Reason::Draining)).await;
    store.close().await;
    result?;
    info!("stopped");
    Ok(())
}

/// Starts every task of the role.
async fn start(
    tasks: &mut Tasks,
    config: &Config,
    inputs: &Inputs,
    health: &Health,
) -> anyhow::Result<Store> {
    start_support(tasks, config, health).await?;
    let store = wait_for_store(config).await?;
    require_schema(&store).await?;
    let role = config.runtime.role;
    let retention = Retention {
        events: config.retention.events,
        quarantine: config.retention.quarantine,
        days_ahead: u32::from(config.retention.partitions_ahead_days),
    };
    // Before anything is stored: today's partitions must be there.
    store.create_partitions(retention.days_ahead).await.context("cannot create partitions")?;
    let (upkeep, hard) = (store.clone(), tasks.stop().hard.clone());
    tasks.spawn("partitions and lanes", Stage::Support, async move {
        maintenance::run(upkeep, retention, hard).await;
        Ok(())
    });
    if role.has_control() {
        let (upkeep, hard) = (store.clone(), tasks.stop().hard.clone());
        tasks.spawn("maintenance", Stage::Support, async move {
            let led = |mine| maintenance::run_led(upkeep.clone(), retention, mine);
            Box::pin(leadership::lead("maintenance", upkeep.clone(), LEADERSHIP, hard, led)).await;
            Ok(())
        });
    }
    let (freed, hard) = (store.clone(), tasks.stop().hard.clone());
    tasks.spawn("lanes", Stage::Support, async move {
        maintenance::free_lanes(freed, hard).await;
        Ok(())
    });
    let (pinged, hard, pinger) = (store.clone(), tasks.stop().hard.clone(), health.clone());
    tasks.spawn("database check", Stage::Support, async move {
        ops::watch_database(pinged, pinger, hard).await;
        Ok(())
    });
    let routes = if role.has_control() { Some(control::routes(tasks, config).await?) } else { None };
    match (role.has_data(), routes) {
        (true, routes) => data::start(tasks, config, inputs, &store, health, routes).await?,
        (false, Some(routes)) => control::serve_alone(tasks, config, health, routes).await?,
        (false, None) => {}
    }
    Ok(store)
}

/// Postgres may come later than we do: that is no reason to end, as nothing else of its outages is.
async fn wait_for_store(config: &Config) -> anyhow::Result<Store> {
    loop {
        match open_store(config).await {
            Ok(store) => return Ok(store),
            Err(error) => match error.downcast_ref::<StoreError>() {
                Some(StoreError::Unavailable(_)) => warn!("{error:#}; trying again"),
                _ => return Err(error),
            },
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Health and metrics come first: an orchestrator may ask while the rest starts.
async fn start_support(tasks: &mut Tasks, config: &Config, health: &Health) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let listener = ops::listen(config.ops.bind, "ops.bind").await?;
    let hard = tasks.stop().hard.clone();
    let router = ops_router(health.clone(), metrics.clone());
    tasks.spawn("ops", Stage::Support, ops::serve(listener, router, hard.clone()));
    let beat = ops::beat(health.clone(), hard.clone());
    tasks.spawn("heartbeat", Stage::Support, async {
        beat.await;
        Ok(())
    });
    tasks.spawn("metrics", Stage::Support, async {
        telemetry::keep_metrics(metrics, hard).await;
        Ok(())
    });
    Ok(())
}
