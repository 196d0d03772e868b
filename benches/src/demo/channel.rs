//! What the demo's messages go through: a queue on a broker, which may live in this process.

use std::sync::Arc;

use anyhow::Context;
use longshore_testkit::broker::{BrokerKind, PARTITIONS, Queue};
use longshore_testkit::kafka::Kafka;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde_json::Value;

use crate::publisher::Publisher;

/// Where the messages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Broker {
    /// A Kafka inside this process, on the real wire: nothing to install.
    Embedded,
    /// A RabbitMQ server.
    Rabbitmq,
    /// A Kafka server.
    Kafka,
    /// A server with the protocol of SQS.
    Sqs,
    /// A server with the protocol of Pub/Sub.
    Pubsub,
}

/// A queue, and the broker too where it is the demo's own.
pub struct Channel {
    queue: Arc<Queue>,
    /// Ends with the value, and everything in it: it keeps its messages in memory.
    embedded: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Channel {
    /// Makes one.
    ///
    /// # Errors
    /// When the embedded broker cannot be started.
    pub async fn open(broker: Broker) -> anyhow::Result<Self> {
        let kind = match broker {
            Broker::Embedded => return Self::embedded().await,
            Broker::Rabbitmq => BrokerKind::RabbitMq,
            Broker::Kafka => BrokerKind::Kafka,
            Broker::Sqs => BrokerKind::Sqs,
            Broker::Pubsub => BrokerKind::PubSub,
        };
        Ok(Self { queue: Arc::new(Queue::create(kind).await), embedded: None })
    }

    async fn embedded() -> anyhow::Result<Self> {
        const TOPIC: &str = "longshore-demo";
        let cluster = MockCluster::new(1).context("the embedded Kafka does not start")?;
        cluster.create_topic(TOPIC, PARTITIONS, 1).context("the embedded Kafka refuses the topic")?;
        let kafka = Kafka::connect_to(&cluster.bootstrap_servers()).await;
        Ok(Self { queue: Arc::new(Queue::Kafka(kafka.existing(TOPIC))), embedded: Some(cluster) })
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
        if self.embedded.is_none() {
            self.queue.remove().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_testkit::publication::Publication;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_embedded_kafka_keeps_what_is_published() {
        let channel = Channel::open(Broker::Embedded).await.unwrap();

        channel.publisher().backlog(100, |n| Publication::new(format!("{n}"))).await;

        assert_eq!(channel.queue.left().await, 100);
        let (kind, settings) = channel.source();
        assert_eq!((kind, settings["topic_name"].as_str()), ("kafka", Some("longshore-demo")));
        channel.close().await;
    }
}
