//! A database with its schema, a queue, a receiver, and how to start gateways between them.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use longshore_testkit::broker::{BrokerKind, Queue};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::database::{TestDatabase, fresh_database};
use longshore_testkit::gateway::{Gateway, Setup};
use longshore_testkit::receiver::Receiver;
use serde_json::Value;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::time::{Instant, sleep};

/// The one project.
pub(crate) const PROJECT: &str = "01JD0000000000000000000SHP";
/// Its API key.
pub(crate) const API_KEY: &str =
    "CO.0123456789abcdef.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// How long claims outlive a process; the program's default, said here because assertions count on it.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
/// How long anything that must come may take, unless a test says otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const MASTER_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// How often a database or a broker is asked; neither gives a signal.
const POLL: Duration = Duration::from_millis(20);

/// An endpoint with a subscription to everything.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// Further keys of the endpoint in YAML, each after a comma.
    pub(crate) keys: &'static str,
    /// Further keys of the subscription.
    pub(crate) subscription: &'static str,
}

impl Endpoint {
    pub(crate) fn at(url: String) -> Self {
        Self { url, keys: "", subscription: "" }
    }
}

/// The id of the endpoint at that place of the list.
pub(crate) fn endpoint_id(index: usize) -> String {
    format!("01JD0000000000000000000{index:03}")
}

/// Where a test plays.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) pool: PgPool,
    pub(crate) queue: Arc<Queue>,
    pub(crate) receiver: Receiver,
    setup: Setup,
    /// Dropped last.
    _database: Option<TestDatabase>,
}

impl Stage {
    /// On the servers that the environment names.
    pub(crate) async fn new(kind: BrokerKind) -> Self {
        Self::own(None, None, kind).await
    }

    /// On servers of one's own, where they are given.
    pub(crate) async fn own(database_url: Option<&str>, server: Option<&str>, kind: BrokerKind) -> Self {
        let queue = match server {
            Some(server) => Queue::create_at(kind, server).await,
            None => Queue::create(kind).await,
        };
        match database_url {
            Some(url) => Self::on(None, url, queue).await,
            None => {
                let database = fresh_database().await;
                let url = database.url();
                Self::on(Some(database), &url, queue).await
            }
        }
    }

