//! A Postgres that answers, but late.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::database::fresh_database;
use tokio::time::{Instant, sleep};

use crate::brokers::{on, rate};
use crate::lengths;
use crate::load::{Load, Published, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage, metric};

/// How much later each piece passes, either way; a transaction of many messages is several pieces.
const fn delay(kind: BrokerKind) -> Duration {
    Duration::from_millis(match kind {
        BrokerKind::Sqs => 800, // few at a time: one piece
        _ => 400,
    })
}

/// How much the resident memory may grow meanwhile.
const GROWTH_KIB: u64 = 20 * 1024;
/// More than consumers take without having committed: two with a RabbitMQ prefetch of 1,000.
const BURST: u64 = 4_000;
/// Numbers of the burst begin here.
const FIRST: u64 = 1_000_000;

on!(a_slow_postgres_throttles_and_gives_nothing_back: rabbitmq, kafka, sqs, pubsub);

async fn a_slow_postgres_throttles_and_gives_nothing_back(kind: BrokerKind) {
    let database = fresh_database().await;
    let stage = Stage::own(Some(&database.url()), None, kind).await;
    stage.subscribe_with(&stage.settings()).await;
    let proxy = ChaosProxy::start(ChaosProxy::authority(&database.url())).await;
    let mut gateway = stage.setup().env("LONGSHORE__DATABASE__URL", proxy.url(&database.url())).start().await;
    let load = Load::start(&stage.queue, rate(kind) / 2, broadcast);
    stage.receiver.wait_for(rate(kind) as usize, PATIENCE).await;
    let burst = BURST * rate(kind) / 300;

    let (sum, count) = commits(&gateway).await;
    let before = gateway.usage().rss_kib;
    proxy.delay(delay(kind));
    stage.queue.publish((FIRST..FIRST + burst).map(broadcast)).await;
    let until = Instant::now() + lengths::postgres_slow();
    let (mut most, mut held) = (before, 0.0_f64);
    while Instant::now() < until {
        most = most.max(gateway.usage().rss_kib);
        held = held.max(metric(&gateway, "source_in_flight").await);
        sleep(Duration::from_millis(200)).await; // samples
    }
    let (sum_after, count_after) = commits(&gateway).await;
    proxy.restore();
    let mut published = load.stop().await;
    published.confirmed.extend(Published::of(FIRST..FIRST + burst).confirmed);
    stage.settle(published.confirmed.len(), PATIENCE).await;

    let given_back = metric(&gateway, "ingest_messages_redelivered_total").await;
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let commit = (sum_after - sum) / (count_after - count).max(1.0);
    let note = format!(
        "a transaction took {commit:.1} s on average for {} s; at most {held} messages held; resident {} MiB \
         before, {} MiB at most",
        lengths::postgres_slow().as_secs(),
        before / 1024,
        most / 1024
    );
    let verdict = tally.pass(&stage, record::POSTGRES_SLOW, note);
    assert!(commit >= 1.5, "it was not slow: {commit} s per transaction");
    assert_eq!(given_back, 0.0, "leases are extended: no message came again");
    assert!(held <= 2_000.0, "pulling is throttled: {held} messages held");
    assert!(most <= before + GROWTH_KIB, "memory grew from {before} to {most} KiB");
    stage.queue.remove().await;
    stage.pool.close().await;
    verdict.append();
}

/// Seconds spent in transactions, and how many there were.
async fn commits(gateway: &longshore_testkit::gateway::Gateway) -> (f64, f64) {
    (metric(gateway, "ingest_commit_seconds_sum").await, metric(gateway, "ingest_commit_seconds_count").await)
}
