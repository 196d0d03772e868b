//! The control plane: the public API, on connections to Postgres of its own.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use axum::Router;
use longshore_api::v1::{Control, ControlSettings, control_routes, unknown_path};
use longshore_api::{Health, probe_router, with_request_ids};
use tracing::info;

use crate::commands::open_control_store;
use crate::config::Config;
use crate::lifecycle::{Stage, Tasks};
use crate::ops;
use crate::registration::Registration;
use crate::replays::{self, BuiltIn, Replayer};

/// The routes of the public API. Their connections are closed when the process ends.
///
/// # Errors
/// Postgres is away, or a setting is wrong.
pub(crate) async fn routes(tasks: &mut Tasks, config: &Config) -> anyhow::Result<Router> {
    let store = open_control_store(config).await?;
    let hasher = store.api_key_hasher().await.context("cannot check API keys")?;
    let default_version = Some(config.api.default_version.clone()).filter(|text| !text.is_empty());
    let settings = ControlSettings {
        public_url: config.api.public_url.trim_end_matches('/').to_owned(),
        default_version,
        deadline: config.api.request_deadline,
        rate_limit: config.api.limit().context("`api.rate_limit`")?,
        features: config.features.switches()?,
        events_kept: config.retention.events,
    };
    let control = Control::new(store.clone(), hasher, settings);
    let control = control.map_err(|problem| anyhow!("`api.default_version`: {problem}"))?;
    let control = control
        .with_brokers(Arc::new(BuiltIn))
        .with_egress(Arc::new(Registration::new(config)?))
        .with_replays(Arc::new(Replayer::new(store.clone(), config.clone())));
    let (worker, soft) = (control.clone(), tasks.stop().soft.clone());
    tasks.spawn("work on quarantined messages", Stage::Ingest, async move {
        replays::work(&worker, soft).await;
        Ok(())
    });
    let hard = tasks.stop().hard.clone();
    tasks.spawn("public API's connections", Stage::Support, async move {
        hard.cancelled().await;
        store.close().await;
        Ok(())
    });
    Ok(control_routes(control).router)
}

/// Serves them in a process without a data plane.
///
/// # Errors
/// The address is taken.
pub(crate) async fn serve_alone(
    tasks: &mut Tasks,
    config: &Config,
    health: &Health,
    routes: Router,
) -> anyhow::Result<()> {
    let router = routes.merge(with_request_ids(probe_router(health.clone()).fallback(unknown_path)));
    let listener = ops::listen(config.http.bind, "http.bind").await?;
    info!(address = %config.http.bind, "serving the public API");
    let soft = tasks.stop().soft.clone();
    tasks.spawn("public API", Stage::Ingest, ops::serve(listener, router, soft));
    Ok(())
}
