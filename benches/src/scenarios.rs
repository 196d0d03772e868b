//! What is measured. Each scenario makes its own surroundings and returns one JSON object.

pub mod backlog;
pub mod crash;
pub mod endpoints;
pub mod fanout;
pub mod http;
pub mod isolation;
pub mod latency;
pub mod rows;
pub mod slow;
pub mod waiting;

use serde_json::{Value, json};

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Events of `backlog`, `http` and `batch`; deliveries of `endpoints` and `fanout`.
    pub events: u32,
    /// Messages at the broker in `waiting`.
    pub waiting: u32,
    /// Events of `rows`, each with a delivery.
    pub rows: u32,
    /// Seconds of `latency`, `crash`, `slow` and `isolation`.
    pub seconds: u32,
}

/// Endpoints of `endpoints`, `fanout` and `isolation`.
const ENDPOINTS: usize = 1_000;
/// Of those, so many hang and as many answer 500, where a scenario has such.
const BAD: usize = 50;

/// A thousand paths; the first ones hang or fail if there are such.
fn thousand(has_bad: bool) -> Vec<&'static str> {
    let path = |n: usize| match n {
        _ if !has_bad || n >= 2 * BAD => "/fast",
        _ if n < BAD => "/slow",
        _ => "/fail",
    };
    (0..ENDPOINTS).map(path).collect()
}

/// Whether event `n` is for an endpoint that neither hangs nor fails, when events go to the thousand in turn.
const fn is_healthy(n: usize) -> bool {
    n % ENDPOINTS >= 2 * BAD
}

/// A gateway's memory now and at its most, in MB.
fn memory(gateway: &longshore_testkit::gateway::Gateway) -> Value {
    let usage = gateway.usage();
    let mb = |kib: u64| (kib as f64 * 1024.0 / 100_000.0).round() / 10.0;
    json!({ "rss_mb": mb(usage.rss_kib), "peak_rss_mb": mb(usage.peak_rss_kib) })
}
