//! Declarations of sources that change under load: every field, in the database and in the configuration file.

use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use longshore_testkit::broker::BrokerKind;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::rabbitmq::{QueueKind, Rabbit};
use longshore_testkit::servers::{OwnServers, Server};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::load::{Load, broadcast};
use crate::stage::{PATIENCE, PROJECT, Stage};

/// Within this a changed declaration is in effect.
const PROMISE: Duration = Duration::from_secs(2);
const RATE: u64 = 200;
const POLL: Duration = Duration::from_millis(20);
pub(crate) const EVENTS: &str = "SELECT count(*) FROM events";
pub(crate) const MAPPED: &str = "SELECT count(*) FROM events WHERE event_type = 'mapped'";

/// Waits for the effect of a change made at `since`, which must come within the promise.
pub(crate) async fn takes_effect<F: Future<Output = bool>>(
    what: &str,
    since: Instant,
    mut is_so: impl FnMut() -> F,
) {
    while !is_so().await {
        assert!(since.elapsed() < PATIENCE, "{what}: no effect");
        sleep(POLL).await; // neither a broker nor a database gives a signal
    }
    let took = since.elapsed();
    eprintln!("{what}: in effect after {took:?}");
    assert!(took < PROMISE, "{what}: in effect after {took:?} only");
}

/// How many consumers the broker counts.
async fn consumers(rabbit: &Rabbit, queue: &str) -> u32 {
    let channel = rabbit.connection().create_channel().await.unwrap();
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap().consumer_count()
}

/// How often a consumer has begun.
pub(crate) fn begun(gateway: &Gateway) -> usize {
    gateway.log().matches("\"message\":\"consuming\"").count()
}

pub(crate) fn receiver(stage: &Stage) -> String {
    let url = stage.receiver.url("/hook");
    format!(
        "projects:\n  - name: shop\n    id: {PROJECT}\n    endpoints: [{{name: e, url: '{url}', secret: s-one}}]\n    \
         subscriptions: [{{name: s, endpoint: e}}]\n"
    )
}

/// Applies the receiver and one source; `keys` are the source's in YAML.
async fn apply(stage: &Stage, queue: &str, keys: &str) -> Instant {
    let url = stage.queue.settings()["urls"][0].as_str().unwrap().to_owned();
    let source = format!(
        "    sources:\n      - {{name: q, kind: rabbitmq, rabbitmq: {{urls: ['{url}'], queue: {queue}}}{keys}}}\n"
    );
    stage.apply_text(&(receiver(stage) + &source)).await;
    Instant::now()
}

pub(crate) const MAPPING: &str = ", mapping: {event_type: 'const:mapped', data: 'body:data'}";

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_stored_source_is_in_effect_within_two_seconds() {
    let stage = Stage::new(BrokerKind::Quorum).await;
    let (queue, rabbit) = (stage.queue.name(), Rabbit::connect().await);
    apply(&stage, queue, "").await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, RATE, broadcast);
    stage.receiver.wait_for(50, PATIENCE).await;

    let at = apply(&stage, queue, ", workers: 3").await;
    takes_effect("apply, workers 1 to 3", at, || async { consumers(&rabbit, queue).await == 3 }).await;
    assert_eq!(begun(&gateway), 3, "the first consumer goes on");
    let at = apply(&stage, queue, ", workers: 2").await;
    takes_effect("apply, workers 3 to 2", at, || async { consumers(&rabbit, queue).await == 2 }).await;
    assert_eq!(begun(&gateway), 3, "the other consumers go on");

    let at = apply(&stage, queue, &format!(", workers: 2{MAPPING}")).await;
    takes_effect("apply, mapping", at, || async { stage.count(MAPPED).await > 0 }).await;
    assert_eq!(begun(&gateway), 3, "a mapping needs no new connection");

    let at = apply(&stage, queue, ", disabled: true").await;
    takes_effect("apply, disabled", at, || async { consumers(&rabbit, queue).await == 0 }).await;
    let stored = stage.count(EVENTS).await;
    let at = apply(&stage, queue, "").await;
    takes_effect("apply, enabled", at, || async { stage.count(EVENTS).await > stored }).await;

    let published = load.stop().await;
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    tally.assert_exactly_once_stored("a stored source that changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_moves_to_another_queue_within_two_seconds() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    let rabbit = Rabbit::connect().await;
    let next = rabbit.queue(QueueKind::Classic).await;
    apply(&stage, stage.queue.name(), "").await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, RATE, broadcast);
    stage.receiver.wait_for(50, PATIENCE).await;

    let at = apply(&stage, next.name(), "").await;
    takes_effect("apply, queue", at, || async { consumers(&rabbit, next.name()).await == 1 }).await;
    assert_eq!(consumers(&rabbit, stage.queue.name()).await, 0, "the old queue is left");
    let published = load.stop().await;
    // What came after the move is still there, for the way back.
    apply(&stage, stage.queue.name(), "").await;

    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    tally.assert_exactly_once_stored("a source that moves to another queue");
}

