//! A queue per test on the RabbitMQ named by `LONGSHORE_TEST_AMQP_URL`, and a TCP link to it that can be cut.
#![expect(dead_code, reason = "each test binary uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use longshore_source::{Context, SourceError};
use longshore_source_rabbitmq::{Auth, RabbitMqConfig, RabbitMqSource};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Connects under the name of the queue.
pub(crate) async fn connect(config: RabbitMqConfig) -> Result<RabbitMqSource, SourceError> {
    let context = Context::new("rabbitmq", &config.queue);
    longshore_source_rabbitmq::connect(config, context).await
}

/// The broker's address; a missing one is a failure, not a skip.
pub(crate) fn uri() -> AMQPUri {
    std::env::var("LONGSHORE_TEST_AMQP_URL")
        .expect("LONGSHORE_TEST_AMQP_URL must name a RabbitMQ to test against, e.g. amqp://guest:guest@127.0.0.1:5672")
        .parse()
        .expect("LONGSHORE_TEST_AMQP_URL is not an AMQP URL")
}

/// A name that no other test and no other run uses.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    #[expect(clippy::disallowed_methods, reason = "only names that differ between runs on one broker")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{prefix}-{}-{}", now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Everything a test does to the broker that the source must not do.
pub(crate) struct Broker {
    connection: Connection,
    channel: Channel,
}

impl Broker {
    pub(crate) async fn connect() -> Self {
        let runtime = lapin::runtime::default_runtime().unwrap();
        let connection =
            Connection::connect_uri_with_runtime(uri(), ConnectionProperties::default(), runtime)
                .await
                .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { connection, channel }
    }

    pub(crate) async fn declare(&self, queue: &str, kind: &str) {
        self.declare_with(queue, &[("x-queue-type", AMQPValue::LongString(kind.into()))]).await;
    }

    pub(crate) async fn declare_with(&self, queue: &str, arguments: &[(&str, AMQPValue)]) {
        let table: BTreeMap<_, _> =
            arguments.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, FieldTable::from(table)).await.unwrap();
    }

    pub(crate) async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }

    /// The queue's ready messages, or `None` if there is no such queue.
    pub(crate) async fn ready(&self, queue: &str) -> Option<u32> {
        let channel = self.connection.create_channel().await.unwrap();
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        found.ok().map(|queue| queue.message_count())
    }

    /// Waits until the queue has `count` ready messages: the broker counts a little late.
    pub(crate) async fn settles_at(&self, queue: &str, count: u32) {
        let begun = Instant::now();
        loop {
            let ready = self.ready(queue).await;
            if ready == Some(count) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "`{queue}` has {ready:?} ready, not {count}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The queue's ready messages once nobody consumes it and the count stands still: the broker counts late.
    pub(crate) async fn settled(&self, queue: &str) -> u64 {
        let mut same = (0, None);
        while same.0 < 5 {
            let channel = self.connection.create_channel().await.unwrap();
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
            let now = (found.consumer_count() == 0).then_some(found.message_count());
            same = if now.is_some() && now == same.1 { (same.0 + 1, now) } else { (0, now) };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        same.1.unwrap_or_default().into()
    }

    pub(crate) async fn publish(&self, queue: &str, bodies: impl IntoIterator<Item = String>) {
        let mut confirms = Vec::new();
        for (number, body) in bodies.into_iter().enumerate() {
            let properties = BasicProperties::default().with_message_id(format!("id-{number}").into());
            confirms.push(self.send("", queue, body.as_bytes(), properties).await);
        }
        for confirm in confirms {
            confirm.await.unwrap();
        }
    }

    pub(crate) async fn publish_one(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) {
        self.send(exchange, key, body, properties).await.await.unwrap();
    }

    async fn send(
        &self,
        exchange: &str,
        key: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> lapin::PublisherConfirm {
        let options = BasicPublishOptions::default();
        self.channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap()
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }
}

/// Settings for `queue`, in the v1 contract's fields.
pub(crate) fn config(queue: &str) -> RabbitMqConfig {
    let uri = uri();
    RabbitMqConfig {
        host: Some(uri.authority.host),
        port: Some(uri.authority.port),
        vhost: Some(if uri.vhost.is_empty() { "/".to_owned() } else { uri.vhost }),
        auth: Some(Auth {
            user: uri.authority.userinfo.username,
            password: uri.authority.userinfo.password.as_str().into(),
        }),
        queue: queue.to_owned(),
        ..RabbitMqConfig::default()
    }
}

/// What happened last to the connections that were open then.
#[derive(Clone, Copy)]
enum Fate {
    Cut,
    Frozen,
}

/// A TCP link to the broker that counts what goes through and can be cut.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) port: u16,
    cut: Arc<watch::Sender<Fate>>,
    sent: Arc<AtomicU64>,
    refused: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(watch::Sender::new(Fate::Cut));
        let sent = Arc::new(AtomicU64::new(0));
        let (cuts, count) = (Arc::clone(&cut), Arc::clone(&sent));
        let refused = Arc::new(AtomicBool::new(false));
        let refusing = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let (mut cut, count) = (cuts.subscribe(), Arc::clone(&count));
                tokio::spawn(async move {
                    let uri = uri();
                    let Ok(server) =
                        TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await
                    else {
                        return;
                    };
                    let ((client_in, client_out), (server_in, server_out)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        _ = pump(client_in, server_out, Some(count)) => {}
                        _ = pump(server_in, client_out, None) => {}
                        _ = cut.changed() => {}
                    }
                    while matches!(*cut.borrow_and_update(), Fate::Frozen) && cut.changed().await.is_ok() {}
                });
            }
        });
        Self { port, cut, sent, refused }
    }

    /// Bytes that clients have sent to the broker.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Cuts every connection that is open; new ones are let through.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(Fate::Cut);
    }

    /// Whether new connections are closed at once.
    pub(crate) fn refuse(&self, refused: bool) {
        self.refused.store(refused, Ordering::SeqCst);
    }

    /// Lets nothing through on the connections that are open, and keeps them open.
    pub(crate) fn freeze(&self) {
        self.cut.send_replace(Fate::Frozen);
    }

    pub(crate) fn config(&self, queue: &str) -> RabbitMqConfig {
        RabbitMqConfig { host: Some("127.0.0.1".to_owned()), port: Some(self.port), ..config(queue) }
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: Option<Arc<AtomicU64>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if let Some(count) = &count {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// What every source in this process counts, by name and labels.
#[derive(Clone, Default)]
pub(crate) struct Meters {
    values: Arc<Mutex<HashMap<String, Arc<AtomicU64>>>>,
}

impl Meters {
    pub(crate) fn install() -> Self {
        static INSTALLED: OnceLock<Meters> = OnceLock::new();
        let install = || {
            let meters = Meters::default();
            metrics::set_global_recorder(meters.clone()).expect("nobody else installs a recorder");
            meters
        };
        INSTALLED.get_or_init(install).clone()
    }

    pub(crate) fn read(&self, key: &str) -> u64 {
        self.values.lock().unwrap().get(key).map_or(0, |value| value.load(Ordering::SeqCst))
    }

    pub(crate) fn gauge(&self, source: &str) -> f64 {
        f64::from_bits(self.read(&format!("source_in_flight kind=rabbitmq source={source}")))
    }

    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let key = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::clone(self.values.lock().unwrap().entry(key).or_default())
    }
}

impl metrics::Recorder for Meters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
