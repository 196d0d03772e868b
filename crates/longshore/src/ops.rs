//! The servers beside the hot path: health and metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use longshore_api::Health;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often the event loop proves that it turns.
const BEAT: Duration = Duration::from_secs(1);

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
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> anyhow::Result<()> {
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
