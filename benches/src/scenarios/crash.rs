//! `kill -9` under load, and a start at once: how long until webhooks go out again, and until nothing is behind.

use std::time::{Duration, Instant};

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Amount;
use crate::payload;
use crate::report::{fates, merge, millis};
use crate::setup::{Rig, endpoint};

const RATE: u32 = 500;
/// When it is killed.
const AFTER: Duration = Duration::from_secs(5);

/// Publishes at a steady pace, kills the gateway in the middle, starts it again.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/fast"]).await?;
    let mut gateway = rig.start().await;
    let (to, count) = (endpoint(0), amount.seconds.max(10) * RATE);

    let publishing = rig.publisher.paced(count, RATE, |n| payload::message(&to, n));
    let killing = async {
        sleep(AFTER).await;
        let killed = Instant::now();
        gateway.kill_9().await;
        rig.sink.mark();
        gateway.restart().await;
        (killed, Instant::now())
    };
    let (sent, (killed, ready)) = tokio::join!(publishing, killing);
    let sent = sent?;
    rig.sink.wait_for(count as usize).await;
    rig.settle().await;

    let back = rig.sink.state().first_since_mark.unwrap_or(ready);
    // What was published until then is what the crash kept waiting.
    let late = rig
        .sink
        .state()
        .arrivals
        .iter()
        .flatten()
        .zip(&sent)
        .filter(|(_, sent)| **sent <= back)
        .map(|(at, _)| *at)
        .max();
    let figures = json!({
        "scenario": "crash",
        "broker": kind.as_str(),
        "published_per_s": RATE,
        "kill_to_ready_ms": millis(ready - killed),
        "kill_to_next_delivery_ms": millis(back - killed),
        "kill_to_caught_up_ms": late.map(|late| millis(late.saturating_duration_since(killed))),
    });
    let figures = merge([figures, fates(&rig, count as usize).await]);
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
