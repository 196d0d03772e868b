//! The narrow ports through which the pipeline speaks to a store.
//!
//! They exist so that the same pipeline runs against Postgres in production and against an in-memory store
//! with fault knobs, under paused time, in model tests. All are cut by batch: one call is one transaction.

mod breakers;
mod rates;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::attempt::Attempt;
use crate::clock::Timestamp;
use crate::event::{Event, Headers};
use crate::ids::{
    DeliveryId, EndpointId, EventId, LaneId, ProcessId, ProjectId, QuarantineId, SourceId, SubscriptionId,
};
use crate::notice::{DisableReason, Notice};
use crate::quarantine::{MessageFacts, Reason};
use crate::retry::End;
use crate::snapshot::Snapshot;
use crate::subscription::TypePattern;

pub use breakers::{Breaker, BreakerBoard, BreakerChanges, BreakerCount, BreakerShift, FleetCount};
pub use rates::{RateLanes, SlotAsk, SlotGrant, TokenAsk, TokenGrant};

/// Our own failure to store or load, by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, overloaded or restarting. Nothing or everything of the call happened; repeating
    /// the same call is safe and is what to do.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database refuses this data and always will. Some row of the batch is to blame.
    #[error("database refused the data: {0}")]
    Rejected(String),
    /// Something is wrong with the installation: schema, rights, configuration.
    #[error("{0}")]
    Misconfigured(String),
}

impl StoreError {
    /// Whether repeating the same call may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Misconfigured(_))
    }
}

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

/// A delivery of which this process is the only owner until its lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it delivers.
    pub event: Arc<Event>,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Why.
    pub subscription: Option<SubscriptionId>,
    /// Attempts made so far.
    pub attempts: u16,
    /// How many of them were answered `429` and cost nothing.
    pub throttled: u16,
    /// Whether it has a row in the schedule: false for a fresh delivery handed over in memory.
    pub scheduled: bool,
    /// Who owned it when it was claimed; a record by anyone else is refused.
    pub owner: ProcessId,
    /// Its place in a lane; `None` when it goes out in no order.
    pub place: Option<LanePlace>,
}

impl ClaimedDelivery {
    /// A number below 2^53 that grows in the order in which events were taken in, the same at every attempt: strictly
    /// within a lane and within one process, and as the processes' clocks do between them.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.place.map_or_else(|| self.id.sequence(), |place| place.sequence)
    }
}

/// Where a delivery stands in its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanePlace {
    /// The lane.
    pub lane: LaneId,
    /// Grows from each delivery of the lane to the next.
    pub sequence: u64,
}

/// How many due deliveries of an endpoint this process has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// At most this many.
    pub max: u32,
}

/// An endpoint with deliveries waiting in Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// How long until its first delivery is due, on the database's clock; zero when it is due now.
    pub due_in: Duration,
}

/// The next state of a delivery after an attempt, or instead of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Delivered.
    Success,
    /// To be tried again this long from now.
    RetryAfter(Duration),
    /// Given up.
    Failure,
    /// Not sent: the endpoint is inactive or gone.
    Discarded,
    /// Not sent now: back to Postgres to wait, no attempt counted.
    Parked(Duration),
    /// Given up for now, and its lane waits: until somebody resends or discards it.
    Blocked,
    /// Given up for now, and its lane goes on without it: it waits until somebody resends or discards it.
    SetAside,
}

impl Next {
    /// Whether the delivery gives up its place in its lane, so that the next one has its turn.
    #[must_use]
    pub const fn leaves_lane(self) -> bool {
        match self {
            Self::Success | Self::Failure | Self::Discarded | Self::SetAside => true,
            Self::RetryAfter(_) | Self::Parked(_) | Self::Blocked => false,
        }
    }
}

/// What an outcome means beyond its delivery. Nothing, by default: then recording it costs nothing more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aftermath {
    /// The attempt was answered `429`: it is on record, and costs none of the schedule's.
    pub is_throttled: bool,
    /// Why the delivery was given up, when it was after an attempt.
    pub end: Option<End>,
    /// Whether the project wants to be told of this end, or this success.
    pub is_told: bool,
    /// Whether the project switches off endpoints that keep failing: then it is remembered since when this one does.
    pub is_watched: bool,
}

