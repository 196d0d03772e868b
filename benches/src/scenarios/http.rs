//! Events by HTTP: what 64 producers get accepted, each waiting for its answer, while deliveries go out. One by one, and as
//! batches.

use std::time::Instant;

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::{Amount, memory};
use crate::http_load;
use crate::report::{fates, merge, percentiles, rate};
use crate::setup::Rig;

const CONNECTIONS: u32 = 64;
/// Of those that post batches: what they have in flight at once stays within `http.max_in_flight`.
const BATCH_CONNECTIONS: u32 = 32;

/// Events of a batch.
const BATCH: u32 = 100;

/// Posts everything over keep-alive connections, event by event.
///
/// # Errors
/// When a server fails or a connection breaks.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    posted(kind, amount, "http", CONNECTIONS, 1).await
}

/// Posts everything over keep-alive connections, a hundred events at a time.
///
/// # Errors
/// As [`run`].
pub async fn run_batch(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    posted(kind, amount, "batch", BATCH_CONNECTIONS, BATCH).await
}

async fn posted(
    kind: BrokerKind,
    amount: Amount,
    scenario: &str,
    connections: u32,
    batch: u32,
) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/fast"]).await?;
    let gateway = rig.start().await;

    let (before, started) = (rig.cpu(Some(&gateway)), Instant::now());
    let posted = http_load::post(gateway.addr(), connections, amount.events, batch).await?;
    let accepted = posted.accepted;
    rig.sink.wait_for(accepted).await;
    rig.settle().await;
    let after = rig.cpu(Some(&gateway));

    let last = rig.sink.state().span().map_or(started, |(_, last)| last);
    let events = rig.sink.state().events;
    let figures = json!({
        "scenario": scenario,
        "connections": connections,
        "events_per_request": batch,
        "accepted_per_s": rate(accepted, posted.took),
        "delivered_per_s": rate(events, last - started),
        "post_ms": percentiles(posted.latencies),
        "refused": posted.refused,
        "cpu_ms_per_event": after.per_event(before, events),
        "loaded": memory(&gateway),
    });
    let figures = merge([figures, fates(&rig, accepted).await]);
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
