//! The domain of Longshore as pure values and rules.
//!
//! What it is for: every other crate speaks in these types. What it does not do: no IO, no runtime, no
//! ambient time or randomness (both are parameters). Invariant: a value of these types is valid; parsing
//! happens at the edge.
//!
//! | module | holds |
//! |---|---|
//! | [`access`] | roles, scopes and what they allow |
//! | [`ids`] | 128-bit, time-ordered ids; ids derived from a broker position |
//! | [`clock`] | [`Timestamp`] and the [`Clock`] that hands it out |
//! | [`event`] | [`Event`], its kind, its headers |
//! | [`project`], [`endpoint`], [`subscription`] | the configured resources |
//! | [`snapshot`] | all resources at one moment, indexed for matching |
//! | [`catalogue`] | which event types a project knows, and what their data look like |
//! | [`filter`] | the filter language |
//! | [`mapping`] | where in a message the parts of an event are |
//! | [`media`] | which payloads are JSON |
//! | [`json`] | compaction that keeps the producer's bytes |
//! | [`signature`] | the v1 contract's and Standard Webhooks signatures |
//! | [`retry`], [`attempt`] | schedules, outcomes and the verdict |
//! | [`duration`] | durations as people write them |
//! | [`rate`] | rate limits |
//! | [`breaker`] | when an endpoint's breaker opens and closes |
//! | [`delivery`] | delivery states |
//! | [`inbound`] | sources that receive webhooks: who is let in, and what an event is read from |
//! | [`notice`] | what people are told of: meta events and alerts |
//! | [`quarantine`] | why a message could not become an event |
//! | [`ports`] | the narrow ports the pipeline needs from a store |

pub mod access;
pub mod attempt;
pub mod breaker;
pub mod catalogue;
pub mod clock;
pub mod delivery;
pub mod duration;
pub mod endpoint;
pub mod event;
pub mod features;
pub mod filter;
pub mod ids;
pub mod inbound;
pub mod json;
pub mod mapping;
pub mod media;
pub mod notice;
pub mod ports;
pub mod project;
pub mod quarantine;
pub mod rate;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod snapshot;
pub mod subscription;

pub use attempt::{Attempt, AttemptOutcome};
pub use clock::{Clock, SystemClock, Timestamp};
pub use delivery::DeliveryState;
pub use endpoint::{Endpoint, EndpointStatus};
pub use event::{Event, EventKind, Headers};
pub use ids::{
    ApiKeyId, AttemptId, AuditId, BatchId, DeliveryId, EndpointId, EventId, EventTypeId, FilterId,
    IdGenerator, LaneId, MetaEventId, OperationId, OrganisationId, PortalLinkId, ProcessId, ProjectId,
    QuarantineId, SourceId, SubscriptionId, UserId,
};
pub use mapping::Mapping;
pub use notice::{Notice, NoticeKind};
pub use project::Project;
pub use rate::RateLimit;
pub use retry::{RetryPolicy, RetrySchedule, Verdict, judge};
pub use secret::Secret;
pub use snapshot::Snapshot;
pub use subscription::{Subscription, TypePattern};