impl Aftermath {
    /// Whether the endpoint is to be switched off for it: at once when it is gone; when it was given up for lack of
    /// attempts or time, only if it had no success since the delivery's first attempt.
    #[must_use]
    pub const fn disables(&self) -> Option<DisableReason> {
        match self.end {
            Some(End::Gone) => Some(DisableReason::Gone),
            Some(End::Exhausted | End::Expired) if self.is_watched => Some(DisableReason::Exhausted),
            _ => None,
        }
    }
}

/// What a process did with a claimed delivery.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The event it delivers.
    pub event: EventId,
    /// The tenant.
    pub project: ProjectId,
    /// Where it went.
    pub endpoint: EndpointId,
    /// The owner under whose claim it was made: the fence.
    pub owner: ProcessId,
    /// Attempts made, this one included.
    pub attempts: u16,
    /// Whether the delivery has a row in the schedule.
    pub scheduled: bool,
    /// The attempt on record; `None` when nothing was sent.
    pub attempt: Option<Attempt>,
    /// Where the delivery goes from here.
    pub next: Next,
    /// The lane it stands in.
    pub lane: Option<LaneId>,
    /// What else follows.
    pub aftermath: Aftermath,
}

/// What came of recording outcomes.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Outcomes that were refused because the claim was lost.
    pub refused: usize,
    /// The next deliveries of their lanes, claimed for the recorder.
    pub claimed: Vec<ClaimedDelivery>,
    /// Whether deliveries became due whose turn it is now and which the recorder did not get.
    pub has_due: bool,
}

/// The deliveries of a process: those it holds, those it can take, and those it is done with.
pub trait DeliveryQueue: Send + Sync + 'static {
    /// The owner under which this process holds claims right now. It changes when the lease was lost.
    fn owner(&self) -> ProcessId;

    /// Renews this process's lease and takes over what dead processes left behind (it becomes due at once).
    /// `oldest` is the smallest id of a fresh delivery this process may still hold: where a successor has to
    /// look if this process dies.
    ///
    /// Returns false when the lease had been lost: every claim is gone, [`Self::owner`] is new, and whatever
    /// is held in memory must be dropped.
    ///
    /// # Errors
    /// [`StoreError`]: the lease was not renewed.
    fn heartbeat(&self, oldest: DeliveryId) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Endpoints with deliveries due now or soonest, at most `max`, sorted by nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    fn waiting(&self, max: u32) -> impl Future<Output = Result<Vec<Waiting>, StoreError>> + Send;

    /// Claims due deliveries for at most `lease`, by endpoint.
    ///
    /// # Errors
    /// [`StoreError`]: if the reply was lost, what was claimed is due again after `lease`.
    fn claim(
        &self,
        demand: &[Demand],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<ClaimedDelivery>, StoreError>> + Send;

    /// Records outcomes in one transaction. Repeating a call whose result is unknown is safe.
    ///
    /// When a delivery leaves its lane it is the next one's turn, in the same transaction: that one is claimed for the
    /// recorder for at most `lease`, unless others of the endpoint wait for their turn already or `lease` is zero:
    /// then it is due behind them.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known to be recorded.
    fn record(
        &self,
        outcomes: &[Outcome],
        lease: Duration,
    ) -> impl Future<Output = Result<Recorded, StoreError>> + Send;

    /// Gives this process's lease back: whatever it still holds is due at once for everybody else.
    ///
    /// # Errors
    /// [`StoreError`]: others have to wait for the lease to end.
    fn resign(&self, oldest: DeliveryId) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What is told to people, and the endpoints that are switched off for them. Nothing of it is on the hot path.
pub trait Notices: Send + Sync + 'static {
    /// Switches an endpoint off and tells so, in one transaction. Of several processes that want it, one does it.
    ///
    /// Returns whether this call did it: false when the endpoint was not active any more, or is gone.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed; repeating the call is safe.
    fn disable(
        &self,
        endpoint: EndpointId,
        reason: DisableReason,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Writes down what happened, for those channels that its project has and wants it on. Who repeats a call whose
    /// result is unknown may tell twice.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known to be written.
    fn tell(&self, notices: &[Notice]) -> impl Future<Output = Result<(), StoreError>> + Send;
}
