//! Nine hundred healthy endpoints beside fifty that hang for 10 s and fifty that answer 500: what the healthy notice.

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

use super::{Amount, BAD, ENDPOINTS, is_healthy, memory, thousand};
use crate::payload;
use crate::report::{end_to_end, merge, percentiles, rate};
use crate::setup::{Rig, endpoint};

/// Events per second, to the thousand endpoints in turn.
const RATE: u32 = 1_000;
/// Seconds at the start that are not counted: every endpoint has had its first events.
const WARM_UP: u32 = 3;

/// Publishes at a steady pace to the healthy ones, then to all.
///
/// # Errors
/// When a server fails.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    eprintln!("  a thousand healthy endpoints");
    let alone = healthy(kind, amount, false).await?;
    eprintln!("  and a tenth of them hangs or fails");
    let beside = healthy(kind, amount, true).await?;
    let p99 = |figures: &Value| figures["end_to_end_ms"]["p99"].as_f64();
    let ratio = p99(&beside).zip(p99(&alone)).map(|(beside, alone)| (beside / alone * 100.0).round() / 100.0);
    let figures = json!({
        "scenario": "isolation",
        "broker": kind.as_str(),
        "endpoints": { "all": ENDPOINTS, "hang": BAD, "fail": BAD },
        "published_per_s": RATE,
        "healthy_alone": alone,
        "healthy_beside": beside,
        "p99_ratio": ratio,
    });
    Ok(merge([figures]))
}

/// What those see that are healthy in either case.
async fn healthy(kind: BrokerKind, amount: Amount, has_bad: bool) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &thousand(has_bad)).await?;
    let gateway = rig.start().await;
    let ids: Vec<String> = (0..ENDPOINTS).map(endpoint).collect();
    let count = (amount.seconds + WARM_UP) * RATE;

    let before = rig.cpu(Some(&gateway));
    let sent =
        rig.publisher.paced(count, RATE, |n| payload::message(&ids[n as usize % ENDPOINTS], n)).await?;
    let wanted = (0..count as usize).filter(|n| is_healthy(*n)).count();
    let arrived = |arrivals: &[Option<_>]| {
        arrivals.iter().enumerate().filter(|(n, at)| is_healthy(*n) && at.is_some()).count()
    };
    rig.sink.wait_until(|state| arrived(&state.arrivals) >= wanted).await;
    let after = rig.cpu(Some(&gateway));

    let arrivals = rig.sink.state().arrivals.clone();
    let measured = end_to_end(&sent, &arrivals, |n| n >= (WARM_UP * RATE) as usize && is_healthy(n));
    let took = sent.first().zip(arrivals.iter().flatten().max()).map(|(first, last)| *last - *first);
    let figures = json!({
        "end_to_end_ms": percentiles(measured),
        "delivered_per_s": took.map(|took| rate(arrived(&arrivals), took)),
        "lost": wanted - arrived(&arrivals),
        "cpu_ms_per_event": after.per_event(before, count as usize),
        "loaded": memory(&gateway),
    });
    drop(gateway);
    rig.close().await;
    Ok(figures)
}
