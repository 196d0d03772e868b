//! A queue of its own on whichever broker a test is about: what every broker's handle can do, under one name.
//!
//! What it is for: scenarios that must hold on every broker are written once. What it does not do: offer what only
//! one broker has; the handles of [`crate::rabbitmq`] and its neighbours do. Invariant: a message counts as
//! published when its broker has confirmed it.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::chaos::ChaosProxy;
use crate::publication::Publication;
use crate::rabbitmq::{QueueKind, RabbitQueue};
use crate::servers::Server;

/// How long a publisher waits for the SQS server.
#[cfg(feature = "sqs")]
const SQS_ANSWERS: Duration = Duration::from_secs(3);

/// A broker, and where it has several kinds of queue, which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BrokerKind {
    /// RabbitMQ, a classic queue.
    RabbitMq,
    /// RabbitMQ, a quorum queue, which counts deliveries.
    Quorum,
    /// Apache Kafka.
    Kafka,
    /// Amazon SQS.
    Sqs,
    /// Google Pub/Sub.
    PubSub,
}

impl BrokerKind {
    /// Every broker once.
    pub const ALL: [Self; 4] = [Self::RabbitMq, Self::Kafka, Self::Sqs, Self::PubSub];

    /// The `kind` of a source in the configuration, and the name of its table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RabbitMq | Self::Quorum => "rabbitmq",
            Self::Kafka => "kafka",
            Self::Sqs => "sqs",
            Self::PubSub => "pubsub",
        }
    }

    /// Its server.
    #[must_use]
    pub const fn server(self) -> Server {
        match self {
            Self::RabbitMq | Self::Quorum => Server::RabbitMq,
            Self::Kafka => Server::Kafka,
            Self::Sqs => Server::Sqs,
            Self::PubSub => Server::PubSub,
        }
    }

    /// The variable that names a running server for tests.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq | Self::Quorum => "LONGSHORE_TEST_AMQP_URL",
            Self::Kafka => "LONGSHORE_TEST_KAFKA_BROKERS",
            Self::Sqs => "LONGSHORE_TEST_SQS_ENDPOINT",
            Self::PubSub => "LONGSHORE_TEST_PUBSUB_ENDPOINT",
        }
    }
}

/// As people write it.
impl fmt::Display for BrokerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RabbitMq => "RabbitMQ",
            Self::Quorum => "RabbitMQ, quorum queue",
            Self::Kafka => "Kafka",
            Self::Sqs => "SQS",
            Self::PubSub => "Pub/Sub",
        })
    }
}

/// A queue, topic or subscription with a name of its own.
#[derive(Debug)]
pub enum Queue {
    /// A queue on RabbitMQ, classic or quorum.
    RabbitMq(Box<RabbitQueue>),
    /// A topic on Kafka, of [`PARTITIONS`].
    #[cfg(feature = "kafka")]
    Kafka(crate::kafka::TestTopic),
    /// A queue of an SQS server.
    #[cfg(feature = "sqs")]
    Sqs(crate::sqs::TestQueue),
    /// A subscription to a topic of its own.
    #[cfg(feature = "pubsub")]
    PubSub(crate::pubsub::TestSubscription),
}

/// Partitions of a topic: more than consumers of a test, fewer than would cost time.
#[cfg(feature = "kafka")]
pub const PARTITIONS: i32 = 4;

impl Queue {
    /// Makes one on the server that the environment names.
    ///
    /// # Panics
    /// When the variable is not set or the server does not answer.
    pub async fn create(kind: BrokerKind) -> Self {
        let server = crate::server_url(kind.variable());
        match kind {
            #[cfg(feature = "sqs")]
            BrokerKind::Sqs => Self::Sqs(crate::sqs::Sqs::connect_to(&server).await.queue().await),
            _ => Self::create_at(kind, &server).await,
        }
    }

