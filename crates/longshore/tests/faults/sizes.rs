//! Bodies as large as brokers carry, and larger than a project takes.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;
use serde_json::json;

use crate::brokers::on;
use crate::load::Published;
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Bytes that a consumer holds at most, where the source can say so.
const WINDOW: u64 = 20_000_000;
/// Messages of each size.
const EACH: u64 = 16;
/// Numbers of what is too large begin here.
const OVERSIZE: u64 = 1_000;
/// How much the resident memory may grow: two consumers hold two or three messages each, of 10 MB at most, and of each
/// consumer one is on its way to Postgres, which is three times more while a statement is put together. All messages,
/// held and sent at once, would be 480 MB.
const GROWTH_KIB: u64 = 160 * 1024;
/// Kafka's client keeps as much again of what it has fetched and not handed over.
const GROWTH_KAFKA_KIB: u64 = 200 * 1024;

on!(large_bodies_are_delivered_and_too_large_ones_are_quarantined: rabbitmq, kafka, sqs, pubsub);

/// Sizes that are delivered, and one that is not, as far as the broker carries them.
const fn sizes(kind: BrokerKind) -> ([usize; 2], Option<usize>) {
    const KB: usize = 1_000;
    match kind {
        // Its test server takes 256 KiB: nothing that a project would refuse.
        BrokerKind::Sqs => ([128 * KB, 256 * KB], None),
        // 10 MB with everything around it, for Pub/Sub and for the producer of Kafka's handle.
        BrokerKind::PubSub | BrokerKind::Kafka => ([256 * KB, 1_000 * KB], Some(9_900 * KB)),
        _ => ([256 * KB, 1_000 * KB], Some(10_000 * KB)),
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
    match kind {
        // RabbitMQ counts messages, not bytes: with bodies this large its window is to be small.
        BrokerKind::RabbitMq | BrokerKind::Quorum => settings["prefetch"] = json!(2),
        BrokerKind::Kafka | BrokerKind::Sqs | BrokerKind::PubSub => {
            settings["max_in_flight_bytes"] = json!(WINDOW);
        }
    }
    stage.subscribe_with(&settings).await;
    let mut gateway = stage.setup().start().await;
    let before = gateway.usage().rss_kib;

    let ([small, large], oversize) = sizes(kind);
    let limited = |number| message(number, if number % 2 == 0 { small } else { large });
    for number in 0..2 * EACH {
        stage.queue.publish([limited(number)]).await; // together they would be too large for a request
    }
    if let Some(oversize) = oversize {
        for number in OVERSIZE..OVERSIZE + EACH {
            stage.queue.publish([message(number, oversize)]).await;
        }
        stage.count_reaches("SELECT count(*) FROM quarantine", EACH as i64).await;
    }
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
        oversize.unwrap_or(0) / 1_000,
        before / 1024,
        most / 1024
    );
    let verdict = tally.pass(&stage, record::SIZES, note);
    let expected = oversize.map(|bytes| vec![("too_large".to_owned(), bytes as i32); EACH as usize]);
    assert_eq!(kept, expected.unwrap_or_default(), "kept whole, once");
    let arrived = stage.receiver.requests().iter().map(|request| request.body.len()).max().unwrap();
    assert!(arrived + 100 > large, "{arrived} bytes arrived at most");
    let growth = if kind == BrokerKind::Kafka { GROWTH_KAFKA_KIB } else { GROWTH_KIB };
    assert!(most <= before + growth, "memory grew from {before} to {most} KiB");
    stage.queue.remove().await;
    verdict.append();
}
