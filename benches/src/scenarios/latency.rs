//! A gateway with time to spare: how long one event takes from just before it is published to its webhook.

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::Amount;
use crate::payload;
use crate::report::{end_to_end, fates, merge, percentiles};
use crate::setup::{Rig, endpoint};

const RATE: u32 = 200;
/// Events at the start that are not counted: connections are made, caches are filled.
const WARM_UP: u32 = 2 * RATE;

/// Publishes at a steady pace.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/fast"]).await?;
    let gateway = rig.start().await;
    let (to, count) = (endpoint(0), amount.seconds * RATE + WARM_UP);

    let before = rig.cpu(Some(&gateway));
    let sent = rig.publisher.paced(count, RATE, |n| payload::message(&to, n)).await?;
    rig.sink.wait_for(count as usize).await;
    rig.settle().await;
    let after = rig.cpu(Some(&gateway));

    let measured = end_to_end(&sent, &rig.sink.state().arrivals, |n| n >= WARM_UP as usize);
    let figures = json!({
        "scenario": "latency",
        "broker": kind.as_str(),
        "published_per_s": RATE,
        "end_to_end_ms": percentiles(measured),
        "cpu_ms_per_event": after.per_event(before, count as usize),
    });
    let figures = merge([figures, fates(&rig, count as usize).await]);
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
