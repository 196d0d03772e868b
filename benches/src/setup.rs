//! A fresh database, queue, sink and gateway for each scenario.
//!
//! The servers are named by the environment (`scripts/servers env`). The gateway is `$LONGSHORE_BIN`, or the binary
//! beside the harness. Settings in the environment (`LONGSHORE__…`) reach it.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use longshore_testkit::broker::{BrokerKind, Queue};
use longshore_testkit::database::{self, TestDatabase, fresh_database};
use longshore_testkit::gateway::{Gateway, Setup};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::publisher::Publisher;
use crate::report;
use crate::sink::Sink;
use crate::usage::Cpu;

/// The project of every scenario.
pub const PROJECT: &str = "01JD0000000000000000000PR0";
/// Its API key.
pub const API_KEY: &str =
    "CO.0123456789abcdef.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// How long what was delivered may take to be recorded.
const SETTLE: Duration = Duration::from_millis(500);

/// Everything around a gateway that was not started yet.
#[derive(Debug)]
pub struct Rig {
    /// Where the webhooks go.
    pub sink: Sink,
    /// Who publishes.
    pub publisher: Publisher,
    gateway: Setup,
    database: TestDatabase,
    queue: Arc<Queue>,
}

impl Rig {
    /// With one endpoint for each path of the sink, each with a subscription to everything.
    ///
    /// # Errors
    /// When something cannot be made ready.
    pub async fn new(kind: BrokerKind, paths: &[&str]) -> anyhow::Result<Self> {
        let sink = Sink::start().await?;
        let database = fresh_database().await;
        let queue = Arc::new(Queue::create(kind).await);
        let publisher = Publisher::new(Arc::clone(&queue));
        let gateway = std::env::vars()
            .filter(|(name, _)| name.starts_with("LONGSHORE__"))
            .fold(Setup::new(binary()?), |setup, (name, value)| setup.env(&name, value))
            .env("LONGSHORE__DATABASE__URL", database.url())
            .env("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY)
            .env("LONGSHORE__SECURITY__ALLOW_HTTP_ENDPOINTS", "true")
            .env("LONGSHORE__SECURITY__ALLOWED_NETWORKS", "127.0.0.0/8");
        gateway.run_ok(["migrate", "up"]).await;
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(resources(&sink, paths, &queue)?.as_bytes())?;
        gateway.run_ok([OsStr::new("apply"), OsStr::new("-f"), file.path().as_os_str()]).await;
        Ok(Self { sink, publisher, gateway, database, queue })
    }

    /// Starts a gateway and waits until it is ready.
    pub async fn start(&self) -> Gateway {
        self.gateway.clone().start().await
    }

    /// Events in the database.
    pub async fn stored(&self) -> i64 {
        database::count(&self.database, "SELECT count(*) FROM events").await
    }

    /// Connections to the database, for rows of the scenario's own.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn pool(&self) -> anyhow::Result<PgPool> {
        PgPool::connect_with(self.database.options()).await.context("cannot connect to Postgres")
    }

    /// Messages that the broker still wants to be done with.
    pub async fn left(&self) -> u64 {
        self.queue.left().await
    }

    /// Events per second that a client without a gateway takes and acknowledges, of those that were published: the
    /// most that this broker allows.
    pub async fn drained_per_s(&self, count: u32) -> f64 {
        report::rate(count as usize, self.queue.drain(count.into()).await)
    }

    /// CPU time so far of everything that takes part.
    #[must_use]
    pub fn cpu(&self, gateway: Option<&Gateway>) -> Cpu {
        Cpu::now(gateway.and_then(Gateway::pid), self.queue.kind())
    }

    /// Gives the last outcomes time to be recorded.
    pub async fn settle(&self) {
        tokio::time::sleep(SETTLE).await;
    }

    /// Removes what outlives the process.
    pub async fn close(self) {
        self.queue.remove().await;
    }
}

/// The id of the endpoint of the path at that position.
#[must_use]
pub fn endpoint(position: usize) -> String {
    format!("01JD0000000000000000{position:06}")
}

fn resources(sink: &Sink, paths: &[&str], queue: &Queue) -> anyhow::Result<String> {
    let (kind, settings) = (queue.kind().as_str(), queue.settings());
    let mut text = format!(
        "projects:\n- name: bench\n  id: {PROJECT}\n  api_keys: [{{name: load, key: {API_KEY}}}]\n  \
         sources:\n  - {{name: queue, kind: {kind}, {kind}: {settings}}}\n"
    );
    text.push_str("  endpoints:\n");
    for (position, path) in paths.iter().enumerate() {
        let (id, url) = (endpoint(position), sink.url(path));
        writeln!(text, "  - {{name: e{position}, id: {id}, url: '{url}', secret: bench-secret}}")?;
    }
    text.push_str("  subscriptions:\n");
    for position in 0..paths.len() {
        writeln!(text, "  - {{name: s{position}, endpoint: e{position}}}")?;
    }
    Ok(text)
}

fn binary() -> anyhow::Result<PathBuf> {
    if let Some(binary) = std::env::var_os("LONGSHORE_BIN") {
        return Ok(binary.into());
    }
    let beside = std::env::current_exe()?.with_file_name("longshore");
    anyhow::ensure!(
        beside.exists(),
        "`{}` is missing: build it, or name one with LONGSHORE_BIN",
        beside.display()
    );
    Ok(beside)
}

/// What the figures depend on besides the gateway.
///
/// # Errors
/// When this machine does not say.
pub async fn surroundings(kind: BrokerKind) -> anyhow::Result<Value> {
    let database = fresh_database().await;
    let setting = async |name: &str| {
        let sql = format!("SELECT (current_setting('{name}') = 'on')::int::bigint");
        database::count(&database, &sql).await == 1
    };
    let cores = std::thread::available_parallelism().context("the number of cores is not known")?;
    Ok(json!({
        "cores": cores,
        "load_average": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "postgres": database::count(&database, "SELECT current_setting('server_version_num')::bigint").await,
        "fsync": setting("fsync").await,
        "synchronous_commit": setting("synchronous_commit").await,
        "full_page_writes": setting("full_page_writes").await,
        "queue": described(kind),
        "event_bytes": 1024,
    }))
}

/// What a message waits in.
const fn described(kind: BrokerKind) -> &'static str {
    match kind {
        BrokerKind::RabbitMq => "RabbitMQ: durable classic queue, persistent messages, publisher confirms",
        BrokerKind::Quorum => "RabbitMQ: quorum queue, publisher confirms",
        BrokerKind::Kafka => "Apache Kafka: one node, acks=all",
        BrokerKind::Sqs => "ElasticMQ, a server with the protocol of SQS",
        BrokerKind::PubSub => "pstest, Google's server for tests of Pub/Sub, in memory",
    }
}
