//! A broker where a great many messages wait: what they cost the gateway, which is to be nothing.

use std::time::{Duration, Instant};

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Amount, memory};
use crate::payload;
use crate::report::merge;
use crate::setup::{Rig, endpoint};

/// How many of them are taken while looking: enough that every buffer is as full as it gets.
const SAMPLE: u32 = 20_000;
const POLL: Duration = Duration::from_millis(100);

/// Takes a sample with little waiting behind it, and then with `amount.waiting`, each to an endpoint that hangs, so
/// that the gateway holds all it may.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    eprintln!("  {SAMPLE} waiting");
    let few = sample(kind, SAMPLE).await?;
    eprintln!("  {} waiting", amount.waiting);
    let many = sample(kind, amount.waiting.max(SAMPLE)).await?;
    let peak = |figures: &Value| figures["peak_rss_mb"].as_f64();
    let grown = peak(&many).zip(peak(&few)).map(|(many, few)| ((many - few) * 10.0).round() / 10.0);
    Ok(merge([json!({
        "scenario": "waiting",
        "broker": kind.as_str(),
        "sample": SAMPLE,
        "few": few,
        "many": many,
        "grown_mb": grown,
    })]))
}

async fn sample(kind: BrokerKind, waiting: u32) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/slow"]).await?;
    let to = endpoint(0);
    let published = rig.publisher.backlog(waiting, |n| payload::message(&to, n)).await;
    let gateway = rig.start().await;
    let started = Instant::now();
    while rig.stored().await < i64::from(SAMPLE) {
        anyhow::ensure!(started.elapsed() < Duration::from_secs(600), "the gateway takes no messages");
        sleep(POLL).await;
    }
    let left = match kind {
        // It is counted by taking, which the gateway does as well.
        BrokerKind::PubSub => u64::from(waiting).saturating_sub(u64::try_from(rig.stored().await)?),
        _ => rig.left().await,
    };
    let figures = json!({
        "waiting": waiting,
        "left_at_the_broker": left,
        "publish_s": published.as_secs_f64().round(),
        "taken_s": (started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    });
    let figures = merge([figures, memory(&gateway)]);
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
