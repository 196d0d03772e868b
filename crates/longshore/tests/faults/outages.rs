//! Servers that go away under load and come back.

use std::time::Duration;

use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::rabbitmq::QueueKind;
use longshore_testkit::servers::{OwnServers, Server, Stop};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http::Producer;
use crate::load::{Load, broadcast};
use crate::stage::{Endpoint, PATIENCE, Stage, metric};

/// How long Postgres is away.
const OUTAGE: Duration = Duration::from_secs(30);
/// How much the resident memory may grow meanwhile.
const GROWTH_KIB: u64 = 20 * 1024;
/// The source's default: messages that a consumer holds at most.
const PREFETCH: u64 = 1_000;
const CONSUMERS: u64 = 2;

/// What the broker has been told is done with, of a queue whose consumers hold all they may.
async fn acknowledged(stage: &Stage, load: &Load) -> u64 {
    let published = load.hold().await;
    assert!(published.unsure.is_empty(), "the broker was there all the time");
    let out = published.confirmed.len() as u64 - u64::from(stage.queue.depth().await);
    out.checked_sub(PREFETCH * CONSUMERS).unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn thirty_seconds_without_postgres_acknowledge_and_drop_nothing() {
    let own = OwnServers::start(&[Server::Postgres]).await;
    // A quorum queue counts deliveries: a message that was given back would say so.
    let stage = Stage::own(Some(own.database_url()), None, QueueKind::Quorum).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(stage.rabbit.url(), stage.queue.name(), 300, broadcast);
    stage.receiver.wait_for(600, PATIENCE).await;

    own.stop(Server::Postgres, Stop::Immediate).await;
    let back = Instant::now() + OUTAGE;
    let refused = refused(&gateway, back);
    stage.queue_grows().await; // from now on the consumers hold all they may
    let (acknowledged_before, before) = (acknowledged(&stage, &load).await, gateway.usage().rss_kib);
    let mut most = before;
    while Instant::now() < back {
        assert_eq!(acknowledged(&stage, &load).await, acknowledged_before, "nothing is acknowledged");
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

    // What was refused by HTTP is not stored either, so nothing is foreign.
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    tally.assert_exactly_once_stored(&format!(
        "Postgres away for {OUTAGE:?}: resident {before} KiB before, {most} KiB at most, resumed after \
         {resumed:?}, refused by HTTP after {waited:?}"
    ));
    assert_eq!(tally.repeated, 0, "outcomes are held, not repeated");
    assert!(most <= before + GROWTH_KIB, "memory grew from {before} to {most} KiB");
    assert!(waited.len() >= 2 && waited.iter().all(|waited| *waited < Duration::from_secs(11)), "{waited:?}");
    let given_back = "SELECT count(*) FROM events WHERE headers::text ILIKE '%x-delivery-count%'";
    assert_eq!(stage.count(given_back).await, 0, "no message was given back");
    assert!(resumed < Duration::from_secs(10), "resumed after {resumed:?}");
    stage.queue.clone().delete().await;
    stage.pool.close().await;
}

/// As an operator does it, and as a loss of power does; both times with events that are committed and not yet
/// acknowledged, so that the broker delivers them again.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_rabbitmq_lose_and_double_nothing() {
    for how in [Stop::Fast, Stop::Immediate] {
        let own = OwnServers::start(&[Server::RabbitMq]).await;
        let mut stage = Stage::own(None, Some(own.amqp_url()), QueueKind::Classic).await;
        let proxy = ChaosProxy::start(ChaosProxy::authority(stage.rabbit.url())).await;
        let endpoint = Endpoint::at(stage.receiver.url("/hook"));
        stage.apply(&[endpoint], &proxy.url(stage.rabbit.url())).await;
        let mut gateway = stage.setup().start().await;
        let load = Load::start(stage.rabbit.url(), stage.queue.name(), 300, broadcast);
        // Some seconds: a broker that is killed at once forgets even that the queue was declared.
        stage.receiver.wait_for(1_500, PATIENCE).await;

        proxy.stall_upstream(); // messages come in, acknowledgements do not go out
        let stored = stage.count("SELECT count(*) FROM events").await;
        stage.count_reaches("SELECT count(*) FROM events", stored + 150).await;
        own.stop(Server::RabbitMq, how).await;
        proxy.cut(); // with what was held back
        proxy.restore();
        own.start_again(Server::RabbitMq).await;
        let (started, before) = (Instant::now(), stage.receiver.count());
        stage.receiver.wait_for(before + 300, PATIENCE).await;
        let resumed = started.elapsed();
        let published = load.stop().await;
        stage.reconnect().await;
        stage.settle(published.confirmed.len(), PATIENCE).await;

        let again = metric(&gateway, "ingest_messages_redelivered_total").await;
        let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
        tally.assert_exactly_once_stored(&format!(
            "RabbitMQ restarted, {how:?}: resumed after {resumed:?}, {again} messages delivered again"
        ));
        assert!(again >= 100.0, "{again} messages were delivered again");
        assert_eq!(tally.repeated, 0, "what was stored is recognised");
        assert!(resumed < Duration::from_secs(10), "resumed after {resumed:?}");
    }
}

impl Stage {
    /// Waits until messages pile up: the consumers hold all they may.
    async fn queue_grows(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.queue.depth().await < 10 {
            assert!(Instant::now() < deadline, "the gateway goes on taking messages");
            sleep(Duration::from_millis(50)).await; // a broker gives no signal
        }
    }
}
