//! Bodies as large as brokers carry, and larger than a project takes.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;
use serde_json::json;

use crate::brokers::on;
use crate::load::Published;
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Messages of each size.
const EACH: u64 = 16;
/// Numbers of what is too large begin here.
const OVERSIZE: u64 = 1_000;
/// How much the resident memory may grow: two consumers hold two messages each, of 10 MB at most, and each is there
/// as received, as kept and as sent to Postgres. All of them would be more.
const GROWTH_KIB: u64 = 220 * 1024;

on!(large_bodies_are_delivered_and_too_large_ones_are_quarantined: rabbitmq, kafka, sqs, pubsub);

/// Sizes that are delivered, and one that is not, as far as the broker carries them.
const fn sizes(kind: BrokerKind) -> ([usize; 2], usize) {
    const KB: usize = 1_000;
    match kind {
        // The most that its queues and its emulators take is 1 MiB.
        BrokerKind::Sqs => ([128 * KB, 200 * KB], 256 * KB),
        _ => ([256 * KB, 1_000 * KB], 10_000 * KB),
    }
}

fn message(number: u64, bytes: usize) -> Publication {
    let pad = "x".repeat(bytes);
    let mut body = format!(r#"{{"event_type":"fault.test","data":{{"n":{number},"pad":"{pad}"#);
    body.truncate(bytes - 3);
    Publication::new(format!("{body}\"}}}}")).header("x-convoy-message-type", "broadcast")
}

async fn large_bodies_are_delivered_and_too_large_ones_are_quarantined(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    let mut settings = stage.queue.settings();
    if matches!(kind, BrokerKind::RabbitMq | BrokerKind::Quorum) {
        // RabbitMQ counts messages, not bytes: with bodies this large its window is to be small.
        settings["prefetch"] = json!(2);
    }
    stage.subscribe_with(&settings).await;
    let mut gateway = stage.setup().start().await;
    let before = gateway.usage().rss_kib;

    let ([small, large], oversize) = sizes(kind);
    let limited = |number| message(number, if number % 2 == 0 { small } else { large });
    stage.queue.publish((0..2 * EACH).map(limited)).await;
    stage.queue.publish((OVERSIZE..OVERSIZE + EACH).map(|number| message(number, oversize))).await;
    stage.count_reaches("SELECT count(*) FROM quarantine", EACH as i64).await;
    let published = Published::of(0..2 * EACH);
    stage.settle(published.confirmed.len(), PATIENCE).await;

    let most = gateway.usage().peak_rss_kib;
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let kept: Vec<(String, i32)> = sqlx::query_as("SELECT reason, octet_length(body) FROM quarantine")
        .fetch_all(&stage.pool)
        .await
        .unwrap();
    let note = format!(
        "{EACH} of each of {} and {} KB delivered, {} of {} KB quarantined; resident {} MiB before, {} MiB at most",
        small / 1_000,
        large / 1_000,
        kept.len(),
        oversize / 1_000,
        before / 1024,
        most / 1024
    );
    tally.pass(&stage, record::SIZES, note);
    assert_eq!(kept, vec![("too_large".to_owned(), oversize as i32); EACH as usize], "kept whole, once");
    let arrived = stage.receiver.requests().iter().map(|request| request.body.len()).max().unwrap();
    assert!(arrived + 100 > large, "{arrived} bytes arrived at most");
    assert!(most <= before + GROWTH_KIB, "memory grew from {before} to {most} KiB");
    stage.queue.remove().await;
}
