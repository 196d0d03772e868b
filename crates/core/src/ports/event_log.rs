//! The port of the event log: batches of new events with their deliveries, what was quarantined, and its replay.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use super::StoreError;
use crate::clock::Timestamp;
use crate::event::{Event, Headers};
use crate::ids::{
    DeliveryId, EndpointId, EventId, LaneId, ProcessId, ProjectId, QuarantineId, SourceId, SubscriptionId,
};
use crate::quarantine::{MessageFacts, Reason};
use crate::snapshot::Snapshot;
use crate::subscription::TypePattern;

/// How a redelivery of an event's message is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By the event's id: it is derived from the position, or nobody redelivers.
    Id,
    /// By this digest of the name it has at its source: two messages with one name are one.
    Named {
        /// Digest over source and name.
        digest: u128,
        /// The broker's word that it delivered the message before: then days back are searched as well.
        redelivered: bool,
    },
    /// By this digest of the whole message; the same message only when the broker says `redelivered`.
    Content {
        /// Digest over source, address, headers and body.
        digest: u128,
        /// The broker's word that it delivered the message before.
        redelivered: bool,
    },
}

/// An event about to be stored, with the deliveries it makes if it is new.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// How a redelivery is recognised.
    pub identity: Identity,
    /// The deliveries of this event; stored only when the event is new and no duplicate.
    pub deliveries: Vec<NewDelivery>,
}

/// A delivery about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Why; `None` when the event named the endpoint and no subscription was asked.
    pub subscription: Option<SubscriptionId>,
    /// Whether it is kept in memory by this process (claimed) or waits in Postgres (spilled).
    pub hand_over: bool,
    /// The lane at whose end it waits for its turn; such a delivery is not handed over.
    pub lane: Option<LaneId>,
}

/// A message that cannot become an event, kept with its raw bytes.
#[derive(Clone, Debug)]
pub struct QuarantinedMessage {
    /// Its id; derived from the position where there is one, so that a redelivery is a no-op.
    pub id: QuarantineId,
    /// The tenant.
    pub project: ProjectId,
    /// Where it came from; `None` for HTTP.
    pub source: Option<SourceId>,
    /// The class of the fault.
    pub reason: Reason,
    /// A sentence for people; holds no payload.
    pub detail: String,
    /// The position at the broker, for people.
    pub position: String,
    /// What the broker said of it, for a replay.
    pub facts: MessageFacts,
    /// The message's headers.
    pub headers: Headers,
    /// The raw bytes.
    pub body: Bytes,
    /// When we received it.
    pub received_at: Timestamp,
}

/// How far a log is stored once a batch is: a Kafka partition, a RabbitMQ stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceOffset {
    /// The source that reads the log.
    pub source: SourceId,
    /// The log's name within the source.
    pub log: String,
    /// Everything below it is stored. At most `i64::MAX`, which is where brokers end too.
    pub next: u64,
    /// When the messages were received. What was received before the log was forgotten does not count: it may be of
    /// another log of the same name.
    pub received_at: Timestamp,
}

/// What one transaction stores.
#[derive(Clone, Debug, Default)]
pub struct PersistBatch {
    /// Events with their deliveries.
    pub events: Vec<NewEvent>,
    /// Messages that cannot become events.
    pub quarantined: Vec<QuarantinedMessage>,
    /// How far each log is stored with this batch, once per log; a lower one than what is known changes nothing.
    pub offsets: Vec<SourceOffset>,
}

/// What became of an event of the batch, in the batch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Stored now, with its deliveries.
    New {
        /// The owner of the deliveries marked `hand_over`. `None` when this process's lease was lost meanwhile:
        /// then every delivery waits in Postgres, whatever `hand_over` said.
        owner: Option<ProcessId>,
    },
    /// Stored now and marked: its idempotency key was seen before. It has no deliveries.
    Duplicate,
    /// Stored before, by this very message: a redelivery. Nothing was written.
    Known,
}

/// A URL named by a `dynamic` event that is no endpoint of the project yet.
#[derive(Clone, Debug)]
pub struct DynamicEndpoint {
    /// [`EndpointId::derive`] of project and URL.
    pub id: EndpointId,
    /// The tenant.
    pub project: ProjectId,
    /// Where to POST.
    pub url: url::Url,
    /// Signing secret; generated when absent.
    pub secret: Option<crate::Secret<String>>,
    /// What it subscribes to.
    pub event_types: Vec<TypePattern>,
}

/// The durable log of events.
pub trait EventLog: Send + Sync + 'static {
    /// Stores the batch in one transaction and says what became of each event, in order.
    ///
    /// Repeating a call whose result is unknown is safe: events and deliveries stored by the lost call are
    /// reported as [`Stored::New`] again, because they carry the same ids.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known to be stored.
    fn persist(&self, batch: &PersistBatch) -> impl Future<Output = Result<Vec<Stored>, StoreError>> + Send;

    /// Looks for what a commit left whose result is unknown: [`Stored::New`] for each event of the batch whose
    /// deliveries are there, [`Stored::Known`] for every other. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError`]: still nothing is known.
    fn recall(&self, batch: &PersistBatch) -> impl Future<Output = Result<Vec<Stored>, StoreError>> + Send;

    /// The version of the configuration right now, to find out whether a snapshot is behind.
    ///
    /// # Errors
    /// [`StoreError`].
    fn config_version(&self) -> impl Future<Output = Result<i64, StoreError>> + Send;

    /// The time range in which a derived id finds a partition: a producer's timestamp outside it cannot place
    /// the event, so the message is recognised by [`Identity::Named`] instead.
    fn id_window(&self) -> (Timestamp, Timestamp);

    /// Registers endpoints that `dynamic` events name, each with a subscription. They show in the next snapshot.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was registered.
    fn register_dynamic(
        &self,
        endpoints: &[DynamicEndpoint],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A quarantined message that is to become an event after all.
#[derive(Clone, Debug)]
pub struct Replayable {
    /// Its row.
    pub id: QuarantineId,
    /// The tenant.
    pub project: ProjectId,
    /// The source that received it.
    pub source: SourceId,
    /// What the broker said of it.
    pub facts: MessageFacts,
    /// The message's headers.
    pub headers: Headers,
    /// The raw bytes.
    pub body: Bytes,
}

/// What a replay of quarantined messages needs besides the log of events.
pub trait ReplayLog: EventLog {
    /// The configuration as it is stored right now.
    ///
    /// # Errors
    /// [`StoreError`].
    fn snapshot(&self) -> impl Future<Output = Result<Arc<Snapshot>, StoreError>> + Send;

    /// Writes down under which id the message is going to be stored, and returns it: the one that an earlier replay
    /// chose, if that is not below `floor`. So a replay that was cut off, or two at once, store under one id. `None`
    /// when the row is gone or was replayed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn choose_event(
        &self,
        id: QuarantineId,
        wanted: EventId,
        floor: EventId,
    ) -> impl Future<Output = Result<Option<EventId>, StoreError>> + Send;

    /// The event that was stored for a message of this digest in the last days; see [`Identity::Named`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn event_of(&self, digest: u128) -> impl Future<Output = Result<Option<EventId>, StoreError>> + Send;

    /// Marks a row as replayed: its message is that event, if it is known which.
    ///
    /// # Errors
    /// [`StoreError`].
    fn mark_replayed(
        &self,
        id: QuarantineId,
        event: Option<EventId>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes down why the message still is no event.
    ///
    /// # Errors
    /// [`StoreError`].
    fn mark_faulty(
        &self,
        id: QuarantineId,
        reason: Reason,
        detail: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
