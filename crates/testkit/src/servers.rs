//! Servers of its own for a test that stops and restarts them, through `scripts/servers`.
//!
//! Slow (RabbitMQ takes some seconds to start), so only for tests of outages. Never touches the servers that
//! the environment names.

use std::path::PathBuf;
use std::process::{Command as BlockingCommand, Output, Stdio};

use tokio::process::Command;

use crate::broker::BrokerKind;

/// A server the script knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Postgres.
    Postgres,
    /// RabbitMQ.
    RabbitMq,
    /// Apache Kafka.
    Kafka,
    /// A server that speaks the protocol of Amazon SQS.
    Sqs,
    /// A server that speaks the protocol of Google Pub/Sub.
    PubSub,
}

impl Server {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::RabbitMq => "rabbitmq",
            Self::Kafka => "kafka",
            Self::Sqs => "sqs",
            Self::PubSub => "pubsub",
        }
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As an operator does: clients are told, what is durable is written.
    Fast,
    /// As a loss of power does.
    Immediate,
}

impl Stop {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// Private servers; stopped and removed with the value.
#[derive(Debug)]
pub struct OwnServers {
    dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl OwnServers {
    /// Starts them, durable as in production.
    ///
    /// # Panics
    /// When one does not start; the script's own words are in the message.
    pub async fn start(servers: &[Server]) -> Self {
        let dir = script(&["dir", "test-outage"]).await;
        let mut own = Self { dir: PathBuf::from(dir.trim()), environment: Vec::new() };
        let wanted: Vec<&str> = servers.iter().map(|server| server.as_str()).collect();
        own.run("up", &wanted).await;
        own.environment = own.run("env", &[]).await.lines().filter_map(exported).collect();
        own
    }

    /// The URL for `DATABASE_URL`: an empty database.
    ///
    /// # Panics
    /// When Postgres was not started.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.variable("DATABASE_URL")
    }

    /// The URL for `LONGSHORE_TEST_AMQP_URL`.
    ///
    /// # Panics
    /// When RabbitMQ was not started.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        self.variable("LONGSHORE_TEST_AMQP_URL")
    }

    /// The address of a broker, in the form of [`BrokerKind::variable`].
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn address(&self, kind: BrokerKind) -> &str {
        self.variable(kind.variable())
    }

    /// The URL for `LONGSHORE_TEST_SQS_ENDPOINT`.
    ///
    /// # Panics
    /// When the SQS server was not started.
    #[must_use]
    pub fn sqs_endpoint(&self) -> &str {
        self.variable("LONGSHORE_TEST_SQS_ENDPOINT")
    }

    /// The addresses for `LONGSHORE_TEST_KAFKA_BROKERS`.
    ///
    /// # Panics
    /// When Kafka was not started.
    #[must_use]
    pub fn kafka_brokers(&self) -> &str {
        self.variable("LONGSHORE_TEST_KAFKA_BROKERS")
    }

    /// Stops a server and returns when it is gone.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&self, server: Server, how: Stop) {
        self.run("stop", &[server.as_str(), how.as_str()]).await;
    }

    /// Starts a server again, on its data and its port, and returns when it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&self, server: Server) {
        self.run("start", &[server.as_str()]).await;
    }

    /// Runs `rabbitmqctl` for the RabbitMQ of this test, e.g. to change a password.
    ///
    /// # Panics
    /// When RabbitMQ was not started, or the command fails.
    pub async fn rabbitmqctl(&self, arguments: &[&str]) -> String {
        self.run("ctl", arguments).await
    }

    /// The addresses at which Kafka wants a name and a password.
    ///
    /// # Panics
    /// When Kafka was not started.
    #[must_use]
    pub fn kafka_sasl_brokers(&self) -> &str {
        self.variable("LONGSHORE_TEST_KAFKA_SASL_BROKERS")
    }

    /// Runs Kafka's own `kafka-configs` for the Kafka of this test, e.g. to change a password.
    ///
    /// # Panics
    /// When Kafka was not started, or the command fails.
    pub async fn kafka_configs(&self, arguments: &[&str]) -> String {
        self.run("kafka-configs", arguments).await
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(variable, _)| variable == name);
        &found.unwrap_or_else(|| panic!("the server of {name} was not started for this test")).1
    }

    async fn run(&self, command: &str, rest: &[&str]) -> String {
        let dir = self.dir.to_str().expect("the script prints its directory as text");
        script(&[&[command, dir], rest].concat()).await
    }
}

impl Drop for OwnServers {
    fn drop(&mut self) {
        let mut down = BlockingCommand::new(SCRIPT);
        let _ = down.arg("down").arg(&self.dir).stdin(Stdio::null()).stdout(Stdio::null()).status();
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/servers");

async fn script(arguments: &[&str]) -> String {
    let mut command = Command::new(SCRIPT);
    command.args(arguments).stdin(Stdio::null()).env("LONGSHORE_OWNER_PID", std::process::id().to_string());
    for given in ["DATABASE_URL", "AMQP_URL", "LONGSHORE_PG_FSYNC"] {
        command.env_remove(given);
    }
    for kind in BrokerKind::ALL {
        command.env_remove(kind.variable());
    }
    let Output { status, stdout, stderr } =
        command.output().await.unwrap_or_else(|error| panic!("`{SCRIPT}` cannot be run: {error}"));
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "`scripts/servers {}` failed: {said}", arguments.join(" "));
    String::from_utf8_lossy(&stdout).into_owned()
}

/// `export NAME='value'` as name and value.
fn exported(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.trim_matches('\'').to_owned()))
}
