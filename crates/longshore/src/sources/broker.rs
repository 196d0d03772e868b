//! Settings become a source: the one `match` over the kinds of brokers.
//!
//! Declared sources come from two places, the configuration's file and the database; both go through
//! [`Broker::parse`]. A broker is one line in each function here, its tables in `config/source.rs` and
//! `apply/document.rs`, and a cargo feature.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::ids;
use longshore_source::{Context, SourceError};
#[cfg(feature = "kafka")]
use longshore_source_kafka::KafkaConfig;
#[cfg(feature = "pubsub")]
use longshore_source_pubsub::PubSubConfig;
#[cfg(feature = "rabbitmq")]
use longshore_source_rabbitmq::RabbitMqConfig;
#[cfg(feature = "sqs")]
use longshore_source_sqs::SqsConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::kind::Kind;
use super::run::Feed;
use super::secrets::{files_of, read_files};

/// How long a check of the connection may take.
const CHECK: Duration = Duration::from_secs(10);

/// Settings of a broker that is built in, complete: secrets are read from their files.
#[derive(Clone)]
pub(crate) struct Broker {
    kind: Kind,
    settings: Value,
    /// What the other files say that the settings name: certificates.
    files: u128,
    config: BrokerConfig,
}

/// The same, understood.
#[derive(Clone)]
enum BrokerConfig {
    #[cfg(feature = "kafka")]
    Kafka(Arc<KafkaConfig>),
    #[cfg(feature = "pubsub")]
    PubSub(Arc<PubSubConfig>),
    #[cfg(feature = "rabbitmq")]
    RabbitMq(Arc<RabbitMqConfig>),
    #[cfg(feature = "sqs")]
    Sqs(Arc<SqsConfig>),
    /// Keeps the matches whole when no broker is built in.
    #[expect(dead_code, reason = "it cannot be made")]
    None(Infallible),
}

/// The typed settings differ when the settings do.
impl PartialEq for Broker {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.settings, self.files) == (other.kind, &other.settings, other.files)
    }
}

/// The tables of a declaration, of which the kind's is given and the others are not.
pub(crate) struct Tables {
    pub(crate) kafka: Option<Value>,
    pub(crate) pubsub: Option<Value>,
    pub(crate) rabbitmq: Option<Value>,
    pub(crate) sqs: Option<Value>,
}

impl Tables {
    const fn get(&self, kind: Kind) -> Option<&Value> {
        match kind {
            Kind::Kafka => self.kafka.as_ref(),
            Kind::PubSub => self.pubsub.as_ref(),
            Kind::RabbitMq => self.rabbitmq.as_ref(),
            Kind::Sqs => self.sqs.as_ref(),
        }
    }
}

impl Broker {
    /// Gives the settings of a declaration their type.
    ///
    /// # Errors
    /// As [`Broker::parse`]; also when there is a table of another kind.
    pub(crate) fn of(kind: &str, tables: &Tables) -> Result<Self, String> {
        let known = Kind::parse(kind)?;
        let other = Kind::ALL.into_iter().find(|other| *other != known && tables.get(*other).is_some());
        if let Some(other) = other {
            return Err(format!("a source of kind `{known}` has a `{other}` table; take one of them out"));
        }
        Self::parse(kind, tables.get(known))
    }

    /// Gives a broker's settings their type.
    ///
    /// # Errors
    /// A sentence that names the key and no secret.
    pub(crate) fn parse(kind: &str, settings: Option<&Value>) -> Result<Self, String> {
        let kind = Kind::parse(kind)?;
        let settings = settings.ok_or_else(|| format!("a source of kind `{kind}` needs a `{kind}` table"))?;
        let mut settings = settings.clone();
        read_files(&mut settings)?;
        let config = match kind {
            #[cfg(feature = "kafka")]
            Kind::Kafka => typed(&settings, KafkaConfig::validate).map(BrokerConfig::Kafka)?,
            #[cfg(feature = "pubsub")]
            Kind::PubSub => typed(&settings, PubSubConfig::validate).map(BrokerConfig::PubSub)?,
            #[cfg(feature = "rabbitmq")]
            Kind::RabbitMq => typed(&settings, RabbitMqConfig::validate).map(BrokerConfig::RabbitMq)?,
            #[cfg(feature = "sqs")]
            Kind::Sqs => typed(&settings, SqsConfig::validate).map(BrokerConfig::Sqs)?,
            #[cfg(not(all(feature = "kafka", feature = "pubsub", feature = "rabbitmq", feature = "sqs")))]
            kind => return Err(format!("`{kind}` is not built in")),
        };
        let contents: Vec<Vec<u8>> =
            files_of(&settings).iter().map(|path| std::fs::read(path).unwrap_or_default()).collect();
        let files = ids::digest(&contents.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Ok(Self { kind, settings, files, config })
    }

    /// The settings as they are stored (sealed).
    pub(crate) const fn settings(&self) -> &Value {
        &self.settings
    }

    /// The kind.
    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Connects once and lets go again, within ten seconds. Returns what works but should be changed.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) async fn check(&self) -> Result<Vec<String>, String> {
        let checking = async {
            match &self.config {
                #[cfg(feature = "kafka")]
                BrokerConfig::Kafka(config) => longshore_source_kafka::check(config).await,
                #[cfg(feature = "pubsub")]
                BrokerConfig::PubSub(config) => longshore_source_pubsub::check(config).await,
                #[cfg(feature = "rabbitmq")]
                BrokerConfig::RabbitMq(config) => longshore_source_rabbitmq::check(config).await,
                #[cfg(feature = "sqs")]
                BrokerConfig::Sqs(config) => longshore_source_sqs::check(config).await,
                BrokerConfig::None(never) => match *never {},
            }
        };
        let checked: Result<Vec<String>, SourceError> = timeout(CHECK, checking)
            .await
            .unwrap_or_else(|_| Err(SourceError::Disconnected(format!("no answer within {CHECK:?}"))));
        checked.map_err(|error| error.to_string())
    }

    /// Connects, and feeds what comes to the pipeline until told to stop.
    ///
    /// # Errors
    /// Why it ended unasked.
    pub(super) async fn run(&self, context: Context, feed: Feed) -> anyhow::Result<()> {
        match &self.config {
            #[cfg(feature = "kafka")]
            BrokerConfig::Kafka(config) => {
                feed.run(longshore_source_kafka::connect((**config).clone(), context)).await
            }
            #[cfg(feature = "pubsub")]
            BrokerConfig::PubSub(config) => {
                feed.run(longshore_source_pubsub::connect((**config).clone(), context)).await
            }
            #[cfg(feature = "rabbitmq")]
            BrokerConfig::RabbitMq(config) => {
                feed.run(longshore_source_rabbitmq::connect((**config).clone(), context)).await
            }
            #[cfg(feature = "sqs")]
            BrokerConfig::Sqs(config) => {
                feed.run(longshore_source_sqs::connect((**config).clone(), context)).await
            }
            BrokerConfig::None(never) => match *never {},
        }
    }
}

fn typed<C: DeserializeOwned, E: Display>(
    settings: &Value,
    validate: impl Fn(&C) -> Result<(), E>,
) -> Result<Arc<C>, String> {
    let config = C::deserialize(settings).map_err(|error| without_value(&error.to_string()))?;
    validate(&config).map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

/// serde's sentence without the value it quotes, which may be a secret.
fn without_value(problem: &str) -> String {
    match problem.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
