//! `kill -9` of the gateway: at random moments, between commit and acknowledgement, and beside another gateway.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::receiver::Reply;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::brokers::{incoming, on, rate};
use crate::load::{Identity, Load, Published, broadcast};
use crate::record;
use crate::stage::{Endpoint, LEASE, PATIENCE, Stage, metric};

/// On RabbitMQ; the others have fewer, since what is killed is the same.
const KILLS: usize = 10;

on!(kills_at_random_moments_lose_and_double_nothing: rabbitmq, kafka, sqs, pubsub);
on!(a_kill_between_commit_and_acknowledgement_makes_no_second_event: rabbitmq, quorum, kafka, sqs, pubsub);

/// Messages that are recognised by name and time, by name only, and by content only take turns.
async fn kills_at_random_moments_lose_and_double_nothing(kind: BrokerKind) {
    let kills = if kind == BrokerKind::RabbitMq { KILLS } else { KILLS / 3 };
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    let mut rng = StdRng::seed_from_u64(2611);
    let mut longest = Duration::ZERO;
    for _ in 0..kills {
        sleep(Duration::from_millis(rng.random_range(200..1_800))).await;
        gateway.kill_9().await;
        let killed = Instant::now();
        let before = stage.receiver.count();
        gateway.restart().await;
        // More than were on their way when it was killed.
        stage.receiver.wait_for(before + rate(kind) as usize, PATIENCE).await;
        longest = longest.max(killed.elapsed());
    }
    let published = load.stop().await;

    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;

    let verdict = tally.pass(
        &stage,
        record::KILLS,
        format!("{kills} kills, back at work after {longest:.1?} at the longest"),
    );
    for identity in Identity::ALL {
        let count = published.confirmed.keys().filter(|number| Identity::of(**number) == identity).count();
        assert!(count > 50 * kills * rate(kind) as usize / 300, "{identity:?}: {count}");
    }
    // A group waits for the session of a member that was killed.
    let session = if kind == BrokerKind::Kafka { 6 } else { 0 };
    assert!(longest < Duration::from_secs(5 + session), "back at work after {longest:?}");
    verdict.append();
}

async fn a_kill_between_commit_and_acknowledgement_makes_no_second_event(kind: BrokerKind) {
    let (messages, stage) = (90, Stage::new(kind).await);
    let held = stage.subscribe_held().await;
    let mut gateway = stage.setup().start().await;
    stage.queue.publish([broadcast(0)]).await;
    stage.receiver.wait_for(1, PATIENCE).await;
    stage.depth_is(0).await;

    held.hold();
    stage.queue.publish((1..=messages).map(broadcast)).await;
    stage.count_reaches("SELECT count(*) FROM events", 1 + incoming(kind, messages) as i64).await;
    gateway.kill_9().await;
    let stored = stage.count("SELECT count(*) FROM events").await as f64;
    held.release();
    // The broker has every one of them back, so every one is delivered again.
    stage.depth_reaches(messages).await;
    gateway.restart().await;
    stage.depth_is(0).await;
    let published = Published::of(0..=messages);
    stage.settle(published.confirmed.len(), PATIENCE).await;

    // Kafka is asked from where Postgres says, so that what is stored does not even come again. Elsewhere all does; the
    // first one too, if its acknowledgement was still under way.
    let least = if kind == BrokerKind::Kafka { 0.0 } else { stored - 1.0 };
    let deadline = Instant::now() + PATIENCE;
    let mut redelivered = 0.0;
    while redelivered < least && Instant::now() < deadline {
        redelivered = metric(&gateway, "ingest_messages_redelivered_total").await;
        sleep(Duration::from_millis(20)).await; // a counter gives no signal
    }
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let verdict = tally.pass(&stage, record::KILL, format!("{redelivered} delivered again and recognised"));
    assert!((least..=stored).contains(&redelivered), "{redelivered} of {stored} came again");
    assert_eq!(stage.count("SELECT count(*) FROM deliveries").await, messages as i64 + 1);
    stage.queue.remove().await;
    verdict.append();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_takes_over_the_claims_of_a_killed_one_within_its_lease() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    // So slow that claims are held at every moment.
    stage.receiver.script("/hook", [Reply::default().after(Duration::from_millis(200))]);
    stage
        .apply(
            &[Endpoint { keys: ", max_concurrency: 500", ..Endpoint::at(stage.receiver.url("/hook")) }],
            &stage.queue.settings(),
        )
        .await;
    let mut victim = stage.setup().start().await;
    let id: String =
        sqlx::query_scalar("SELECT id::text FROM processes").fetch_one(&stage.pool).await.unwrap();
    let mut other = stage.setup().start().await;
    let load = Load::start(&stage.queue, 300, broadcast);
    let held = || async {
        let query = "SELECT count(*) FROM deliveries WHERE claimed_by = $1::uuid";
        let held: i64 = sqlx::query_scalar(query).bind(&id).fetch_one(&stage.pool).await.unwrap();
        held
    };
    stage.receiver.wait_for(1_000, PATIENCE).await;
    victim.kill_9().await;
    let killed = Instant::now();
    let orphans = held().await;
    assert!(orphans > 0, "it died with claims");

    while held().await > 0 {
        assert!(
            killed.elapsed() < LEASE + Duration::from_secs(2),
            "the claims are taken over within the lease"
        );
        sleep(Duration::from_millis(50)).await; // another process gives no signal
    }
    let taken_over = killed.elapsed();
    let published = load.stop().await;

    let tally = stage.finish(&mut other, &published, PATIENCE).await;
    tally.assert_exactly_once_stored(&format!(
        "two gateways, {orphans} claims taken over after {taken_over:?}"
    ));
}
