//! A producer that sends everything again, many times, and on Kafka a group that is set back to the start.
//!
//! A message that is published again is the same one where something says so: on RabbitMQ the producer's name and time
//! of it; everywhere an idempotency key, here an attribute that the source's mapping points at. Its repetitions are kept
//! as rows that are marked, and make no webhook.

use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_testkit::broker::{BrokerKind, Queue};
use longshore_testkit::gateway::Gateway;
use longshore_testkit::publication::Publication;
use tokio::time::{Instant, sleep};

use crate::brokers::on;
use crate::lengths;
use crate::load::Published;
use crate::record;
use crate::stage::{PATIENCE, Stage, metric};

/// Where a message says which event it is.
const MAPPING: &str =
    "{event_type: 'const:fault.test', kind: 'const:broadcast', idempotency_key: 'header:key', data: body}";
const MARKED: &str = "SELECT count(*) FROM events WHERE is_duplicate";
/// Messages that exist at once while publishing.
const CHUNK: usize = 20_000;
/// Between two looks at a counter, which gives no signal.
const POLL: Duration = Duration::from_millis(50);

on!(a_flood_of_duplicates_makes_no_second_event: rabbitmq, kafka, sqs, pubsub);

/// Different messages: where a broker tells them apart by name, more than a batch holds, so that none meets itself in one.
const fn messages(kind: BrokerKind) -> u64 {
    match kind {
        BrokerKind::Sqs => 400,
        _ => 2_000,
    }
}

async fn a_flood_of_duplicates_makes_no_second_event(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    let by_name = kind == BrokerKind::RabbitMq;
    if by_name {
        stage.subscribe().await;
    } else {
        stage.subscribe_mapped(MAPPING).await;
    }
    let mut gateway = stage.setup().start().await;
    let at = SystemClock.now().as_millis();
    let message = |number: u64| {
        if by_name {
            let (id, timestamp_ms) = (Some(format!("flood-{number}")), Some(at));
            return Publication { id, timestamp_ms, ..crate::load::broadcast(number) };
        }
        Publication::new(format!(r#"{{"n": {number}}}"#)).header("key", &format!("flood-{number}"))
    };
    let count = messages(kind);
    stage.queue.publish((0..count).map(message)).await;
    stage.receiver.wait_for(count as usize, PATIENCE).await;
    let set_back = set_back(&stage, &mut gateway, count).await;

    let (again, before, started) = (lengths::duplicates(kind), known(&gateway).await, Instant::now());
    for first in (0..again).step_by(CHUNK) {
        let numbers = first..again.min(first + CHUNK as u64);
        stage.queue.publish(numbers.map(|number| message(number % count))).await;
    }
    known_becomes(&gateway, before + again as f64, PATIENCE.max(lengths::catching_up())).await;
    let took = started.elapsed();
    let tally = stage.finish(&mut gateway, &Published::of(0..count), PATIENCE).await;

    let how = if by_name { "" } else { " under their idempotency keys" };
    let note = format!(
        "{set_back}{count} messages sent {} times more{how}, recognised in {took:.1?}",
        again / count
    );
    let verdict = tally.pass(&stage, record::DUPLICATES, note);
    assert_eq!(tally.repeated, 0, "a duplicate makes no webhook");
    let marked = if by_name { 0 } else { again };
    assert_eq!(
        stage.count(MARKED).await,
        i64::try_from(marked).unwrap(),
        "every repetition is marked, and no other"
    );
    stage.queue.remove().await;
    verdict.append();
}

/// Lets the broker deliver everything once more, where it can; says what became of that.
async fn set_back(stage: &Stage, gateway: &mut Gateway, count: u64) -> String {
    stage.depth_is(0).await;
    match &*stage.queue {
        // What Postgres has is not even read again.
        Queue::Kafka(topic) => {
            assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
            for partition in 0..longshore_testkit::broker::PARTITIONS {
                topic.commit(topic.name(), partition, 0).await;
            }
            assert_eq!(topic.left(topic.name()).await, count, "the group is at the start");
            gateway.restart().await;
            stage.depth_is(0).await;
            "the group set back to the start; ".to_owned()
        }
        _ => String::new(),
    }
}

async fn known_becomes(gateway: &Gateway, wanted: f64, patience: Duration) {
    let deadline = Instant::now() + patience;
    while known(gateway).await < wanted {
        assert!(Instant::now() < deadline, "{} of {wanted} are recognised", known(gateway).await);
        sleep(POLL).await;
    }
}

/// Messages that were recognised, beside a first one in the same batch or by what is stored.
async fn known(gateway: &Gateway) -> f64 {
    metric(gateway, "ingest_messages_redelivered_total").await
        + metric(gateway, "ingest_events_duplicate_total").await
}
