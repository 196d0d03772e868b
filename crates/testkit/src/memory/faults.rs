//! Faults a test plans for the store in memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use longshore_core::ports::{DynamicEndpoint, NewEvent};

/// A call of the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `EventLog::persist`.
    Persist,
    /// `EventLog::recall`.
    Recall,
    /// `EventLog::config_version`.
    ConfigVersion,
    /// `EventLog::register_dynamic`.
    RegisterDynamic,
    /// Any call of `ReplayLog`.
    Replay,
    /// `DeliveryQueue::heartbeat`.
    Heartbeat,
    /// `DeliveryQueue::waiting`.
    Waiting,
    /// `DeliveryQueue::claim`.
    Claim,
    /// `DeliveryQueue::record`.
    Record,
    /// `DeliveryQueue::resign`.
    Resign,
    /// `RateLanes::take_slots`.
    TakeSlots,
    /// `RateLanes::take_tokens`.
    TakeTokens,
    /// `BreakerBoard::breaker_changes`.
    BreakerChanges,
    /// `BreakerBoard::watch` and `BreakerBoard::count`.
    Count,
    /// `BreakerBoard::shift`.
    Shift,
    /// Any call of `Notices`.
    Notices,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails as unavailable, with nothing done.
    Unavailable,
    /// Does everything and fails as unavailable: the commit whose reply was lost.
    LostReply,
    /// Fails as misconfigured, with nothing done.
    Misconfigured,
    /// Does nothing and never returns.
    Hang,
}

type Refuses<T> = Box<dyn Fn(&T) -> bool + Send>;

#[derive(Default)]
pub(super) struct Faults {
    planned: HashMap<Op, VecDeque<Fault>>,
    calls: HashMap<Op, usize>,
    pub(super) outage: bool,
    pub(super) latency: Duration,
    pub(super) reject: Option<Refuses<NewEvent>>,
    pub(super) reject_endpoints: Option<Refuses<DynamicEndpoint>>,
}

impl Faults {
    pub(super) fn plan(&mut self, op: Op, faults: impl IntoIterator<Item = Fault>) {
        self.planned.entry(op).or_default().extend(faults);
    }

    /// Counts a call and says what happens to it. An outage uses up no planned fault.
    pub(super) fn next(&mut self, op: Op) -> (Duration, Option<Fault>) {
        *self.calls.entry(op).or_default() += 1;
        let fault = match self.outage {
            true => Some(Fault::Unavailable),
            false => self.planned.get_mut(&op).and_then(VecDeque::pop_front),
        };
        (self.latency, fault)
    }

    pub(super) fn calls(&self, op: Op) -> usize {
        self.calls.get(&op).copied().unwrap_or(0)
    }

    pub(super) fn refuses(&self, event: &NewEvent) -> bool {
        self.reject.as_ref().is_some_and(|refuses| refuses(event))
    }

    pub(super) fn refuses_endpoint(&self, endpoint: &DynamicEndpoint) -> bool {
        self.reject_endpoints.as_ref().is_some_and(|refuses| refuses(endpoint))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("planned", &self.planned)
            .field("outage", &self.outage)
            .finish_non_exhaustive()
    }
}
