//! `longshore serve`.

use anyhow::Context;

use crate::config::{Config, validate};
use crate::{runtime, telemetry};

/// Runs until told to stop, or until a part of it fails.
pub(super) fn run(config: Config) -> anyhow::Result<()> {
    validate::require(&config, true)?;
    telemetry::start_logs(&config.log)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime.worker_threads > 0 {
        builder.worker_threads(config.runtime.worker_threads);
    }
    let event_loop =
        builder.enable_all().thread_name("longshore").build().context("cannot start the event loop")?;
    let result = event_loop.block_on(Box::pin(runtime::serve(config)));
    // Whatever blocks a thread (name resolution) must not hold up the end.
    event_loop.shutdown_background();
    result
}
