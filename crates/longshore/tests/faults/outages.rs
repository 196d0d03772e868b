//! Servers that go away under load and come back.

use std::ops::RangeInclusive;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::servers::{OwnServers, Server, Stop};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::brokers::{on, rate};
use crate::http::Producer;
use crate::lengths;
use crate::load::{Load, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage, metric};

/// How much the resident memory may grow meanwhile.
const GROWTH_KIB: u64 = 20 * 1024;
/// RabbitMQ's default: messages that a consumer holds at most.
const PREFETCH: u64 = 1_000;
const CONSUMERS: u64 = 2;
/// After this the SQS server has written what it confirmed; what is that young is still in the queue.
const SQS_WRITES: Duration = Duration::from_millis(500);

// A quorum queue counts deliveries: a message that was given back would say so.
on!(postgres_away_acknowledges_and_drops_nothing: quorum, kafka, sqs, pubsub);
on!(restarts_of_the_broker_lose_and_double_nothing: rabbitmq, kafka, sqs, pubsub);

/// How many messages the broker has been told are done with, of a queue whose consumers hold all they may: exactly,
/// unless it kept the publisher waiting in vain, which a test server under load does. What then has no answer is in
/// the queue or not.
async fn acknowledged(stage: &Stage, load: &Load) -> RangeInclusive<u64> {
    let published = load.hold().await;
    let mut out = published.confirmed.len() as u64;
    // RabbitMQ does not count what consumers hold.
    if matches!(stage.queue.kind(), BrokerKind::RabbitMq | BrokerKind::Quorum) {
        out = out.checked_sub(PREFETCH * CONSUMERS).unwrap();
    }
    let left = stage.queue.left().await;
    out.saturating_sub(left)..=(out + published.unsure.len() as u64).checked_sub(left).unwrap()
}

/// Posts events, one after the other, for as long as the outage lasts; each must be told to come again.
fn refused(gateway: &Gateway, until: Instant) -> JoinHandle<Vec<Duration>> {
    let addr = gateway.addr();
    tokio::spawn(async move {
        let mut waited = Vec::new();
        for number in 1_000_000.. {
            let asked = Instant::now();
            if asked + Duration::from_secs(12) > until {
                break;
            }
            let answer = Producer::connect(addr).await.unwrap().post(number).await.unwrap();
            assert_eq!(answer.status, 503, "{}", answer.head);
            assert!(answer.head.contains("\nretry-after: "), "{}", answer.head);
            waited.push(asked.elapsed());
        }
        waited
    })
}

async fn postgres_away_acknowledges_and_drops_nothing(kind: BrokerKind) {
    let outage = lengths::postgres_away(kind);
    let own = OwnServers::start(&[Server::Postgres]).await;
    let stage = Stage::own(Some(own.database_url()), None, kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    stage.receiver.wait_for(2 * rate(kind) as usize, PATIENCE).await;
    if kind == BrokerKind::Kafka {
        // The second member of the group takes its partitions over from the first: what that had read comes again, and
        // that is not what this is about.
        stage.count_reaches("SELECT count(*) FROM source_status WHERE received > 0", 2).await;
    }

    own.stop(Server::Postgres, Stop::Immediate).await;
    let back = Instant::now() + outage;
    let refused = refused(&gateway, back);
    stage.queue_grows().await; // from now on the consumers hold all they may
    if kind == BrokerKind::Kafka {
        sleep(Duration::from_secs(3)).await; // what was stored before is committed once a second
    }
    let (acknowledged_before, before) = (acknowledged(&stage, &load).await, gateway.usage().rss_kib);
    let mut most = before;
    while Instant::now() < back {
        let acknowledged = acknowledged(&stage, &load).await;
        assert!(
            acknowledged.start() <= acknowledged_before.end()
                && acknowledged_before.start() <= acknowledged.end(),
            "something is acknowledged: {acknowledged_before:?} before, {acknowledged:?} now"
        );
        most = most.max(gateway.usage().rss_kib);
        sleep_until(back.min(Instant::now() + Duration::from_secs(1))).await;
    }
    let waited = refused.await.unwrap();
    let delivered_before = stage.receiver.count();
    own.start_again(Server::Postgres).await;
    let started = Instant::now();
    stage.receiver.wait_for(delivered_before + 100, PATIENCE).await;
    let resumed = started.elapsed();
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), lengths::catching_up()).await;

    let given_back = metric(&gateway, "ingest_messages_redelivered_total").await;
    // What was refused by HTTP is not stored either, so nothing is foreign.
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let note = format!(
        "away {} s; resident {} MiB before, {} MiB at most; at work again after {resumed:.1?}",
        outage.as_secs(),
        before / 1024,
        most / 1024
    );
    let verdict = tally.pass(&stage, record::POSTGRES_AWAY, note);
    assert_eq!(tally.repeated, 0, "outcomes are held, not repeated");
    assert!(most <= before + GROWTH_KIB, "memory grew from {before} to {most} KiB");
    let few = if outage < Duration::from_secs(30) { 1 } else { 2 };
    assert!(
        waited.len() >= few && waited.iter().all(|waited| *waited < Duration::from_secs(11)),
        "{waited:?}"
    );
    assert_eq!(given_back, 0.0, "no message was given back");
    let given_back = "SELECT count(*) FROM events WHERE headers::text ILIKE '%x-delivery-count%'";
    assert_eq!(stage.count(given_back).await, 0, "no message was given back");
    assert!(resumed < Duration::from_secs(10), "resumed after {resumed:?}");
    stage.queue.remove().await;
    stage.pool.close().await;
    verdict.append();
}

