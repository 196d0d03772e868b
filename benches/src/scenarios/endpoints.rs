//! A full queue for a thousand endpoints, drained: all of them healthy, and with fifty that hang and fifty that fail.

use std::time::Instant;

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::{Amount, ENDPOINTS, is_healthy, memory, thousand};
use crate::payload;
use crate::report::{fates, merge, rate};
use crate::setup::{Rig, endpoint};

/// Publishes everything, then starts the gateway; twice.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let alone = drain(kind, amount.events, false).await?;
    let beside = drain(kind, amount.events, true).await?;
    Ok(json!({
        "scenario": "endpoints",
        "broker": kind.as_str(),
        "endpoints": ENDPOINTS,
        "all_healthy": alone,
        "fifty_hang_and_fifty_fail": beside,
    }))
}

async fn drain(kind: BrokerKind, events: u32, has_bad: bool) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &thousand(has_bad)).await?;
    let ids: Vec<String> = (0..ENDPOINTS).map(endpoint).collect();
    eprintln!("  publishing {events} events for {ENDPOINTS} endpoints");
    rig.publisher.backlog(events, |n| payload::message(&ids[n as usize % ENDPOINTS], n)).await;

    let (before, started) = (rig.cpu(None), Instant::now());
    let gateway = rig.start().await;
    let counts = |n: usize| !has_bad || is_healthy(n);
    let wanted = (0..events as usize).filter(|n| counts(*n)).count();
    let mut last = started;
    rig.sink
        .wait_until(|state| {
            let arrived = state.arrivals.iter().enumerate().filter(|(n, _)| counts(*n));
            arrived.filter(|(_, at)| at.is_some()).count() >= wanted
        })
        .await;
    rig.settle().await;
    let after = rig.cpu(Some(&gateway));

    let mut first = None;
    let mut delivered = 0;
    for (n, at) in rig.sink.state().arrivals.iter().enumerate() {
        let Some(at) = at.filter(|_| counts(n)) else { continue };
        first = Some(first.map_or(at, |first: Instant| first.min(at)));
        (last, delivered) = (last.max(at), delivered + 1);
    }
    let figures = json!({
        "healthy_delivered_per_s": rate(delivered, last - first.unwrap_or(last)),
        "cpu_ms_per_event": after.per_event(before, delivered),
        "healthy_lost": wanted - delivered,
        "loaded": memory(&gateway),
    });
    let fates = if has_bad { Value::Null } else { fates(&rig, events as usize).await };
    drop(gateway);
    rig.close().await;
    Ok(merge([figures, fates]))
}
