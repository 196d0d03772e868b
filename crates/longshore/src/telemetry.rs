//! Logs and metrics of the process.
//!
//! Logs go to standard error, standard output belongs to commands. Invariant: neither payloads nor secrets;
//! that is the duty of whoever logs, and types such as `Secret` make it the default.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// How often the recorder folds raw samples into its histograms: between two scrapes nothing piles up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds of every `…_seconds` histogram: half a millisecond to a minute.
const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Starts the log, once per process.
///
/// # Errors
/// When the filter cannot be read or a log was started before.
pub(crate) fn start_logs(config: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.filter).context("`log.filter` is not a filter")?;
    let is_terminal = stderr().is_terminal();
    let is_pretty = match config.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let started = if is_pretty {
        builder.with_ansi(is_terminal).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
    started.map_err(|error| anyhow!("cannot start the log: {error}"))
}

/// Starts the metrics, once per process. [`keep_metrics`] must run while they are in use.
///
/// # Errors
/// When metrics were started before.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot start the metrics")
}

/// Keeps the metrics' memory flat until told to stop.
pub(crate) async fn keep_metrics(metrics: PrometheusHandle, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}