    /// Makes one on the server at that address, in the form of [`BrokerKind::variable`], that outlives a restart.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn create_at(kind: BrokerKind, server: &str) -> Self {
        match kind {
            BrokerKind::RabbitMq => Self::rabbitmq(server, QueueKind::Classic).await,
            BrokerKind::Quorum => Self::rabbitmq(server, QueueKind::Quorum).await,
            #[cfg(feature = "kafka")]
            BrokerKind::Kafka => {
                let kafka = crate::kafka::Kafka::connect_to(server).await;
                // Large bodies are for the gateway to judge.
                Self::Kafka(kafka.topic_with(PARTITIONS, &[("max.message.bytes", "11000000")]).await)
            }
            #[cfg(feature = "sqs")]
            BrokerKind::Sqs => Self::Sqs(crate::sqs::Sqs::connect_to(server).await.durable_queue().await),
            #[cfg(feature = "pubsub")]
            BrokerKind::PubSub => {
                Self::PubSub(crate::pubsub::PubSub::connect_to(server).await.subscription().await)
            }
            #[cfg(not(all(feature = "kafka", feature = "sqs", feature = "pubsub")))]
            other => panic!("the test kit was built without {other}: name its feature"),
        }
    }

    async fn rabbitmq(server: &str, kind: QueueKind) -> Self {
        Self::RabbitMq(Box::new(RabbitQueue::create(server, kind).await))
    }

    /// The broker.
    #[must_use]
    pub const fn kind(&self) -> BrokerKind {
        match self {
            Self::RabbitMq(queue) => match queue.kind() {
                QueueKind::Quorum => BrokerKind::Quorum,
                _ => BrokerKind::RabbitMq,
            },
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => BrokerKind::Kafka,
            #[cfg(feature = "sqs")]
            Self::Sqs(_) => BrokerKind::Sqs,
            #[cfg(feature = "pubsub")]
            Self::PubSub(_) => BrokerKind::PubSub,
        }
    }

    /// Its name at the broker.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::RabbitMq(queue) => queue.name(),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.name(),
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.name(),
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.id(),
        }
    }

    /// The source's settings: its table in the configuration.
    #[must_use]
    pub fn settings(&self) -> Value {
        match self {
            Self::RabbitMq(queue) => queue.settings(),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.settings(),
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.settings(),
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.settings(),
        }
    }

    /// `host:port` of the server: what a [`ChaosProxy`] stands in front of.
    #[must_use]
    pub fn authority(&self) -> &str {
        match self {
            Self::RabbitMq(queue) => ChaosProxy::authority(queue.url()),
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.brokers(),
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => ChaosProxy::authority(queue.server().endpoint()),
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.endpoint(),
        }
    }

    /// Settings of the source with the proxy in place of the server.
    #[must_use]
    pub fn through(&self, proxy: &ChaosProxy, settings: Value) -> Value {
        with_authority(settings, self.authority(), &proxy.addr().to_string())
    }

    /// Publishes and returns when the broker has confirmed every message.
    ///
    /// # Panics
    /// When the broker is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Publication>) {
        match self {
            Self::RabbitMq(queue) => queue.publish(messages).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.publish(messages).await,
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.publish(messages).await,
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => drop(subscription.publish(messages).await),
        }
    }

    /// Publishes; true for each message the broker has confirmed. What it has not confirmed it may have or not. A
    /// connection that was lost is made anew.
    pub async fn try_publish(&self, messages: Vec<Publication>) -> Vec<bool> {
        match self {
            Self::RabbitMq(queue) => queue.try_publish(messages).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => {
                let (topic, count) = (topic.clone(), messages.len());
                all_or_none(count, async move { topic.publish(messages).await }).await
            }
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => {
                let count = messages.len();
                // A test server that keeps messages in a file may fail at one, and answers after 20 s.
                let publishing = tokio::time::timeout(SQS_ANSWERS, queue.try_publish(messages));
                vec![matches!(publishing.await, Ok(Ok(()))); count]
            }
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => {
                let (subscription, count) = (subscription.clone(), messages.len());
                all_or_none(count, async move { drop(subscription.publish(messages).await) }).await
            }
        }
    }

    /// Messages the broker still wants to be done with. RabbitMQ does not count those that a consumer holds: it has
    /// them back when the consumer is gone.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn left(&self) -> u64 {
        match self {
            Self::RabbitMq(queue) => queue.left().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.left(topic.name()).await,
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.left().await,
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.left().await,
        }
    }

    /// Takes and acknowledges that many messages with a bare client and returns how long it took: what the broker
    /// allows at most.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn drain(&self, count: u64) -> Duration {
        match self {
            Self::RabbitMq(queue) => queue.drain(count).await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.drain(topic.name(), count).await,
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.drain(count).await,
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.drain(count).await,
        }
    }

    /// Removes it. One that is left behind goes with its server, or expires.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn remove(&self) {
        match self {
            Self::RabbitMq(queue) => queue.remove().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(topic) => topic.delete().await,
            #[cfg(feature = "sqs")]
            Self::Sqs(queue) => queue.clone().delete().await,
            #[cfg(feature = "pubsub")]
            Self::PubSub(subscription) => subscription.delete().await,
        }
    }
}

/// What a handle confirms as a whole: when it gives up, which it says by a panic, nothing counts as confirmed.
#[cfg(any(feature = "kafka", feature = "sqs", feature = "pubsub"))]
async fn all_or_none(count: usize, publishing: impl Future<Output = ()> + Send + 'static) -> Vec<bool> {
    vec![tokio::spawn(publishing).await.is_ok(); count]
}

/// The same settings with another `host:port` in every text.
fn with_authority(settings: Value, from: &str, to: &str) -> Value {
    let each = |value: Value| with_authority(value, from, to);
    match settings {
        Value::String(text) => Value::String(text.replace(from, to)),
        Value::Array(items) => items.into_iter().map(each).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, each(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proxy_takes_the_servers_place_and_nothing_else_changes() {
        let settings = json!({"urls": ["amqp://a:b@127.0.0.1:5672/%2f"], "queue": "q", "prefetch": 7});

        let through = with_authority(settings, "127.0.0.1:5672", "127.0.0.1:9");

        assert_eq!(through, json!({"urls": ["amqp://a:b@127.0.0.1:9/%2f"], "queue": "q", "prefetch": 7}));
    }
}
