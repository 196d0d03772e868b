//! Queues on a real RabbitMQ for tests: a queue of its own for each, publishing with confirms, depth.
//!
//! It never declares anything but queues with unique names. A queue that a killed test left behind expires by
//! itself.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

use crate::publication::Publication;
use crate::{server_url, unique};

mod queue;

pub use queue::RabbitQueue;

/// Unconfirmed messages in flight while publishing.
const WINDOW: usize = 1_000;
const EXPIRES_MS: i32 = 30 * 60 * 1_000;

/// The kinds of queue a source must read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Durable, on one node.
    Classic,
    /// Replicated; dead-letters after too many deliveries.
    Quorum,
    /// A log: reading does not remove.
    Stream,
}

impl QueueKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Classic, Self::Quorum, Self::Stream];

    /// The word of the `x-queue-type` argument.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
            Self::Stream => "stream",
        }
    }
}

/// A message to publish; persistent, and to the point where nothing else is said.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The body.
    pub body: Vec<u8>,
    /// The `message-id` property.
    pub message_id: Option<String>,
    /// The `timestamp` property, in seconds since the Unix epoch.
    pub timestamp: Option<u64>,
    /// The `content-type` property.
    pub content_type: Option<String>,
    /// Headers of any type.
    pub headers: BTreeMap<String, AMQPValue>,
    /// Whether it may be lost with a restart of the broker.
    pub transient: bool,
}

impl Outgoing {
    /// A persistent message with that body and no properties.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With what makes a redelivery recognisable: `message-id` and `timestamp`.
    #[must_use]
    pub fn identified(mut self, message_id: impl Into<String>, timestamp: u64) -> Self {
        (self.message_id, self.timestamp) = (Some(message_id.into()), Some(timestamp));
        self
    }

    /// With a text header more.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.header_value(name, AMQPValue::LongString(value.into()))
    }

    /// With a header of any type more.
    #[must_use]
    pub fn header_value(mut self, name: &str, value: AMQPValue) -> Self {
        self.headers.insert(name.to_owned(), value);
        self
    }

    fn properties(&self) -> BasicProperties {
        let mut properties =
            BasicProperties::default().with_delivery_mode(if self.transient { 1 } else { 2 });
        if let Some(id) = &self.message_id {
            properties = properties.with_message_id(id.as_str().into());
        }
        if let Some(at) = self.timestamp {
            properties = properties.with_timestamp(at);
        }
        if let Some(content_type) = &self.content_type {
            properties = properties.with_content_type(content_type.as_str().into());
        }
        if !self.headers.is_empty() {
            let mut table = FieldTable::default();
            for (name, value) in &self.headers {
                table.insert(name.as_str().into(), value.clone());
            }
            properties = properties.with_headers(table);
        }
        properties
    }
}

/// The key is left out: a queue has no keys. A header `content-type` becomes the property of that name.
impl From<Publication> for Outgoing {
    fn from(publication: Publication) -> Self {
        let mut outgoing = Self::new(publication.body.unwrap_or_default());
        for (name, value) in &publication.headers {
            if name.eq_ignore_ascii_case("content-type") {
                outgoing.content_type = Some(value.clone());
            } else {
                outgoing = outgoing.header(name, value);
            }
        }
        outgoing.message_id = publication.id;
        outgoing.timestamp = publication.timestamp_ms.and_then(|ms| u64::try_from(ms / 1_000).ok());
        outgoing
    }
}

/// A connection to the broker under test. It does not reconnect: connect again after an outage.
#[derive(Debug)]
pub struct Rabbit {
    url: String,
    connection: Connection,
    channel: Channel,
}

impl Rabbit {
    /// Connects to the broker that `LONGSHORE_TEST_AMQP_URL` names.
    ///
    /// # Panics
    /// When the variable is not set or the broker does not answer.
    pub async fn connect() -> Self {
        Self::connect_to(&server_url("LONGSHORE_TEST_AMQP_URL")).await
    }

