//! The tables of the store in memory, and the rules that more than one call needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::breaker::BreakerState;
use longshore_core::notice::{DisableReason, Notice};
use longshore_core::ports::{DynamicEndpoint, LanePlace, QuarantinedMessage};
use longshore_core::{
    Attempt, DeliveryId, DeliveryState, EndpointId, Event, EventId, LaneId, ProcessId, ProjectId,
    QuarantineId, Snapshot, SourceId, SubscriptionId, Timestamp,
};

use super::lanes::Lane;

/// A stored event.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Whether its idempotency key was seen before; such an event has no deliveries.
    pub duplicate: bool,
}

/// A stored delivery.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The event it delivers.
    pub event: EventId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Why.
    pub subscription: Option<SubscriptionId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made so far.
    pub attempts: u16,
    /// How many of them were answered `429` and cost nothing.
    pub throttled: u16,
    /// Who has it claimed.
    pub owner: Option<ProcessId>,
    /// From when on anybody may claim it; `None` while it has no row in the schedule.
    pub due_at: Option<Timestamp>,
    /// Its place in a lane.
    pub place: Option<LanePlace>,
    /// Whether it was given up and its lane goes on without it.
    pub is_aside: bool,
    /// Attempts on record, in order; with those whose outcome was refused because the claim was lost.
    pub history: Vec<Attempt>,
    /// Under whose claim each attempt of `history` was made.
    pub made_by: Vec<ProcessId>,
    /// Attempts made under a claim that still held, in order: those that count.
    pub counted: Vec<Attempt>,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    lease_until: Timestamp,
    /// Where a successor starts to look for fresh deliveries.
    oldest: DeliveryId,
}

/// The timeline of an endpoint with a rate limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLane {
    pub(super) spacing: Duration,
    pub(super) next_at: Timestamp,
}

/// A breaker and what each process counted under it.
#[derive(Clone, Debug)]
pub(super) struct StoredBreaker {
    pub(super) project: ProjectId,
    pub(super) state: BreakerState,
    pub(super) trips: u32,
    pub(super) version: i64,
    pub(super) until: Timestamp,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) changed_at: Timestamp,
    /// Requests, failures and when they were counted.
    pub(super) counts: HashMap<ProcessId, (u32, u32, Timestamp)>,
}

#[derive(Debug)]
pub(super) struct Tables {
    pub(super) events: BTreeMap<EventId, StoredEvent>,
    pub(super) deliveries: BTreeMap<DeliveryId, StoredDelivery>,
    pub(super) lanes: HashMap<LaneId, Lane>,
    pub(super) quarantined: BTreeMap<QuarantineId, QuarantinedMessage>,
    pub(super) dynamic: BTreeMap<EndpointId, DynamicEndpoint>,
    /// Digests of messages, with the day they were last seen on.
    pub(super) identities: HashMap<u128, i64>,
    /// How far each log is stored, and from when on what was received counts.
    pub(super) offsets: HashMap<(SourceId, String), (Option<u64>, Timestamp)>,
    /// Of replayed messages: the event chosen, and whether the replay is over.
    pub(super) replays: HashMap<QuarantineId, (Option<EventId>, bool)>,
    /// Which event a digest was stored as.
    pub(super) identified: HashMap<u128, EventId>,
    pub(super) keys: HashMap<(ProjectId, String), EventId>,
    /// Endpoints that fail, and since when.
    pub(super) failing: HashMap<EndpointId, Timestamp>,
    pub(super) disabled: HashMap<EndpointId, DisableReason>,
    pub(super) notices: Vec<Notice>,
    pub(super) id_window: (Timestamp, Timestamp),
    pub(super) config_version: i64,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) rate_lanes: HashMap<EndpointId, RateLane>,
    /// From when on each project's budget owes nothing.
    pub(super) budgets: HashMap<ProjectId, Timestamp>,
    pub(super) breakers: HashMap<EndpointId, StoredBreaker>,
    pub(super) breaker_version: i64,
    processes: HashMap<ProcessId, Process>,
    /// When each process that is no more lost its claims.
    ended: HashMap<ProcessId, Timestamp>,
    next_process: u128,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            lanes: HashMap::new(),
            rate_lanes: HashMap::new(),
            quarantined: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            identities: HashMap::new(),
            offsets: HashMap::new(),
            replays: HashMap::new(),
            identified: HashMap::new(),
            keys: HashMap::new(),
            failing: HashMap::new(),
            disabled: HashMap::new(),
            notices: Vec::new(),
            id_window: (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)),
            config_version: 1,
            snapshot: Arc::default(),
            budgets: HashMap::new(),
            breakers: HashMap::new(),
            breaker_version: 0,
            processes: HashMap::new(),
            ended: HashMap::new(),
            next_process: 1,
        }
    }
}

impl Tables {
    pub(super) fn register(&mut self, now: Timestamp, lease: Duration) -> ProcessId {
        let id = self.new_owner();
        let process = Process { lease_until: now.after(lease), oldest: DeliveryId::from_u128(0) };
        self.processes.insert(id, process);
        id
    }

    /// An owner without a lease.
    pub(super) fn new_owner(&mut self) -> ProcessId {
        let id = ProcessId::from_u128(self.next_process);
        self.next_process += 1;
        id
    }

    /// Whether that owner's claims still count.
    pub(super) fn is_alive(&self, owner: ProcessId) -> bool {
        self.processes.contains_key(&owner)
    }

    /// When that owner lost its claims; `None` while it has them.
    pub(super) fn ended_at(&self, owner: ProcessId) -> Option<Timestamp> {
        self.ended.get(&owner).copied()
    }

    /// Renews a lease; false when it was lost.
    pub(super) fn renew(&mut self, owner: ProcessId, until: Timestamp, oldest: DeliveryId) -> bool {
        let renewed = Process { lease_until: until, oldest };
        self.processes.get_mut(&owner).map(|process| *process = renewed).is_some()
    }

    /// Takes over from every process whose lease has ended.
    pub(super) fn reap_expired(&mut self, now: Timestamp) {
        let expired: Vec<ProcessId> = self
            .processes
            .iter()
            .filter(|(_, process)| process.lease_until <= now)
            .map(|(id, _)| *id)
            .collect();
        for owner in expired {
            self.reap(owner, now);
        }
    }

    /// Ends a process: what it held becomes due at once. Fresh deliveries are looked for from the process's
    /// `oldest` on, as an index on ids would; one below it stays where it is, and a test sees it missing.
    pub(super) fn reap(&mut self, owner: ProcessId, now: Timestamp) {
        let Some(process) = self.processes.remove(&owner) else { return };
        self.ended.insert(owner, now);
        for delivery in self.deliveries.values_mut().filter(|delivery| delivery.owner == Some(owner)) {
            if delivery.due_at.is_some() || delivery.id >= process.oldest {
                delivery.wait(now);
            }
        }
    }
}

impl StoredDelivery {
    /// Puts it into the schedule, owned by nobody.
    pub(super) fn wait(&mut self, due_at: Timestamp) {
        self.state = match self.attempts {
            0 => DeliveryState::Scheduled,
            _ => DeliveryState::Retry,
        };
        (self.owner, self.due_at) = (None, Some(due_at));
    }

    /// Takes it out of the schedule for good.
    pub(super) fn finish(&mut self, state: DeliveryState) {
        self.state = state;
        (self.owner, self.due_at) = (None, None);
    }
}
