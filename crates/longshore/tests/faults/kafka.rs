//! What only Kafka has: partitions that move from member to member, and topics that are made anew.

use longshore_testkit::broker::{BrokerKind, Queue};

use crate::brokers::{on, rate};
use crate::load::{Load, Published, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// How often a member joins and leaves.
const ROUNDS: usize = 10;

on!(members_that_come_and_go_lose_and_double_nothing: kafka);
on!(a_topic_that_is_made_anew_loses_and_doubles_nothing: kafka);

async fn members_that_come_and_go_lose_and_double_nothing(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    for round in 0..ROUNDS {
        let mut other = stage.setup().start().await;
        let before = stage.receiver.count();
        stage.receiver.wait_for(before + rate(kind) as usize, PATIENCE).await;
        if round % 5 != 4 {
            assert_eq!(other.sigterm(PATIENCE).await.code(), Some(0));
        } else {
            other.kill_9().await; // the group hears nothing of it until its session ends
        }
    }
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), 2 * PATIENCE).await;

    let tally = stage.finish(&mut gateway, &published, 2 * PATIENCE).await;
    let note = format!("{ROUNDS} joins and {ROUNDS} leaves of two members each, of which two by `kill -9`");
    let verdict = tally.pass(&stage, record::MEMBERS, note);
    stage.queue.remove().await;
    verdict.append();
}

async fn a_topic_that_is_made_anew_loses_and_doubles_nothing(kind: BrokerKind) {
    const MESSAGES: u64 = 200;
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish((0..MESSAGES).map(broadcast)).await;
    stage.receiver.wait_for(MESSAGES as usize, PATIENCE).await;
    stage.depth_is(0).await;

    let Queue::Kafka(topic) = &*stage.queue else { unreachable!("this scenario runs on Kafka") };
    topic.recreate(longshore_testkit::broker::PARTITIONS).await;
    // The same offsets again, of other messages.
    stage.queue.publish((MESSAGES..2 * MESSAGES).map(broadcast)).await;
    stage.receiver.wait_for(2 * MESSAGES as usize, 2 * PATIENCE).await;

    let published = Published::of(0..2 * MESSAGES);
    stage.settle(published.confirmed.len(), PATIENCE).await;
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
    let tally = stage.tally(&published).await;
    let verdict = tally.pass(&stage, record::RECREATED, "offsets begin at 0 again and are other messages");
    stage.queue.remove().await;
    verdict.append();
}
