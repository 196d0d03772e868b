//! A full queue, drained: the rate the gateway reaches when nothing but itself holds it back.

use std::time::{Duration, Instant};

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::{Amount, memory};
use crate::payload;
use crate::report::{fates, merge, millis, rate};
use crate::setup::{Rig, endpoint};

/// How long a gateway may take to stop.
const GOODBYE: Duration = Duration::from_secs(30);

/// Publishes everything, then starts the gateway.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/fast"]).await?;
    let idle = idle_memory(&rig).await;
    let to = endpoint(0);
    eprintln!("  publishing {} events, drained by a client without a gateway", amount.events);
    rig.publisher.backlog(amount.events, |n| payload::message(&to, n)).await;
    let alone = rig.drained_per_s(amount.events).await;
    eprintln!("  publishing {} events", amount.events);
    let publishing = rig.publisher.backlog(amount.events, |n| payload::message(&to, n)).await;

    let (before, started) = (rig.cpu(None), Instant::now());
    let gateway = rig.start().await;
    rig.sink.wait_for(amount.events as usize).await;
    rig.settle().await;
    let after = rig.cpu(Some(&gateway));

    let (first, last) = rig.sink.state().span().unwrap_or((started, started));
    let events = rig.sink.state().events;
    let figures = json!({
        "scenario": "backlog",
        "broker": kind.as_str(),
        "delivered_per_s": rate(events, last - first),
        "first_delivery_ms": millis(first - started),
        "drained_without_gateway_per_s": alone,
        "published_per_s": rate(amount.events as usize, publishing),
        "cpu_ms_per_event": after.per_event(before, events),
        "idle_rss_mb": idle["rss_mb"],
        "loaded": memory(&gateway),
    });
    let figures = merge([figures, fates(&rig, amount.events as usize).await]);
    drop(gateway);
    rig.close().await;
    Ok(figures)
}

/// Of a gateway that has nothing to do, three seconds after it was ready.
async fn idle_memory(rig: &Rig) -> Value {
    let mut gateway = rig.start().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = memory(&gateway);
    // Ended in good order: a group on Kafka waits 45 s for a member that just vanished.
    gateway.sigterm(GOODBYE).await;
    idle
}
