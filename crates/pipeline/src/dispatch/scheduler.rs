//! Whose turn it is: a queue per endpoint, a concurrency limit per endpoint, fair turns between projects.
//!
//! Pure: no IO, asks no clock. An endpoint that is at its limit, is held or has nothing queued is not in the round at all,
//! so that picking costs the same however many wait.
//!
//! | module | says |
//! |---|---|
//! | [`turns`] | whose turn it is: projects by what they have used, within a project its endpoints one after the other |
//! | [`lane`] | what is next of an endpoint: fresh deliveries and retries take turns by share, some share a request |
//! | [`pace`], [`gradient`] | how an endpoint does: fast, slow or unknown, and how many attempts at once it has earned |
//! | [`budget`] | whether there is a slot: slow endpoints have a budget of their own, retries a share |
//!
//! Invariant: every slot given out by [`Scheduler::next`] is given back once, by [`Scheduler::done`].

mod budget;
mod gradient;
mod lane;
mod pace;
#[cfg(test)]
mod tests;
mod turns;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use longshore_core::ports::ClaimedDelivery;
use longshore_core::{EndpointId, ProcessId};
use tokio::time::Instant;

use budget::Budget;
use lane::Lane;
pub(super) use lane::{Ended, Gather, Limit, Picked, Queued, Slot};
use pace::{SLOW_AFTER, Track};
use turns::{Turn, Turns, cost};

/// How often an endpoint with attempts in flight is looked at.
const GLANCE: Duration = Duration::from_millis(500);
/// How long what is known of an idle endpoint is kept.
const MEMORY: Duration = Duration::from_secs(300);
const _: () = assert!(2 * GLANCE.as_millis() <= SLOW_AFTER.as_millis());

/// The queues of one process.
#[derive(Debug)]
pub(super) struct Scheduler {
    lanes: HashMap<EndpointId, Lane>,
    /// Endpoints that could send now, by track. An entry counts whose lane says so.
    rounds: [Round; 3],
    budget: Budget,
    /// Fresh deliveries of an endpoint for each of its retries, where both wait.
    fresh_run: usize,
    queued: usize,
    /// The latest instant it was told of.
    now: Instant,
    /// When held lanes are looked at: one entry of each counts, its `timer`.
    timers: BinaryHeap<Reverse<(Instant, EndpointId)>>,
    /// Lanes with attempts in flight and when they are looked at next, in order.
    watched: VecDeque<(Instant, EndpointId)>,
    /// Every lane that was ever used, and when it is to be forgotten if it is idle, in order.
    known: VecDeque<(Instant, EndpointId)>,
}

#[derive(Debug, Default)]
struct Round {
    /// Endpoints with something to send.
    all: Turns,
    /// Those that were passed over because they had nothing but retries.
    retries: Turns,
}

impl Scheduler {
    /// Of a process with so many attempts at once. The shares are parts of 1: of the slots for endpoints that are slow or
    /// unknown, and of those for retries of endpoints with nothing else to send.
    pub(super) fn new(attempts: usize, slow_share: f64, retry_share: f64) -> Self {
        Self {
            lanes: HashMap::new(),
            rounds: Default::default(),
            budget: Budget::new(attempts, slow_share, retry_share),
            fresh_run: ((1.0 / retry_share).round() as usize).saturating_sub(1).max(1),
            queued: 0,
            now: Instant::now(),
            timers: BinaryHeap::new(),
            watched: VecDeque::new(),
            known: VecDeque::new(),
        }
    }

    /// Deliveries waiting for their turn.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Slots taken by endpoints that were slow or unknown when they took them.
    pub(super) const fn slow_in_flight(&self) -> usize {
        self.budget.not_fast()
    }

    /// Queues a delivery; `limit` is its endpoint's right now.
    pub(super) fn push(&mut self, queued: Queued, limit: Limit) {
        let endpoint = queued.delivery.endpoint;
        self.now = self.now.max(queued.at);
        self.lanes.entry(endpoint).or_default().push(queued);
        self.queued += 1;
        self.rouse(endpoint, limit);
    }

    /// What to send next, if there is a slot and an endpoint that can take it. `limit` says an endpoint's. `now` must not go
    /// back.
    pub(super) fn next(&mut self, now: Instant, limit: impl Fn(EndpointId) -> Limit) -> Option<Picked> {
        self.now = self.now.max(now);
        self.let_go(now, &limit);
        self.look(now);
        [Track::Trial, Track::Slow, Track::Fast].into_iter().find_map(|track| self.pick(track, now, &limit))
    }

