//! Whose turn it is: a queue per endpoint, a concurrency limit per endpoint, fair turns between projects.
//!
//! Pure: no IO, asks no clock. Projects take turns, and within a project its endpoints take turns; an endpoint that is at
//! its limit or has nothing queued is not in the round at all, so that picking costs the same however many wait.
//!
//! Within its configured limit an endpoint earns its concurrency: it begins with a few attempts at once, gets one more
//! with each answer and half as many with each failure to answer. So endpoints that hang hold a few slots of this
//! process, not all.

use std::collections::{HashMap, VecDeque};

use longshore_core::ports::ClaimedDelivery;
use longshore_core::{EndpointId, ProcessId, ProjectId};
use tokio::time::Instant;

/// Attempts at once that an endpoint begins with.
const FIRST: usize = 8;

/// The queues of one process.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    lanes: HashMap<EndpointId, Lane>,
    /// Endpoints that could send now, by project.
    ready: HashMap<ProjectId, VecDeque<EndpointId>>,
    /// Projects that have such an endpoint, in the order of their turns.
    round: VecDeque<ProjectId>,
    queued: usize,
}

/// A delivery waiting for its turn.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) delivery: ClaimedDelivery,
    /// The end of its claim; `None` when it ends with this process's lease.
    pub(super) until: Option<Instant>,
}

#[derive(Debug)]
struct Lane {
    project: ProjectId,
    queue: VecDeque<Queued>,
    in_flight: usize,
    /// Attempts at once it has earned, at least 1.
    earned: usize,
    is_ready: bool,
}