/// As an operator does it, and as a loss of power does, in turn; each time with events that are committed and not yet
/// acknowledged, so that the broker delivers them again.
async fn restarts_of_the_broker_lose_and_double_nothing(kind: BrokerKind) {
    let own = OwnServers::start(&[kind.server()]).await;
    let stage = Stage::own(None, Some(own.address(kind)), kind).await;
    let held = stage.subscribe_held().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    // Some seconds: a RabbitMQ that is killed at once forgets even that the queue was declared.
    stage.receiver.wait_for(5 * rate(kind) as usize, PATIENCE).await;
    let (restarts, mut longest, mut again) = (lengths::broker_restarts(), Duration::ZERO, 0.0);
    for number in 0..restarts {
        // Over HTTP nothing comes in while nothing goes out.
        if kind != BrokerKind::Sqs {
            held.hold();
            let stored = stage.count("SELECT count(*) FROM events").await;
            stage.count_reaches("SELECT count(*) FROM events", stored + rate(kind) as i64 / 2).await;
        }
        if kind == BrokerKind::PubSub {
            held.release(); // its test server keeps nothing over a restart: only the connections are cut
        } else {
            // What the SQS server has just confirmed it has not always written yet, so nobody publishes at that moment.
            let quiet = if kind == BrokerKind::Sqs { Some(load.hold().await) } else { None };
            if quiet.is_some() {
                sleep(SQS_WRITES).await; // it gives no signal
            }
            own.stop(kind.server(), if number % 2 == 0 { Stop::Fast } else { Stop::Immediate }).await;
            held.release();
            own.start_again(kind.server()).await;
        }
        let (started, before) = (Instant::now(), stage.receiver.count());
        stage.receiver.wait_for(before + rate(kind) as usize, PATIENCE).await;
        longest = longest.max(started.elapsed());
        let known = metric(&gateway, "ingest_messages_redelivered_total").await;
        // A Kafka consumer that outlives its broker goes on where it was, whatever it has committed; on Pub/Sub a
        // message comes again when its lease has ended, which may be after this look.
        let comes_at_once = matches!(kind, BrokerKind::RabbitMq | BrokerKind::Quorum);
        assert!(
            !comes_at_once || known - again >= rate(kind) as f64 / 3.0,
            "{} were delivered again",
            known - again
        );
        again = known;
    }
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), PATIENCE).await;

    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let what = match kind {
        BrokerKind::PubSub => "cuts of every connection, since pstest keeps nothing over a restart",
        _ => "restarts, every other one as a loss of power",
    };
    let note = format!(
        "{restarts} {what}; at work again after {longest:.1?} at the longest; \
         {again} delivered again and recognised"
    );
    let verdict = tally.pass(&stage, record::RESTARTS, note);
    assert_eq!(tally.repeated, 0, "what was stored is recognised");
    assert!(longest < Duration::from_secs(10), "resumed after {longest:?}");
    verdict.append();
}

impl Stage {
    /// Waits until messages pile up: the consumers hold all they may.
    async fn queue_grows(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.queue.left().await < 10 {
            assert!(Instant::now() < deadline, "the gateway goes on taking messages");
            sleep(Duration::from_millis(50)).await; // a broker gives no signal
        }
    }
}
