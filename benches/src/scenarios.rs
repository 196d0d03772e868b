//! What is measured. Each scenario makes its own surroundings and returns one JSON object.

pub mod backlog;
pub mod crash;
pub mod http;
pub mod latency;
pub mod slow;
pub mod waiting;

use serde_json::{Value, json};

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Events of `backlog` and `http`.
    pub events: u32,
    /// Messages at the broker in `waiting`.
    pub waiting: u32,
    /// Seconds of `latency`, `crash` and `slow`.
    pub seconds: u32,
}

/// A gateway's memory now and at its most, in MB.
fn memory(gateway: &longshore_testkit::gateway::Gateway) -> Value {
    let usage = gateway.usage();
    let mb = |kib: u64| (kib as f64 * 1024.0 / 100_000.0).round() / 10.0;
    json!({ "rss_mb": mb(usage.rss_kib), "peak_rss_mb": mb(usage.peak_rss_kib) })
}
