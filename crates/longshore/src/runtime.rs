//! What `serve` starts, and how its parts are joined.
//!
//! What it does not do: any work. Invariant: everything that runs is a task of [`Tasks`] and hears its stop.

use anyhow::Context;
use longshore_api::{Health, Reason, ops_router};
use longshore_store::Store;
use longshore_store::partitions::Retention;
use tokio::sync::Mutex;
use tracing::info;

use crate::commands::{open_store, require_schema};
use crate::config::Config;
use crate::lifecycle::{Signals, Stage, Tasks};
use crate::{data, maintenance, ops, telemetry};

/// Runs the configured role until told to stop.
///
/// # Errors
/// What kept it from starting, or what failed later.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    // First of all: a signal that comes while starting must be heard.
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let health = Health::new();
    let mut tasks = Tasks::default();
    let store = tokio::select! {
        biased;
        signal = signals.next() => {
            info!(signal, "stopped while starting");
            return Ok(());
        }
        started = start(&mut tasks, &config, &health) => started?,
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
async fn start(tasks: &mut Tasks, config: &Config, health: &Health) -> anyhow::Result<Store> {
    start_support(tasks, config, health).await?;
    let store = open_store(config).await?;
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
    tasks.spawn("maintenance", Stage::Support, async move {
        maintenance::run(upkeep, retention, role.has_control(), hard).await;
        Ok(())
    });
    let (pinged, hard, pinger) = (store.clone(), tasks.stop().hard.clone(), health.clone());
    tasks.spawn("database check", Stage::Support, async move {
        ops::watch_database(pinged, pinger, hard).await;
        Ok(())
    });
    if role.has_data() {
        data::start(tasks, config, &store, health).await?;
    }
    Ok(store)
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
