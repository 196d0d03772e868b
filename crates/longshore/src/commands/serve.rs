//! `longshore serve`.

use anyhow::Context;

use crate::config::load::load;
use crate::config::{Inputs, validate};
use crate::{runtime, telemetry};

/// Runs until told to stop, or until a part of it fails.
pub(super) fn run(inputs: &Inputs) -> anyhow::Result<()> {
    let config = load(inputs)?.config;
    validate::require(&config, true)?;
    telemetry::start_logs(&config.log)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.runtime.worker_threads > 0 {
        builder.worker_threads(config.runtime.worker_threads);
    }
    let event_loop =
        builder.enable_all().thread_name("longshore").build().context("cannot start the event loop")?;
    let result = event_loop.block_on(Box::pin(runtime::serve(config, inputs.clone())));
    // Whatever blocks a thread (name resolution) must not hold up the end.
    event_loop.shutdown_background();
    result
}
