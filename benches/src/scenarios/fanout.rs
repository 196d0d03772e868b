//! One event for a thousand endpoints, again and again.

use std::time::Instant;

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::{Amount, ENDPOINTS, memory, thousand};
use crate::payload;
use crate::report::{millis, percentiles, rate};
use crate::setup::Rig;

/// Events that are sent one by one, each when the one before has arrived everywhere.
const SINGLE: u32 = 20;

/// First one by one, then as many at once as make the deliveries asked for.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &thousand(false)).await?;
    let gateway = rig.start().await;
    let mut single = Vec::new();
    for n in 0..SINGLE {
        let started = Instant::now();
        rig.publisher.event(n, payload::broadcast(n)).await?;
        let wanted = (n as usize + 1) * ENDPOINTS;
        rig.sink.wait_until(|state| state.webhooks >= wanted).await;
        let arrived = rig.sink.state().webhooks_from_to.map_or(started, |(_, last)| last);
        single.push(arrived - started);
    }
    let first = single.remove(0);

    let count = amount.events / ENDPOINTS as u32;
    let before = rig.cpu(Some(&gateway));
    let webhooks = rig.sink.state().webhooks;
    let started = Instant::now();
    rig.publisher.backlog(count, |n| payload::broadcast(SINGLE + n)).await;
    let wanted = webhooks + count as usize * ENDPOINTS;
    rig.sink.wait_until(|state| state.webhooks >= wanted).await;
    rig.settle().await;
    let after = rig.cpu(Some(&gateway));

    let arrived = rig.sink.state().webhooks_from_to.map_or(started, |(_, last)| last);
    let delivered = rig.sink.state().webhooks - webhooks;
    let figures = json!({
        "scenario": "fanout",
        "broker": kind.as_str(),
        "endpoints": ENDPOINTS,
        "first_event_everywhere_ms": millis(first),
        "one_event_everywhere_ms": percentiles(single),
        "delivered_per_s": rate(delivered, arrived - started),
        "cpu_ms_per_delivery": after.per_event(before, delivered),
        "lost": wanted.saturating_sub(webhooks + delivered),
        "stored": rig.stored().await,
        "loaded": memory(&gateway),
    });
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