impl Scheduler {
    /// Deliveries waiting for their turn.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Queues a delivery; `concurrency` is its endpoint's limit right now.
    pub(super) fn push(&mut self, queued: Queued, concurrency: usize) {
        let endpoint = queued.delivery.endpoint;
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane {
            project: queued.delivery.event.project,
            queue: VecDeque::new(),
            in_flight: 0,
            earned: FIRST,
            is_ready: false,
        });
        lane.queue.push_back(queued);
        self.queued += 1;
        self.make_ready(endpoint, concurrency);
    }

    /// The next delivery to send, if any endpoint can take one. `concurrency` says an endpoint's limit.
    pub(super) fn next(&mut self, concurrency: impl Fn(EndpointId) -> usize) -> Option<Queued> {
        let project = self.round.pop_front()?;
        let turns = self.ready.get_mut(&project)?;
        let endpoint = turns.pop_front()?;
        let project_goes_on = !turns.is_empty();
        if !project_goes_on {
            self.ready.remove(&project);
        }
        let lane = self.lanes.get_mut(&endpoint)?;
        lane.is_ready = false;
        let queued = lane.queue.pop_front()?;
        lane.in_flight += 1;
        self.queued -= 1;
        if project_goes_on {
            self.round.push_back(project);
        }
        self.make_ready(endpoint, concurrency(endpoint));
        Some(queued)
    }

    /// An attempt of that endpoint has ended, with an answer or without one.
    pub(super) fn done(&mut self, endpoint: EndpointId, concurrency: usize, has_answered: bool) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            lane.earned = if has_answered {
                (lane.earned + 1).min(concurrency.max(1))
            } else {
                (lane.earned / 2).max(1)
            };
            if lane.in_flight == 0 && lane.queue.is_empty() {
                self.lanes.remove(&endpoint);
                return;
            }
        }
        self.make_ready(endpoint, concurrency);
    }

    /// Takes out every queued delivery whose claim belongs to another owner than `owner`.
    pub(super) fn drop_foreign(&mut self, owner: ProcessId) -> Vec<ClaimedDelivery> {
        let mut dropped = Vec::new();
        for lane in self.lanes.values_mut() {
            let (kept, foreign): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut lane.queue)
                .into_iter()
                .partition(|queued| queued.delivery.owner == owner);
            lane.queue = kept;
            dropped.extend(foreign.into_iter().map(|queued| queued.delivery));
        }
        self.queued -= dropped.len();
        self.rebuild_round();
        dropped
    }

    fn make_ready(&mut self, endpoint: EndpointId, concurrency: usize) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.is_ready || lane.queue.is_empty() || lane.in_flight >= concurrency.min(lane.earned) {
            return;
        }
        lane.is_ready = true;
        let turns = self.ready.entry(lane.project).or_default();
        if turns.is_empty() {
            self.round.push_back(lane.project);
        }
        turns.push_back(endpoint);
    }

    /// After a purge some lanes in the round may have nothing left.
    fn rebuild_round(&mut self) {
        self.ready.clear();
        self.round.clear();
        let waiting: Vec<EndpointId> =
            self.lanes.iter().filter(|(_, lane)| lane.is_ready).map(|(id, _)| *id).collect();
        for endpoint in waiting {
            if let Some(lane) = self.lanes.get_mut(&endpoint) {
                lane.is_ready = false;
            }
            // It was ready, so it was below its limit.
            self.make_ready(endpoint, usize::MAX);
        }
        self.lanes.retain(|_, lane| lane.in_flight > 0 || !lane.queue.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use longshore_core::event::{Event, Headers, Target};
    use longshore_core::{DeliveryId, EventId, Timestamp};

    use super::*;

    fn delivery(project: u128, endpoint: u128, owner: u128) -> Queued {
        let event = Event {
            id: EventId::from_u128(1),
            project: ProjectId::from_u128(project),
            source: None,
            target: Target::Broadcast,
            event_type: "a".to_owned(),
            body: Bytes::new(),
            headers: Headers::default(),
            idempotency_key: None,
            received_at: Timestamp::EPOCH,
            ordering_key: None,
            occurred_at: None,
            content_type: None,
            attributes: None,
        };
        let delivery = ClaimedDelivery {
            id: DeliveryId::from_u128(1),
            event: Arc::new(event),
            endpoint: EndpointId::from_u128(endpoint),
            subscription: None,
            attempts: 0,
            scheduled: false,
            owner: ProcessId::from_u128(owner),
        };
        Queued { delivery, until: None }
    }

    fn turns(scheduler: &mut Scheduler, limit: usize, most: usize) -> Vec<u128> {
        std::iter::from_fn(|| scheduler.next(|_| limit))
            .take(most)
            .map(|queued| queued.delivery.endpoint.as_u128())
            .collect()
    }

    #[test]
    fn projects_take_turns_whatever_their_backlog() {
        let mut scheduler = Scheduler::default();
        for _ in 0..100 {
            scheduler.push(delivery(1, 11, 0), 1_000);
        }
        for _ in 0..3 {
            scheduler.push(delivery(2, 22, 0), 1_000);
        }

        assert_eq!(turns(&mut scheduler, 1_000, 6), [11, 22, 11, 22, 11, 22]);
        assert_eq!(scheduler.queued(), 97);
    }

    #[test]
    fn endpoints_of_a_project_take_turns() {
        let mut scheduler = Scheduler::default();
        for endpoint in [11, 11, 11, 12, 12, 13] {
            scheduler.push(delivery(1, endpoint, 0), 10);
        }

        assert_eq!(turns(&mut scheduler, 10, 10), [11, 12, 13, 11, 12, 11]);
    }

    #[test]
    fn an_endpoint_at_its_limit_waits_until_one_is_done() {
        let mut scheduler = Scheduler::default();
        for endpoint in [11, 11, 11, 12] {
            scheduler.push(delivery(1, endpoint, 0), 2);
        }

        assert_eq!(turns(&mut scheduler, 2, 10), [11, 12, 11]);
        assert!(scheduler.next(|_| 2).is_none());
        scheduler.done(EndpointId::from_u128(11), 2, true);
        assert_eq!(turns(&mut scheduler, 2, 10), [11]);
    }

    #[test]
    fn a_lowered_limit_holds_and_a_raised_one_frees() {
        let mut scheduler = Scheduler::default();
        for _ in 0..4 {
            scheduler.push(delivery(1, 11, 0), 1);
        }
        assert_eq!(turns(&mut scheduler, 1, 10), [11]);

        scheduler.done(EndpointId::from_u128(11), 3, true);

        assert_eq!(turns(&mut scheduler, 3, 10), [11, 11, 11]);
    }

    #[test]
    fn concurrency_is_earned_by_answers_and_lost_by_silence() {
        let mut scheduler = Scheduler::default();
        let endpoint = EndpointId::from_u128(11);
        for _ in 0..200 {
            scheduler.push(delivery(1, 11, 0), 20);
        }
        let mut in_flight = turns(&mut scheduler, 20, 200).len();
        assert_eq!(in_flight, FIRST);

        for _ in 0..30 {
            scheduler.done(endpoint, 20, true);
            in_flight = in_flight - 1 + turns(&mut scheduler, 20, 200).len();
        }
        assert_eq!(in_flight, 20);

        for _ in 0..20 {
            scheduler.done(endpoint, 20, false);
            in_flight = in_flight - 1 + turns(&mut scheduler, 20, 200).len();
        }
        assert_eq!(in_flight, 1);
    }

    #[test]
    fn foreign_claims_are_taken_out_and_the_rest_goes_on() {
        let mut scheduler = Scheduler::default();
        for (endpoint, owner) in [(11, 1), (11, 2), (12, 1), (13, 2)] {
            scheduler.push(delivery(1, endpoint, owner), 5);
        }

        assert_eq!(scheduler.drop_foreign(ProcessId::from_u128(2)).len(), 2);

        let mut rest = turns(&mut scheduler, 5, 10);
        rest.sort_unstable();
        assert_eq!(rest, [11, 13]);
        assert_eq!(scheduler.queued(), 0);
    }
}
