//! The servers beside the hot path: health and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use longshore_api::Health;
use longshore_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often the event loop proves that it turns.
const BEAT: Duration = Duration::from_secs(1);
/// How long Postgres may take to answer a ping.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes an address, early: a port that is taken should end the start, not a task.
///
/// # Errors
/// The address is taken or not ours.
pub(crate) async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen at `{address}` (`{key}`)"))
}

/// Serves until told to stop; requests in progress are answered first.
///
/// # Errors
/// The listener failed.
pub(crate) async fn serve<L>(listener: L, router: Router, stop: CancellationToken) -> anyhow::Result<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let stopped = async move { stop.cancelled().await };
    axum::serve(listener, router).with_graceful_shutdown(stopped).await.context("the HTTP server failed")
}

/// Proves that the event loop turns, until told to stop.
pub(crate) async fn beat(health: Health, stop: CancellationToken) {
    loop {
        health.beat();
        if stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
            return;
        }
    }
}

/// Tells health whether Postgres answers, until told to stop.
pub(crate) async fn watch_database(store: Store, health: Health, stop: CancellationToken) {
    loop {
        let answers = tokio::time::timeout(PATIENCE, store.ping()).await.is_ok_and(|ping| ping.is_ok());
        health.database(answers);
        if stop.run_until_cancelled(tokio::time::sleep(2 * BEAT)).await.is_none() {
            return;
        }
    }
}
