//! One endpoint that hangs for 10 s beside ten healthy ones: what the healthy notice of it.

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::Amount;
use crate::payload;
use crate::report::{end_to_end, merge, percentiles};
use crate::setup::{Rig, endpoint};

const RATE: u32 = 500;
const HEALTHY: usize = 10;
/// Events at the start that are not counted.
const WARM_UP: usize = 2 * RATE as usize;

/// Publishes at a steady pace to ten endpoints, then to eleven.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    eprintln!("  ten healthy endpoints");
    let (without, _) = healthy(kind, amount, HEALTHY).await?;
    eprintln!("  and one that hangs");
    let (with, missing) = healthy(kind, amount, HEALTHY + 1).await?;
    let ratio = with["p99"].as_f64().zip(without["p99"].as_f64()).map(|(with, without)| with / without);
    let figures = json!({
        "scenario": "slow",
        "broker": kind.as_str(),
        "published_per_s": RATE,
        "healthy_end_to_end_ms": { "alone": without, "beside_a_slow_one": with },
        "p99_ratio": ratio.map(|ratio| (ratio * 100.0).round() / 100.0),
        "healthy_lost": missing,
    });
    Ok(merge([figures]))
}

/// Percentiles of the healthy endpoints, and how many of their events did not arrive.
async fn healthy(kind: BrokerKind, amount: Amount, endpoints: usize) -> anyhow::Result<(Value, usize)> {
    let mut paths = vec!["/fast"; HEALTHY];
    paths.resize(endpoints, "/slow");
    let rig = Rig::new(kind, &paths).await?;
    let gateway = rig.start().await;
    let ids: Vec<String> = (0..endpoints).map(endpoint).collect();
    let count = amount.seconds * RATE + WARM_UP as u32;

    let sent =
        rig.publisher.paced(count, RATE, |n| payload::message(&ids[n as usize % endpoints], n)).await?;
    let is_healthy = |n: usize| n % endpoints < HEALTHY;
    let expected = (0..count as usize).filter(|n| is_healthy(*n)).count();
    // What the slow one gets counts too, but is never complete; the healthy must be.
    rig.sink
        .wait_until(|state| {
            state.arrivals.iter().enumerate().filter(|(n, at)| is_healthy(*n) && at.is_some()).count()
                >= expected
        })
        .await;

    let arrivals = rig.sink.state().arrivals.clone();
    let arrived = end_to_end(&sent, &arrivals, is_healthy).len();
    let measured = end_to_end(&sent, &arrivals, |n| n >= WARM_UP && is_healthy(n));
    drop(gateway);
    rig.close().await;
    Ok((percentiles(measured), expected - arrived))
}
