//! Whose turn it is: a queue per endpoint, a concurrency limit per endpoint, fair turns between projects.
//!
//! Pure: no IO, asks no clock. Projects take turns, and within a project its endpoints take turns; an endpoint that is at
//! its limit, is held or has nothing queued is not in the round at all, so that picking costs the same however many wait.
//!
//! Within its configured limit an endpoint earns its concurrency: it begins with a few attempts at once, gets one more
//! with each answer and half as many with each failure to answer. So endpoints that hang hold a few slots of this
//! process, not all.

mod lane;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use longshore_core::ports::ClaimedDelivery;
use longshore_core::{EndpointId, ProcessId, ProjectId};
use tokio::time::Instant;

use lane::Lane;
pub(super) use lane::{Ended, Limit, Queued, Slot};

/// The queues of one process.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    lanes: HashMap<EndpointId, Lane>,
    /// Endpoints that could send now, by project.
    ready: HashMap<ProjectId, VecDeque<EndpointId>>,
    /// Projects that have such an endpoint, in the order of their turns.
    round: VecDeque<ProjectId>,
    queued: usize,
    /// When held lanes are looked at: one entry of each counts, its `timer`.
    timers: BinaryHeap<Reverse<(Instant, EndpointId)>>,
}

impl Scheduler {
    /// Deliveries waiting for their turn.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Queues a delivery; `limit` is its endpoint's right now.
    pub(super) fn push(&mut self, queued: Queued, limit: Limit) {
        let endpoint = queued.delivery.endpoint;
        self.lanes.entry(endpoint).or_default().queue.push_back(queued);
        self.queued += 1;
        self.rouse(endpoint, limit);
    }

    /// The next delivery to send, if any endpoint can take one. `limit` says an endpoint's.
    pub(super) fn next(
        &mut self,
        now: Instant,
        limit: impl Fn(EndpointId) -> Limit,
    ) -> Option<(Queued, Slot)> {
        self.let_go(now, &limit);
        while let Some(endpoint) = self.turn() {
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.is_ready = false;
            // Held, drained or limited to less since it got its place.
            if !lane.is_able(limit(endpoint)) {
                continue;
            }
            let Some(queued) = lane.queue.pop_front() else { continue };
            lane.in_flight += 1;
            self.queued -= 1;
            self.rouse(endpoint, limit(endpoint));
            return Some((queued, Slot { endpoint }));
        }
        None
    }

    /// A turn has ended.
    #[expect(clippy::needless_pass_by_value, reason = "a slot is given back once")]
    pub(super) fn done(&mut self, slot: Slot, ended: Ended, limit: Limit) {
        let Slot { endpoint } = slot;
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            let is_silent = matches!(ended, Ended::Tried { outcome, .. } if outcome.status().is_none());
            lane.earned =
                if is_silent { (lane.earned / 2).max(1) } else { (lane.earned + 1).min(limit.most.max(1)) };
            if lane.is_idle() {
                self.lanes.remove(&endpoint);
                return;
            }
        }
        self.rouse(endpoint, limit);
    }

    /// Starts nothing for that endpoint before `until`, instead of what it was held until so far. An instant that has
    /// passed lets it go with the next [`Self::next`].
    #[cfg_attr(not(test), expect(dead_code, reason = "for rate limits and the breaker"))]
    pub(super) fn hold(&mut self, endpoint: EndpointId, until: Instant) {
        let lane = self.lanes.entry(endpoint).or_default();
        lane.held_until = Some(until);
        if lane.timer.is_none_or(|timer| until < timer) {
            lane.timer = Some(until);
            self.timers.push(Reverse((until, endpoint)));
        }
    }

    /// When [`Self::next`] may know more because an endpoint is held no longer; at times it does not, and tells a later
    /// instant.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((until, _))| *until)
    }

    /// Takes out everything queued for that endpoint, in order; attempts in flight go on.
    #[cfg_attr(not(test), expect(dead_code, reason = "for rate limits and the breaker"))]
    pub(super) fn take_queue(&mut self, endpoint: EndpointId) -> Vec<Queued> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Vec::new() };
        let taken: Vec<Queued> = std::mem::take(&mut lane.queue).into();
        self.queued -= taken.len();
        // One in the round is passed over there.
        if lane.is_idle() && !lane.is_ready {
            self.lanes.remove(&endpoint);
        }
        taken
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
        self.lanes.retain(|_, lane| !lane.is_idle() || lane.is_ready);
        dropped
    }

    /// Gives an endpoint its place in the round if it can send: after its limit has risen by something else than a push or
    /// an attempt's end.
    pub(super) fn rouse(&mut self, endpoint: EndpointId, limit: Limit) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        if lane.is_ready || !lane.is_able(limit) {
            return;
        }
        let Some(project) = lane.queue.front().map(|queued| queued.delivery.event.project) else { return };
        lane.is_ready = true;
        let turns = self.ready.entry(project).or_default();
        if turns.is_empty() {
            self.round.push_back(project);
        }
        turns.push_back(endpoint);
    }

    /// Takes the next endpoint out of the round.
    fn turn(&mut self) -> Option<EndpointId> {
        let project = self.round.pop_front()?;
        let turns = self.ready.get_mut(&project)?;
        let endpoint = turns.pop_front();
        if turns.is_empty() {
            self.ready.remove(&project);
        } else {
            self.round.push_back(project);
        }
        endpoint
    }

    /// Lets go what was held until now.
    fn let_go(&mut self, now: Instant, limit: impl Fn(EndpointId) -> Limit) {
        while let Some(Reverse((at, endpoint))) = self.timers.peek().copied().filter(|timer| timer.0.0 <= now)
        {
            self.timers.pop();
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            if lane.timer != Some(at) {
                continue;
            }
            lane.timer = lane.held_until.filter(|until| *until > now);
            if let Some(until) = lane.timer {
                self.timers.push(Reverse((until, endpoint)));
                continue;
            }
            lane.held_until = None;
            if lane.is_idle() {
                self.lanes.remove(&endpoint);
            } else {
                self.rouse(endpoint, limit(endpoint));
            }
        }
    }
}
