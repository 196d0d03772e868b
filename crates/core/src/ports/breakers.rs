//! The port of circuit breakers: counts and states that the fleet shares.

use std::future::Future;
use std::time::Duration;

use super::StoreError;
use crate::breaker::{BreakerState, Shift};
use crate::ids::{EndpointId, ProjectId};

/// An endpoint's breaker as everybody sees it. Who has none is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The tenant.
    pub project: ProjectId,
    /// Whether deliveries are sent.
    pub state: BreakerState,
    /// How often it has opened without closing in between.
    pub trips: u32,
    /// Another one with each change; counts and changes under an older one are void.
    pub version: i64,
    /// Open: the rest of its open time. Half-open: the rest of the time in which its prober must have concluded.
    pub until_in: Duration,
    /// How long ago it closed after having been open.
    pub closed_for: Option<Duration>,
}

/// What changed since a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerChanges {
    /// The newest version there is.
    pub version: i64,
    /// Every breaker changed since; sorted by nothing.
    pub breakers: Vec<Breaker>,
}

/// Attempts that a process counted in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerCount {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The breaker they were counted under.
    pub version: i64,
    /// Attempts.
    pub requests: u32,
    /// Those that failed.
    pub failures: u32,
}

/// What every process counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetCount {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The breaker they were counted under.
    pub version: i64,
    /// Attempts.
    pub requests: u32,
    /// Those that failed.
    pub failures: u32,
    /// For how long the breaker has been what it is: others count under it from when they have noticed.
    pub age: Duration,
}

/// A change of one breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerShift {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What the change starts from: it is void when somebody was faster.
    pub version: i64,
    /// The change.
    pub shift: Shift,
}

/// Breakers over the whole fleet. Times are on the store's clock.
pub trait BreakerBoard: Send + Sync + 'static {
    /// What changed after version `since`; 0 for everything.
    ///
    /// # Errors
    /// [`StoreError`].
    fn breaker_changes(&self, since: i64) -> impl Future<Output = Result<BreakerChanges, StoreError>> + Send;

    /// Asks everybody to count attempts to these endpoints: makes them breakers, closed, where they have none.
    ///
    /// # Errors
    /// [`StoreError`].
    fn watch(
        &self,
        endpoints: &[(EndpointId, ProjectId)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Replaces what this process counted, each endpoint named once, and returns what all counted lately. An endpoint whose
    /// breaker is gone or another one is left out.
    ///
    /// # Errors
    /// [`StoreError`].
    fn count(
        &self,
        counts: &[BreakerCount],
    ) -> impl Future<Output = Result<Vec<FleetCount>, StoreError>> + Send;

    /// Changes breakers, each endpoint named once, and returns those that changed: of several processes one wins. A probe
    /// begins only where the time of what was before is over. Each change is an event for whoever tells people.
    ///
    /// # Errors
    /// [`StoreError`]: some may have changed; [`Self::breaker_changes`] tells.
    fn shift(&self, shifts: &[BreakerShift])
    -> impl Future<Output = Result<Vec<Breaker>, StoreError>> + Send;
}