    /// A turn has ended.
    #[expect(clippy::needless_pass_by_value, reason = "a slot is given back once")]
    pub(super) fn done(&mut self, slot: Slot, ended: Ended, limit: Limit) {
        let Slot { endpoint, track, is_of_share } = slot;
        self.budget.give_back(track, is_of_share);
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.end(ended, limit);
        }
        self.rouse(endpoint, limit);
    }

    /// Starts nothing for that endpoint before `until`, instead of what it was held until so far. An instant that has
    /// passed lets it go with the next [`Self::next`].
    #[cfg_attr(not(test), expect(dead_code, reason = "for rate limits and the breaker"))]
    pub(super) fn hold(&mut self, endpoint: EndpointId, until: Instant) {
        let lane = self.lanes.entry(endpoint).or_default();
        lane.held_until = Some(until);
        set_timer(&mut self.timers, endpoint, lane, until);
    }

    /// When [`Self::next`] may know more because an endpoint is held no longer or has waited long enough for a request to be
    /// full; at times it does not, and tells a later instant.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((until, _))| *until)
    }

    /// Deliveries of one endpoint that wait for their turn.
    pub(super) fn queued_for(&self, endpoint: EndpointId) -> usize {
        self.lanes.get(&endpoint).map_or(0, Lane::queued)
    }

    /// Endpoints of which deliveries wait for their turn.
    pub(super) fn waiting(&self) -> Vec<EndpointId> {
        self.lanes.iter().filter(|(_, lane)| lane.queued() > 0).map(|(endpoint, _)| *endpoint).collect()
    }

    /// Takes out everything queued for that endpoint; attempts in flight go on.
    pub(super) fn take_queue(&mut self, endpoint: EndpointId) -> Vec<Queued> {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return Vec::new() };
        let taken = lane.take();
        self.queued -= taken.len();
        if lane.is_blank() {
            self.lanes.remove(&endpoint);
        }
        taken
    }

    /// Takes out every queued delivery whose claim belongs to another owner than `owner`.
    pub(super) fn drop_foreign(&mut self, owner: ProcessId) -> Vec<ClaimedDelivery> {
        let mut dropped = Vec::new();
        for lane in self.lanes.values_mut() {
            dropped.extend(lane.take_foreign(owner).into_iter().map(|queued| queued.delivery));
        }
        self.queued -= dropped.len();
        self.lanes.retain(|_, lane| !lane.is_blank());
        dropped
    }

    /// Gives an endpoint its place in the round if it can send: after its limit has risen by something else than a push or
    /// an attempt's end.
    pub(super) fn rouse(&mut self, endpoint: EndpointId, limit: Limit) {
        let Some(lane) = self.lanes.get_mut(&endpoint) else { return };
        let track = Some(lane.pace.track());
        let is_placed = lane.place == track || (lane.retry_place == track && !lane.has_fresh());
        if is_placed || !lane.is_able(limit) {
            return;
        }
        if let Some(until) = lane.gathers_until(limit, self.now) {
            set_timer(&mut self.timers, endpoint, lane, until);
            return;
        }
        let Some(project) = lane.project() else { return };
        lane.place = track;
        self.rounds[lane.pace.track() as usize].all.push(project, endpoint);
    }

    /// What that track sends next, if it has a slot.
    fn pick(&mut self, track: Track, now: Instant, limit: &impl Fn(EndpointId) -> Limit) -> Option<Picked> {
        let others_wait = [Track::Trial, Track::Slow].iter().any(|other| !self.round(*other).is_empty());
        if !self.budget.has_room(track, others_wait) {
            return None;
        }
        loop {
            let has_share = self.budget.may_retry(track);
            // Retries of the fast have no more than their share, used by others or not: a burst of them falling due together
            // would take every slot and the machine with it. The others' budgets are small.
            let may_exceed = track != Track::Fast;
            let (turn, is_of_retries) = self.round(track).pop(has_share, may_exceed)?;
            let (endpoint, limit) = (turn.endpoint, limit(turn.endpoint));
            let found = self.begin(endpoint, track, is_of_retries, now, limit);
            let cost = found
                .as_ref()
                .map_or(0, |picked| picked.deliveries().map(|one| cost(one.event.body.len())).sum());
            self.round(track).turns(is_of_retries).pay(turn, cost);
            self.rouse(endpoint, limit);
            if found.is_some() {
                return found;
            }
        }
    }

    const fn round(&mut self, track: Track) -> &mut Round {
        &mut self.rounds[track as usize]
    }

    /// Uses a turn of that endpoint, unless it cannot send any more, or no longer in this round.
    fn begin(
        &mut self,
        endpoint: EndpointId,
        track: Track,
        is_of_retries: bool,
        now: Instant,
        limit: Limit,
    ) -> Option<Picked> {
        let lane = self.lanes.get_mut(&endpoint)?;
        let place = if is_of_retries { &mut lane.retry_place } else { &mut lane.place };
        place.take_if(|place| *place == track)?;
        let is_able = lane.is_able(limit) && lane.gathers_until(limit, now).is_none();
        if lane.pace.track() != track || !is_able {
            return None;
        }
        let may_retry = is_of_retries || self.budget.may_retry(track);
        // Beside fresh deliveries it has its share of the endpoint's turns, and none of the process's.
        let is_alone = !lane.has_fresh();
        let Some((first, is_retry)) = lane.pop(self.fresh_run, may_retry) else {
            if lane.retry_place.replace(track) != Some(track) {
                self.rounds[track as usize].retries.push(lane.project()?, endpoint);
            }
            return None;
        };
        let more = lane.pop_more(&first, self.fresh_run, limit);
        if lane.begin(now) {
            self.known.push_back((now + MEMORY, endpoint));
        }
        if !std::mem::replace(&mut lane.is_watched, true) {
            self.watched.push_back((now + GLANCE, endpoint));
        }
        self.queued -= 1 + more.len();
        let is_of_share = is_retry && is_alone;
        self.budget.take(track, is_of_share);
        Some(Picked { first, more, slot: Slot { endpoint, track, is_of_share } })
    }

    /// Lets go what was held until now.
    fn let_go(&mut self, now: Instant, limit: impl Fn(EndpointId) -> Limit) {
        while let Some(Reverse((at, endpoint))) = self.timers.peek().copied().filter(|timer| timer.0.0 <= now)
        {
            self.timers.pop();
            let Some(lane) = self.lanes.get_mut(&endpoint).filter(|lane| lane.timer == Some(at)) else {
                continue;
            };
            lane.timer = None;
            if let Some(until) = lane.held_until.filter(|until| *until > now) {
                set_timer(&mut self.timers, endpoint, lane, until);
                continue;
            }
            lane.held_until = None;
            if lane.is_blank() {
                self.lanes.remove(&endpoint);
            } else {
                self.rouse(endpoint, limit(endpoint));
            }
        }
    }

    /// Finds out whose attempts hang, and forgets whom nobody has needed for long.
    fn look(&mut self, now: Instant) {
        while let Some((_, endpoint)) = self.watched.pop_front_if(|(at, _)| *at <= now) {
            let Some(lane) = self.lanes.get_mut(&endpoint) else { continue };
            lane.look(now);
            lane.is_watched = lane.in_flight > 0;
            if lane.is_watched {
                self.watched.push_back((now + GLANCE, endpoint));
            }
        }
        while let Some((_, endpoint)) = self.known.pop_front_if(|(at, _)| *at <= now) {
            if self.lanes.get(&endpoint).is_some_and(|lane| lane.is_forgotten(now, MEMORY)) {
                self.lanes.remove(&endpoint);
            } else {
                self.known.push_back((now + MEMORY, endpoint));
            }
        }
    }
}

/// Has an endpoint looked at by then.
fn set_timer(
    timers: &mut BinaryHeap<Reverse<(Instant, EndpointId)>>,
    endpoint: EndpointId,
    lane: &mut Lane,
    at: Instant,
) {
    if lane.timer.is_none_or(|timer| at < timer) {
        lane.timer = Some(at);
        timers.push(Reverse((at, endpoint)));
    }
}

impl Round {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.retries.is_empty()
    }

    const fn turns(&mut self, is_of_retries: bool) -> &mut Turns {
        if is_of_retries { &mut self.retries } else { &mut self.all }
    }

    /// The next turn, and whether it is one of those that were passed over: they come first while retries have a share to
    /// take, and otherwise when nobody else waits, if they may then.
    fn pop(&mut self, has_share: bool, may_exceed: bool) -> Option<(Turn, bool)> {
        if has_share || (may_exceed && self.all.is_empty()) {
            let passed_over = self.retries.pop();
            if passed_over.is_some() {
                return passed_over.map(|turn| (turn, true));
            }
        }
        self.all.pop().map(|turn| (turn, false))
    }
}
