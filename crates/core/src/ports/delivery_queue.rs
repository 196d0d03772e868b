//! The port of the delivery queue: deliveries are claimed, and what came of them is recorded.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::StoreError;
use crate::attempt::Attempt;
use crate::event::Event;
use crate::ids::{DeliveryId, EndpointId, EventId, LaneId, ProcessId, ProjectId, SubscriptionId};
use crate::notice::DisableReason;
use crate::retry::End;

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
