//! The narrow ports through which the pipeline speaks to a store.
//!
//! They exist so that the same pipeline runs against Postgres in production and against an in-memory store
//! with fault knobs, under paused time, in model tests. All are cut by batch: one call is one transaction.

mod breakers;
mod delivery_queue;
mod event_log;
mod rates;

use std::future::Future;

use crate::ids::EndpointId;
use crate::notice::{DisableReason, Notice};

pub use breakers::{Breaker, BreakerBoard, BreakerChanges, BreakerCount, BreakerShift, FleetCount};
pub use delivery_queue::{
    Aftermath, ClaimedDelivery, DeliveryQueue, Demand, LanePlace, Next, Outcome, Recorded, Waiting,
};
pub use event_log::{
    DynamicEndpoint, EventLog, Identity, NewDelivery, NewEvent, PersistBatch, QuarantinedMessage, ReplayLog,
    Replayable, SourceOffset, Stored,
};
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
