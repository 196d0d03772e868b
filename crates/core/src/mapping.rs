//! Where in a message the parts of an event are: so that producers need not know our envelope.
//!
//! What it is for: the `mapping` table of a source. What it does not do: look into messages, beyond finding a path
//! in a JSON document ([`Document`]). Invariant: a mapping that was read from configuration is complete (whatever
//! it requires has an entry), and an empty one means the contract's envelope.
//!
//! An entry is one place or a list of places; of a list the first that holds something counts.
//!
//! | place | is |
//! |---|---|
//! | `body:meta.type` | a value in the JSON body: names and indexes (`lines.0.sku`) with dots between |
//! | `header:x-type` | a header, attribute or message property of the broker, named without case |
//! | `ce:subject` | a context attribute of a CloudEvent, whatever mode it came in |
//! | `key` | the broker's key: a Kafka record's key, an SQS message group, a Pub/Sub ordering key |
//! | `address` | where the message was sent to, in the source's words |
//! | `routing_key` | RabbitMQ: the routing key |
//! | `const:order.updated` | this text |
//!
//! `data` is `body` (the whole JSON body), `body:…`, a list of these, or `raw` (the bytes, whatever they are).
//! `docs/mapping.md` has examples.

mod document;
mod form;
mod path;
mod place;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use form::Form;

pub use document::Document;
pub use path::BodyPath;
pub use place::{Place, PlaceError};

/// The name among [`Mapping::headers`] whose place is an object with a header in each member.
pub const EVERY_MEMBER: &str = "*";

/// How messages of a source become events.
///
/// The default is the contract's envelope, with CloudEvents recognised beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Mapping {
    /// `single`, `fanout` or `broadcast`. Without it: `single` when `endpoint` has an entry, `fanout` when `owner`
    /// has one, otherwise what the header `x-convoy-message-type` says, otherwise `broadcast`.
    pub kind: Vec<Place>,
    /// What happened.
    pub event_type: Vec<Place>,
    /// The id of the endpoint that a `single` event is for.
    pub endpoint: Vec<Place>,
    /// The owner of the endpoints that a `fanout` event is for.
    pub owner: Vec<Place>,
    /// A second event with the same key is stored and marked, not delivered.
    pub idempotency_key: Vec<Place>,
    /// What is delivered in order; without it, a CloudEvent's `partitionkey` or the broker's key.
    pub ordering_key: Vec<Place>,
    /// When it happened: RFC 3339, or milliseconds since the Unix epoch.
    pub occurred_at: Vec<Place>,
    /// Headers by name, besides those of the broker; [`EVERY_MEMBER`] stands for all members of an object.
    pub headers: BTreeMap<String, Vec<Place>>,
    /// The payload; the whole body when not given.
    pub data: Option<Data>,
    /// What must be found, besides what every event needs.
    pub required: Vec<Entry>,
    /// Whether a contract envelope with unknown keys is refused.
    pub strict: bool,
    /// Whether CloudEvents are recognised.
    pub cloudevents: CloudEvents,
    /// What becomes of a message without a body at all.
    pub tombstones: Tombstones,
    /// The type of the event that a tombstone becomes.
    pub tombstone_event_type: Option<String>,
}

impl Mapping {
    /// Whether messages that are no CloudEvents are read as the contract's envelope: no entry says otherwise.
    #[must_use]
    pub fn is_contract(&self) -> bool {
        self.data.is_none()
            && self.headers.is_empty()
            && self.event_type.is_empty()
            && !self.says_target()
            && self.idempotency_key.is_empty()
            && self.ordering_key.is_empty()
            && self.occurred_at.is_empty()
    }

    /// Whether some entry says whom events are for.
    #[must_use]
    pub fn says_target(&self) -> bool {
        !(self.kind.is_empty() && self.endpoint.is_empty() && self.owner.is_empty())
    }

    /// Whether an entry must be found.
    #[must_use]
    pub fn requires(&self, entry: Entry) -> bool {
        self.required.contains(&entry)
    }
}

/// Where the payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// JSON at the first of these paths that has a value; the empty path is the whole body.
    Json(Vec<BodyPath>),
    /// The body as it is, of the media type in its `content-type` header.
    Raw,
}

/// The entries that a mapping can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// [`Mapping::kind`]
    Kind,
    /// [`Mapping::event_type`]
    EventType,
    /// [`Mapping::endpoint`]
    Endpoint,
    /// [`Mapping::owner`]
    Owner,
    /// [`Mapping::idempotency_key`]
    IdempotencyKey,
    /// [`Mapping::ordering_key`]
    OrderingKey,
    /// [`Mapping::occurred_at`]
    OccurredAt,
    /// [`Mapping::headers`]: each of them.
    Headers,
}

impl Entry {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Kind,
        Self::EventType,
        Self::Endpoint,
        Self::Owner,
        Self::IdempotencyKey,
        Self::OrderingKey,
        Self::OccurredAt,
        Self::Headers,
    ];

    /// The word used in configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::EventType => "event_type",
            Self::Endpoint => "endpoint",
            Self::Owner => "owner",
            Self::IdempotencyKey => "idempotency_key",
            Self::OrderingKey => "ordering_key",
            Self::OccurredAt => "occurred_at",
            Self::Headers => "headers",
        }
    }
}

/// Whether messages are looked at for CloudEvents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudEvents {
    /// By content type, by the carrier of `specversion`, or by the body.
    #[default]
    Auto,
    /// Messages are what the mapping says, whatever else they look like.
    Off,
}

/// What becomes of a message without a body at all, which is not the same as an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tombstones {
    /// It is quarantined.
    #[default]
    Quarantine,
    /// It becomes an event of type [`Mapping::tombstone_event_type`] with the payload `null`.
    Event,
}

#[cfg(test)]
mod tests;
