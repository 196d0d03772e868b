//! What a source hands us, before it is durable.

use std::sync::Arc;

use bytes::Bytes;

use crate::ack::AckToken;

/// Header names and values as the broker has them, in order; values as text.
pub type Headers = Vec<(String, String)>;

/// One message and its acknowledgement.
#[derive(Debug)]
pub struct Message {
    /// The raw bytes.
    pub body: Bytes,
    /// The broker's headers or attributes. A value that is not text is rendered as JSON.
    pub headers: Headers,
    /// Where the message came from, as far as the broker says.
    pub position: Position,
    /// What a synchronous source already knows about the message; `None` for brokers.
    pub route: Option<Route>,
    /// Whether the broker says it delivered this message before.
    pub redelivered: bool,
    /// How often the broker delivered it, this time included, where it counts.
    pub attempt: Option<u32>,
    /// The broker says that there is no body at all (Kafka: a null value), which is not the same as an empty one.
    pub tombstone: bool,
    /// Ends the message's life at the broker.
    pub ack: AckToken,
}

/// Where a message came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// What the broker or the producer calls this message (RabbitMQ: the `message-id` property; a log: where it
    /// stands). Two messages with the same id are the same message.
    pub message_id: Option<String>,
    /// What endpoints are told as the message's id, where that is not `message_id` (Kafka: the record's key).
    pub label: Option<String>,
    /// The producer's timestamp in milliseconds since the Unix epoch, the same on each redelivery.
    pub timestamp_ms: Option<i64>,
    /// Where it was addressed to (RabbitMQ: exchange and routing key), part of a message's identity when it has
    /// no id.
    pub address: String,
    /// What the broker keeps in order: a Kafka record's key, an SQS message group, a Pub/Sub ordering key.
    pub key: Option<String>,
    /// Where the message stands in its log, when the source reads a log.
    pub offset: Option<LogOffset>,
}

/// Where a message stands in a log. The pipeline stores the highest one of each log with the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOffset {
    /// The log's name within the source, e.g. topic and partition.
    pub log: Arc<str>,
    /// The message's offset.
    pub offset: u64,
}

/// What an HTTP path says about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The tenant, as the 128 bits of its id.
    pub project: u128,
    /// The event kind: `single`, `fanout`, `broadcast` or `dynamic`; or `batch`, when the body says it (key `kind`,
    /// absent: `single`); or `incoming`, with `inbound`.
    pub kind: &'static str,
    /// What a webhook of somebody else is read as; its body is the payload.
    pub inbound: Option<Arc<Inbound>>,
}

/// What is known of a webhook that a source received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The source, as the 128 bits of its id.
    pub source: u128,
    /// What happened.
    pub event_type: String,
    /// What a repeated request is recognised by.
    pub idempotency_key: Option<String>,
    /// The payload's media type; `None` for JSON.
    pub content_type: Option<String>,
    /// The query of its URL, without `?`; `None` for none.
    pub query: Option<String>,
}

/// What is told to a producer that waits for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The event's id, 128 bits; zero when the message became no event.
    pub event: u128,
    /// Whether it was stored and marked as a duplicate.
    pub duplicate: bool,
}

/// Why a message can never become an event; told to a producer that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field at fault, e.g. `event_type`; empty when the body as a whole is.
    pub field: String,
    /// A sentence for people that says what to do; holds no payload.
    pub problem: String,
}
