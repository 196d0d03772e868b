//! Hours of steady load, beside a transaction that keeps Postgres from cleaning up.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::record::Record;
use tokio::time::{Instant, sleep};

use crate::brokers::{on, rate};
use crate::load::{Load, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// How much the resident memory may grow after the first tenth.
const GROWTH_KIB: u64 = 40 * 1024;
/// How many messages may wait at any time: some seconds' worth.
const BEHIND: u64 = 5;

on!(hours_of_load_beside_an_open_transaction_stay_level: rabbitmq, kafka, sqs, pubsub);

fn hours() -> f64 {
    std::env::var("SOAK_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(24.0)
}

async fn hours_of_load_beside_an_open_transaction_stay_level(kind: BrokerKind) {
    let lasting = Duration::from_secs_f64(hours() * 3_600.0);
    if lasting.is_zero() {
        return; // asked for: SOAK_HOURS=0
    }
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    stage.receiver.count_only(); // a day of requests would not fit
    let mut gateway = stage.setup().start().await;
    // The long reader: its snapshot keeps every dead row of the hot tables.
    let mut reader = stage.pool.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *reader).await.unwrap();
    sqlx::query("SELECT count(*) FROM events").execute(&mut *reader).await.unwrap();

    let load = Load::start_counting(&stage.queue, rate(kind), broadcast);
    let begun = Instant::now();
    sleep(lasting / 10).await;
    let (before, mut most, mut behind) = (gateway.usage().rss_kib, 0, 0);
    while begun.elapsed() < lasting {
        most = most.max(gateway.usage().rss_kib);
        // Not asked of the broker: some count by taking.
        let published = load.hold().await.count;
        behind = behind.max(published.saturating_sub(stage.receiver.count()) as u64);
        sleep(Duration::from_secs(10).min(lasting / 20)).await; // samples
    }
    let published = load.stop().await;
    let count = published.count;
    let patience = PATIENCE + lasting / 20;
    stage.settle(count, patience).await;
    reader.rollback().await.unwrap();

    let stored = usize::try_from(stage.count("SELECT count(*) FROM events").await).unwrap();
    let delivered = stage.receiver.unique_ids();
    assert_eq!(gateway.sigterm(patience).await.code(), Some(0));
    assert_eq!(stage.queue.left().await, 0, "everything is acknowledged");
    let note = format!(
        "{:.2} h at {}/s; resident {} MiB early, {} MiB at most; at most {behind} not delivered yet",
        hours(),
        rate(kind),
        before / 1024,
        most / 1024
    );
    let (lost, doubled) =
        (count.saturating_sub(stored), stored.saturating_sub(count + published.unsure.len()));
    eprintln!("{}, {kind}: {note}; {count} published, {stored} stored, {delivered} delivered", record::SOAK);
    assert_eq!((lost, doubled), (0, 0), "lost, doubled");
    assert_eq!(delivered, stored, "everything stored is delivered");
    assert!(most <= before + GROWTH_KIB, "memory grew from {before} to {most} KiB");
    assert!(behind <= BEHIND * rate(kind), "{behind} messages waited");
    let record = Record {
        scenario: record::SOAK,
        broker: kind,
        published: count,
        stored,
        delivered,
        lost,
        doubled,
        note,
    };
    record.append();
}