    /// Connects to a broker.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn connect_to(url: &str) -> Self {
        Self::try_connect_to(url).await.unwrap_or_else(|error| {
            panic!("RabbitMQ at `{}` does not answer: {error}", crate::chaos::ChaosProxy::authority(url))
        })
    }

    /// Connects to a broker that may be away.
    ///
    /// # Errors
    /// The client's.
    pub async fn try_connect_to(url: &str) -> lapin::Result<Self> {
        let options = ConnectionProperties::default().with_connection_name("longshore-testkit".into());
        let connection = Connection::connect(url, options).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { url: url.to_owned(), connection, channel })
    }

    /// The broker's URL, with credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The connection, for what this handle does not offer.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Declares a durable queue with a name of its own.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn queue(&self, kind: QueueKind) -> TestQueue {
        self.queue_with(kind, FieldTable::default()).await
    }

    /// Declares a durable queue with a name of its own and further arguments, e.g. `x-delivery-limit`.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn queue_with(&self, kind: QueueKind, mut arguments: FieldTable) -> TestQueue {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.as_str().into()));
        if kind != QueueKind::Stream {
            arguments.insert("x-expires".into(), AMQPValue::LongInt(EXPIRES_MS));
        }
        let name = unique::name(kind.as_str());
        self.channel
            .queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments)
            .await
            .unwrap_or_else(|error| panic!("RabbitMQ refuses the queue: {error}"));
        TestQueue { name, channel: self.channel.clone() }
    }

    /// A queue that exists already, e.g. after an outage, through this connection.
    #[must_use]
    pub fn existing(&self, name: &str) -> TestQueue {
        TestQueue { name: name.to_owned(), channel: self.channel.clone() }
    }
}

/// A queue on the broker. Lives until [`Self::delete`], or expires unused.
#[derive(Clone, Debug)]
pub struct TestQueue {
    name: String,
    channel: Channel,
}

impl TestQueue {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Publishes and returns when the broker has confirmed every message.
    ///
    /// # Panics
    /// When the broker is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Outgoing>) {
        if let Err(error) = self.try_publish(messages, |_| {}).await {
            panic!("publishing failed: {error}");
        }
    }

    /// Publishes in a pipeline and calls `confirmed` with the position of each message the broker has taken
    /// over, in order. Messages not confirmed when an error ends it may or may not be in the queue.
    ///
    /// # Errors
    /// The client's, e.g. because the broker went away.
    pub async fn try_publish(
        &self,
        messages: impl IntoIterator<Item = Outgoing>,
        mut confirmed: impl FnMut(usize),
    ) -> lapin::Result<()> {
        let queue = ShortString::from(self.name.as_str());
        let mut pending = std::collections::VecDeque::with_capacity(WINDOW);
        let mut done = 0;
        for message in messages {
            let confirm = self
                .channel
                .basic_publish(
                    "".into(),
                    queue.clone(),
                    BasicPublishOptions::default(),
                    &message.body,
                    message.properties(),
                )
                .await?;
            pending.push_back(confirm);
            if pending.len() == WINDOW
                && let Some(oldest) = pending.pop_front()
            {
                expect_ack(&oldest.await?);
                confirmed(done);
                done += 1;
            }
        }
        for confirm in pending {
            expect_ack(&confirm.await?);
            confirmed(done);
            done += 1;
        }
        Ok(())
    }

    /// Messages ready to be delivered, by passive declare; unacknowledged ones are not counted.
    ///
    /// # Panics
    /// When the queue does not exist.
    pub async fn depth(&self) -> u32 {
        self.declare_passively().await.message_count()
    }

    /// Consumers of the queue, by passive declare.
    ///
    /// # Panics
    /// When the queue does not exist.
    pub async fn consumers(&self) -> u32 {
        self.declare_passively().await.consumer_count()
    }

    /// Consumes that many messages and acknowledges them by hundreds.
    async fn drain(&self, count: u64) -> lapin::Result<()> {
        const ACKED_AT_ONCE: u64 = 100;
        self.channel.basic_qos(1_000, BasicQosOptions::default()).await?;
        let (queue, tag) = (ShortString::from(self.name.as_str()), ShortString::from("drain"));
        let options = BasicConsumeOptions::default();
        let mut consumer =
            self.channel.basic_consume(queue, tag.clone(), options, FieldTable::default()).await?;
        for taken in 1..=count {
            let Some(delivery) = consumer.next().await else { break };
            if taken % ACKED_AT_ONCE == 0 || taken == count {
                delivery?.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
        self.channel.basic_cancel(tag, BasicCancelOptions::default()).await
    }

    /// Deletes the queue; its consumers get a server-sent cancel.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn delete(self) {
        let deleted =
            self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await;
        deleted.unwrap_or_else(|error| panic!("queue `{}` cannot be deleted: {error}", self.name));
    }

    async fn declare_passively(&self) -> lapin::Queue {
        let options = QueueDeclareOptions::durable().passive();
        let declared =
            self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default()).await;
        declared.unwrap_or_else(|error| panic!("queue `{}` cannot be asked: {error}", self.name))
    }
}

fn expect_ack(confirmation: &Confirmation) {
    assert!(
        matches!(confirmation, Confirmation::Ack(_)),
        "RabbitMQ did not take the message: {confirmation:?}"
    );
}
