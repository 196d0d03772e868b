//! A source as it is declared, in the configuration's file or in a resource file.

use std::fmt;

use longshore_core::Mapping;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::redact::redact;
use crate::sources::Broker;
use crate::sources::broker::Tables;

/// One declared source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    /// Unique within its project.
    pub(crate) name: String,
    /// The tenant: its name or its id.
    pub(crate) project: String,
    /// The broker: which of the tables below is meant.
    pub(crate) kind: String,
    /// Consumers at once in each process, 1 to 64.
    #[serde(default = "one")]
    pub(crate) workers: u16,
    /// Whether it rests.
    #[serde(default)]
    pub(crate) disabled: bool,
    /// How its messages become events; the contract's envelope by default.
    #[serde(default)]
    pub(crate) mapping: Mapping,
    /// The broker's settings when `kind` is `kafka`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kafka: Option<BrokerTable>,
    /// The broker's settings when `kind` is `pubsub`.
    #[serde(default, alias = "google", skip_serializing_if = "Option::is_none")]
    pub(crate) pubsub: Option<BrokerTable>,
    /// The broker's settings when `kind` is `rabbitmq`.
    #[serde(default, alias = "amqp", skip_serializing_if = "Option::is_none")]
    pub(crate) rabbitmq: Option<BrokerTable>,
    /// The broker's settings when `kind` is `sqs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sqs: Option<BrokerTable>,
}

impl SourceConfig {
    /// The settings that are given, one table if all is well.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Value> {
        [&self.kafka, &self.pubsub, &self.rabbitmq, &self.sqs].into_iter().flatten().map(|table| &table.0)
    }

    /// The broker, its secrets read.
    ///
    /// # Errors
    /// A sentence that names the key and no secret.
    pub(crate) fn broker(&self) -> Result<Broker, String> {
        let table = |table: &'_ Option<BrokerTable>| table.as_ref().map(|table| table.0.clone());
        let [kafka, pubsub, rabbitmq, sqs] =
            [&self.kafka, &self.pubsub, &self.rabbitmq, &self.sqs].map(table);
        Broker::of(&self.kind, &Tables { kafka, pubsub, rabbitmq, sqs })
    }
}

const fn one() -> u16 {
    1
}

/// A broker's settings as they were written; `sources/broker.rs` gives them their type. Shows without credentials.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct BrokerTable(pub(crate) Value);

impl fmt::Debug for BrokerTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", redact(&self.0))
    }
}

impl Serialize for BrokerTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        redact(&self.0).serialize(serializer)
    }
}
