//! A producer that sends everything again, many times.

use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_testkit::broker::BrokerKind;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::publication::Publication;
use tokio::time::{Instant, sleep};

use crate::brokers::on;
use crate::lengths;
use crate::load::Published;
use crate::record;
use crate::stage::{PATIENCE, Stage, metric};

/// Different messages: more than a batch holds, so that none meets itself in one.
const MESSAGES: u64 = 2_000;

// A message that is published again is the same one where the producer's name and time say so.
on!(a_flood_of_duplicates_makes_no_second_event: rabbitmq);

async fn a_flood_of_duplicates_makes_no_second_event(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let at = SystemClock.now().as_millis();
    let message = |number: u64| Publication {
        id: Some(format!("flood-{number}")),
        timestamp_ms: Some(at),
        ..crate::load::broadcast(number)
    };
    stage.queue.publish((0..MESSAGES).map(message)).await;
    stage.receiver.wait_for(MESSAGES as usize, PATIENCE).await;

    let (again, started) = (lengths::duplicates(kind), Instant::now());
    stage.queue.publish((0..again).map(|number| message(number % MESSAGES))).await;
    let deadline = started + PATIENCE.max(lengths::catching_up());
    while known(&gateway).await < again as f64 {
        assert!(Instant::now() < deadline, "{} of {again} are recognised", known(&gateway).await);
        sleep(Duration::from_millis(50)).await; // a counter gives no signal
    }
    let took = started.elapsed();
    let tally = stage.finish(&mut gateway, &Published::of(0..MESSAGES), PATIENCE).await;

    let note = format!("{MESSAGES} messages sent {} times more, recognised in {took:.1?}", again / MESSAGES);
    let verdict = tally.pass(&stage, record::DUPLICATES, note);
    assert_eq!(tally.repeated, 0, "a duplicate makes no webhook");
    stage.queue.remove().await;
    verdict.append();
}

/// Messages that were recognised, beside a first one in the same batch or by what is stored.
async fn known(gateway: &Gateway) -> f64 {
    metric(gateway, "ingest_messages_redelivered_total").await
        + metric(gateway, "ingest_events_duplicate_total").await
}
