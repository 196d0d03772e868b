//! The ports of rate limits: what a process may send or take in, taken in slices from a budget that the fleet shares.

use std::future::Future;
use std::time::Duration;

use super::StoreError;
use crate::ids::{EndpointId, ProjectId};
use crate::rate::RateLimit;

/// Slots that a process wants on an endpoint's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotAsk {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The time between two slots; when it is another than before, what was taken ahead under the old one counts no more.
    pub spacing: Duration,
    /// How many, at least 1.
    pub count: u32,
}

/// What the timeline had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotGrant {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Slots taken: as many as asked for, or 0 when the first free one is too far ahead.
    pub count: u32,
    /// How long until the first of them, or the first free one, from the end of the call on.
    pub starts_in: Duration,
}

/// Events that a process took in or wants to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAsk {
    /// The tenant.
    pub project: ProjectId,
    /// Its limit.
    pub limit: RateLimit,
    /// Events taken in beyond what was granted before: they are booked, even ahead.
    pub owed: u32,
    /// Further ones, which it gets as far as there are.
    pub wanted: u32,
}

/// What the budget had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// The tenant.
    pub project: ProjectId,
    /// Of those wanted.
    pub granted: u32,
    /// What is left for everybody.
    pub left: u32,
    /// How long until there is one more; zero when something is left.
    pub more_in: Duration,
    /// How long until all of the limit is there again.
    pub full_in: Duration,
}

/// Budgets over the whole fleet. The timelines are on the store's clock.
pub trait RateLanes: Send + Sync + 'static {
    /// Takes slots, each endpoint named once. Those whose first free slot is more than `horizon` ahead get none: what is
    /// taken is lost to everybody else.
    ///
    /// # Errors
    /// [`StoreError`]: slots may be taken all the same; they lapse.
    fn take_slots(
        &self,
        asks: &[SlotAsk],
        horizon: Duration,
    ) -> impl Future<Output = Result<Vec<SlotGrant>, StoreError>> + Send;

    /// Takes room for events, each project named once.
    ///
    /// # Errors
    /// [`StoreError`]: what is owed may be booked all the same.
    fn take_tokens(
        &self,
        asks: &[TokenAsk],
    ) -> impl Future<Output = Result<Vec<TokenGrant>, StoreError>> + Send;
}