/// A configuration file with one source whose password is in a file beside it.
struct Mounted {
    dir: TempDir,
    amqp_url: String,
    queue: String,
}

impl Mounted {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file as a deployment does: a reader sees the old one or the new one.
    fn write(&self, name: &str, text: &str) -> Instant {
        fs::write(self.path("next"), text).unwrap();
        fs::rename(self.path("next"), self.path(name)).unwrap();
        Instant::now()
    }

    /// Declares the source; `keys` are its own in TOML.
    fn declare(&self, keys: &str) -> Instant {
        let place = self.amqp_url.rsplit('@').next().unwrap().split('/').next().unwrap();
        let (host, port) = place.split_once(':').unwrap();
        let (queue, password) = (&self.queue, self.path("password"));
        let text = format!(
            "[[sources]]\nname = 'q'\nproject = 'shop'\nkind = 'amqp'\n{keys}\n[sources.amqp]\nhost = '{host}'\nport = \
             {port}\nqueue = '{queue}'\nauth = {{ user = 'app', password_file = '{}' }}\n",
            password.display()
        );
        self.write("longshore.toml", &text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_configuration_file_is_in_effect_within_two_seconds() {
    let own = OwnServers::start(&[Server::RabbitMq]).await;
    own.rabbitmqctl(&["add_user", "app", "one"]).await;
    own.rabbitmqctl(&["set_permissions", "app", ".*", ".*", ".*"]).await;
    let stage = Stage::own(None, Some(own.amqp_url()), BrokerKind::Quorum).await;
    let (queue, rabbit) = (stage.queue.name(), Rabbit::connect_to(own.amqp_url()).await);
    let (amqp_url, dir) = (own.amqp_url().to_owned(), TempDir::new().unwrap());
    let file = Mounted { dir, amqp_url, queue: queue.to_owned() };
    file.write("password", "one\n");
    file.declare("");
    stage.apply_text(&receiver(&stage)).await;
    let mut gateway =
        stage.setup().env("LONGSHORE_CONFIG", file.path("longshore.toml").to_str().unwrap()).start().await;
    let load = Load::start(&stage.queue, RATE, broadcast);
    stage.receiver.wait_for(50, PATIENCE).await;

    let at = file.declare("workers = 2");
    takes_effect("file, workers 1 to 2", at, || async { consumers(&rabbit, queue).await == 2 }).await;
    assert_eq!(begun(&gateway), 2, "the first consumer goes on");
    let at = file.declare("mapping = { event_type = 'const:mapped', data = 'body:data' }");
    takes_effect("file, mapping", at, || async { stage.count(MAPPED).await > 0 }).await;

    // A password that was changed, with the connections it opened closed: nothing flows until the file follows.
    own.rabbitmqctl(&["change_password", "app", "two"]).await;
    own.rabbitmqctl(&["close_all_user_connections", "app", "the password was changed"]).await;
    let refused =
        "SELECT count(*) FROM source_status WHERE state = 'failing' AND problem LIKE '%ACCESS_REFUSED%'";
    stage.count_reaches(refused, 1).await;
    let stored = stage.count(EVENTS).await;
    let at = file.write("password", "two\n");
    takes_effect("file, password", at, || async { stage.count(EVENTS).await > stored }).await;

    // What is broken is told of, and changes nothing.
    let before = begun(&gateway);
    file.write("longshore.toml", "[[sources]]\nname = ");
    while !gateway.log().contains("is not taken up") {
        sleep(POLL).await; // the log gives no signal
    }
    assert_eq!((begun(&gateway), consumers(&rabbit, queue).await), (before, 1));
    let at = file.declare("disabled = true");
    takes_effect("file, disabled", at, || async { consumers(&rabbit, queue).await == 0 }).await;
    let stored = stage.count(EVENTS).await;
    let at = file.declare("");
    takes_effect("file, enabled", at, || async { stage.count(EVENTS).await > stored }).await;

    let published = load.stop().await;
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    tally.assert_exactly_once_stored("a source of the configuration file that changes");
}
