//! What the demo's messages go through: a queue on a broker.

use std::sync::Arc;

use longshore_testkit::broker::{BrokerKind, Queue};
use serde_json::Value;

use crate::publisher::Publisher;

/// Where the messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Broker {
    /// A RabbitMQ server.
    Rabbitmq,
    /// A Kafka server.
    Kafka,
    /// A server with the protocol of SQS.
    Sqs,
    /// A server with the protocol of Pub/Sub.
    Pubsub,
}

impl Broker {
    const fn kind(self) -> BrokerKind {
        match self {
            Self::Rabbitmq => BrokerKind::RabbitMq,
            Self::Kafka => BrokerKind::Kafka,
            Self::Sqs => BrokerKind::Sqs,
            Self::Pubsub => BrokerKind::PubSub,
        }
    }
}

/// A queue, and the broker too where it is the demo's own.
#[derive(Debug)]
pub struct Channel {
    queue: Arc<Queue>,
}

impl Channel {
    /// Makes one.
    pub async fn open(broker: Broker) -> Self {
        Self { queue: Arc::new(Queue::create(broker.kind()).await) }
    }

    /// Who publishes.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.queue))
    }

    /// The source's kind and settings.
    #[must_use]
    pub fn source(&self) -> (&'static str, Value) {
        (self.queue.kind().as_str(), self.queue.settings())
    }

    /// As people call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.queue.kind().to_string()
    }

    /// Removes what outlives this process.
    pub async fn close(self) {
        self.queue.remove().await;
    }
}
