//! A scheduler, the slots it gave out, and a clock that is set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_core::event::{Event, Headers, Target};
use longshore_core::ports::ClaimedDelivery;
use longshore_core::{AttemptOutcome, DeliveryId, EndpointId, EventId, ProcessId, ProjectId, Timestamp};
use tokio::time::Instant;

use super::super::*;

pub(super) const MOMENT: Duration = Duration::from_millis(10);
pub(super) const ANSWERED: Ended = Ended::Tried { outcome: status(200), took: MOMENT };
pub(super) const BUSY: Ended = Ended::Tried { outcome: status(429), took: MOMENT };
pub(super) const REFUSED: Ended = Ended::Tried { outcome: AttemptOutcome::Connect, took: MOMENT };
pub(super) const TIMED_OUT: Ended =
    Ended::Tried { outcome: AttemptOutcome::Timeout, took: Duration::from_secs(10) };

pub(super) const fn status(status: u16) -> AttemptOutcome {
    AttemptOutcome::Response { status, retry_after: None }
}

pub(super) const fn limit(most: usize) -> Limit {
    Limit { most, is_adaptive: false, gather: None }
}

pub(super) fn delivery(project: u128, endpoint: u128, attempts: u16, bytes: usize) -> Queued {
    let event = Event {
        id: EventId::from_u128(1),
        project: ProjectId::from_u128(project),
        source: None,
        target: Target::Broadcast,
        event_type: "a".to_owned(),
        body: Bytes::from(vec![0; bytes]),
        headers: Headers::default(),
        idempotency_key: None,
        received_at: Timestamp::EPOCH,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    };
    let delivery = ClaimedDelivery {
        id: DeliveryId::from_u128(1),
        event: Arc::new(event),
        endpoint: EndpointId::from_u128(endpoint),
        subscription: None,
        attempts,
        throttled: 0,
        scheduled: false,
        place: None,
        owner: ProcessId::from_u128(0),
    };
    Queued { delivery, until: None, at: Instant::now() }
}

pub(super) struct Bed {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    /// The limit of every endpoint.
    pub(super) most: usize,
    slots: HashMap<u128, Vec<Slot>>,
}

impl Bed {
    pub(super) fn new(attempts: usize, most: usize) -> Self {
        let scheduler = Scheduler::new(attempts, 0.25, 0.25);
        Self { scheduler, now: Instant::now(), most, slots: HashMap::new() }
    }

    /// With these endpoints, each of the project of its number's tens, known to be quick.
    pub(super) fn known(attempts: usize, most: usize, endpoints: &[u128]) -> Self {
        let mut bed = Self::new(attempts, most);
        for endpoint in endpoints {
            let lane = bed.scheduler.lanes.entry(EndpointId::from_u128(*endpoint)).or_default();
            (0..most).for_each(|_| lane.pace.ended(ANSWERED, 1, limit(most)));
        }
        bed
    }

    pub(super) fn push(&mut self, endpoint: u128, count: usize) {
        (0..count).for_each(|_| self.put(delivery(endpoint / 10, endpoint, 0, 0)));
    }

    pub(super) fn push_retries(&mut self, endpoint: u128, count: usize) {
        (0..count).for_each(|_| self.put(delivery(endpoint / 10, endpoint, 1, 0)));
    }

    pub(super) fn put(&mut self, queued: Queued) {
        self.scheduler.push(queued, limit(self.most));
    }

    /// The next turn: its endpoint and whether it is a retry.
    pub(super) fn turn(&mut self) -> Option<(u128, bool)> {
        self.turn_with(limit(self.most))
    }

    /// As [`Self::turn`], where every endpoint has that limit.
    pub(super) fn turn_with(&mut self, limit: Limit) -> Option<(u128, bool)> {
        let Picked { first: queued, slot, .. } = self.scheduler.next(self.now, |_| limit)?;
        let (endpoint, is_retry) = (queued.delivery.endpoint.as_u128(), queued.delivery.attempts > 0);
        self.slots.entry(endpoint).or_default().push(slot);
        Some((endpoint, is_retry))
    }

    /// The next request: its endpoint, and how many deliveries share it. `limit` says an endpoint's.
    pub(super) fn request(&mut self, limit: impl Fn(u128) -> Limit) -> Option<(u128, usize)> {
        let Picked { first, more, slot } =
            self.scheduler.next(self.now, |endpoint| limit(endpoint.as_u128()))?;
        let endpoint = first.delivery.endpoint.as_u128();
        self.slots.entry(endpoint).or_default().push(slot);
        Some((endpoint, 1 + more.len()))
    }

    /// The next requests, which do not end.
    pub(super) fn requests(&mut self, limit: Limit) -> Vec<(u128, usize)> {
        std::iter::from_fn(|| self.request(|_| limit)).collect()
    }

    /// The endpoints of the next turns, which do not end.
    pub(super) fn turns(&mut self, count: usize) -> Vec<u128> {
        std::iter::from_fn(|| self.turn()).take(count).map(|(endpoint, _)| endpoint).collect()
    }

    /// The endpoints of the next turns, each of which ends before the next begins, and whether they are retries.
    pub(super) fn quick_turns(&mut self, count: usize) -> Vec<(u128, bool)> {
        let mut turns = Vec::new();
        while turns.len() < count
            && let Some(turn) = self.turn()
        {
            self.done(turn.0, ANSWERED);
            turns.push(turn);
        }
        turns
    }

    /// An attempt of that endpoint ends.
    pub(super) fn done(&mut self, endpoint: u128, ended: Ended) {
        self.done_with(endpoint, ended, limit(self.most));
    }

    /// As [`Self::done`], where it has that limit.
    pub(super) fn done_with(&mut self, endpoint: u128, ended: Ended, limit: Limit) {
        let slot = self.slots.get_mut(&endpoint).and_then(Vec::pop).expect("it has one in flight");
        self.scheduler.done(slot, ended, limit);
    }

    pub(super) fn in_flight(&self, endpoint: u128) -> usize {
        self.slots.get(&endpoint).map_or(0, Vec::len)
    }
}