    async fn on(database: Option<TestDatabase>, url: &str, queue: Queue) -> Self {
        // Another build, e.g. the optimised one, to see what of a figure is the debug build's.
        let binary =
            std::env::var_os("LONGSHORE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_longshore").into());
        let setup = Setup::new(binary)
            .env("LONGSHORE__DATABASE__URL", url)
            .env("LONGSHORE__DATABASE__LEASE", format!("{}s", LEASE.as_secs()))
            .env("LONGSHORE__SECURITY__MASTER_KEY", MASTER_KEY)
            .env("LONGSHORE__SECURITY__ALLOW_HTTP_ENDPOINTS", "true")
            .env("LONGSHORE__SECURITY__ALLOWED_NETWORKS", "127.0.0.0/8");
        setup.run_ok(["migrate", "up"]).await;
        let pool = PgPoolOptions::new().max_connections(3).connect(url).await.unwrap();
        Self { pool, queue: Arc::new(queue), receiver: Receiver::start().await, setup, _database: database }
    }

    /// How to start a gateway here.
    pub(crate) fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// Applies one endpoint, the receiver's `/hook`, and the queue as the source.
    pub(crate) async fn subscribe(&self) {
        self.subscribe_with(&self.settings()).await;
    }

    /// As [`Self::subscribe`], with these settings of the source.
    pub(crate) async fn subscribe_with(&self, settings: &Value) {
        self.apply(&[Endpoint::at(self.receiver.url("/hook"))], settings).await;
    }

    /// As [`Self::subscribe`], with a proxy between the gateway and its broker.
    pub(crate) async fn subscribe_through_proxy(&self) -> ChaosProxy {
        let proxy = ChaosProxy::start(self.queue.authority()).await;
        self.subscribe_with(&self.queue.through(&proxy, self.settings())).await;
        proxy
    }

    /// As [`Self::subscribe`], with a mapping of the source, in YAML.
    pub(crate) async fn subscribe_mapped(&self, mapping: &str) {
        let endpoints = [Endpoint::at(self.receiver.url("/hook"))];
        let keys = format!(", mapping: {mapping}");
        self.apply_text(&format!(
            "projects:\n{}",
            project(0, &endpoints, &self.queue, &self.settings(), &keys)
        ))
        .await;
    }

    /// Applies these endpoints, and the queue as the source with these settings.
    pub(crate) async fn apply(&self, endpoints: &[Endpoint], settings: &Value) {
        self.apply_text(&format!("projects:\n{}", project(0, endpoints, &self.queue, settings, ""))).await;
    }

    /// Applies resources.
    pub(crate) async fn apply_text(&self, resources: &str) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(resources.as_bytes()).unwrap();
        self.setup.run_ok(["apply", "-f", file.path().to_str().unwrap()]).await;
    }

    /// Runs a query that gives one number.
    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    /// Waits until a query gives at least that number.
    pub(crate) async fn count_reaches(&self, sql: &'static str, wanted: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count = self.count(sql).await;
            if count >= wanted {
                return;
            }
            assert!(Instant::now() < deadline, "`{sql}` gives {count}, waiting for {wanted}");
            sleep(POLL).await;
        }
    }

    /// Waits until that many messages are left at the broker.
    pub(crate) async fn depth_is(&self, wanted: u64) {
        self.depth_becomes(&format!("{wanted}"), |depth| depth == wanted).await;
    }

    /// Waits until at least that many messages are left at the broker.
    pub(crate) async fn depth_reaches(&self, wanted: u64) {
        self.depth_becomes(&format!("{wanted} or more"), |depth| depth >= wanted).await;
    }

    async fn depth_becomes(&self, wanted: &str, is_so: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let depth = self.queue.left().await;
            if is_so(depth) {
                return;
            }
            assert!(Instant::now() < deadline, "{depth} messages are left, waiting for {wanted}");
            sleep(POLL).await;
        }
    }
}

/// A project as a resource, with these endpoints and a queue as its source, of which `keys` are further keys in YAML,
/// each after a comma. The first, 0, is [`PROJECT`] with
/// [`API_KEY`]; the endpoints' ids begin at a hundred for each further one.
pub(crate) fn project(
    number: usize,
    endpoints: &[Endpoint],
    queue: &Queue,
    settings: &Value,
    keys: &str,
) -> String {
    let (id, api_keys) = match number {
        0 => (PROJECT.to_owned(), format!("[{{name: k, key: {API_KEY}}}]")),
        _ => (format!("01JD000000000000000000SH{number:02}"), "[]".to_owned()),
    };
    let list = |line: &dyn Fn(usize, &Endpoint) -> String| {
        endpoints.iter().enumerate().map(|(index, endpoint)| line(index, endpoint)).collect::<String>()
    };
    let declared = list(&|index, endpoint| {
        let (id, Endpoint { url, keys, .. }) = (endpoint_id(100 * number + index), endpoint);
        format!("      - {{name: e{index}, id: {id}, url: '{url}', secret: s-one{keys}}}\n")
    });
    let subscriptions = list(&|index, endpoint| {
        format!("      - {{name: s{index}, endpoint: e{index}{}}}\n", endpoint.subscription)
    });
    let kind = queue.kind().as_str();
    // Scenarios of their own open breakers; elsewhere what is down is tried at its scheduled times.
    let calm = "{circuit_breaker: {enabled: false}}";
    format!(
        "  - name: shop{number}\n    id: {id}\n    settings: {calm}\n    api_keys: {api_keys}\n    \
         endpoints:\n{declared}    subscriptions:\n{subscriptions}    sources:\n      \
         - {{name: q, kind: {kind}, workers: 2, {kind}: {settings}{keys}}}\n"
    )
}

/// One value of a gateway's metrics: the sum over the lines that begin with `name`.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (_, text) = gateway.get("/metrics").await.unwrap();
    let values = text.lines().filter(|line| line.starts_with(name));
    values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
}
