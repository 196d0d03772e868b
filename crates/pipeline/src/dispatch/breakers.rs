//! Circuit breakers: what this process counts of each endpoint, and what the fleet's breakers let it send.
//!
//! An attempt costs one look-up and an addition in memory. Only where an endpoint looks sick to this process, or another
//! one asks, its counts go to the board, about once a second ([`board`]). What is open is neither claimed nor taken into
//! memory (`Ledger::cap`), so what waits for it waits in Postgres. The process that probes sends a few and concludes.
//!
//! Pure: time is a parameter. Invariant: an attempt is a probe only if it began as one.

pub(super) mod board;
mod ring;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use longshore_core::breaker::{self, BreakerSettings, BreakerState, Shift};
use longshore_core::endpoint::EndpointStatus;
use longshore_core::ports::{Breaker, BreakerCount, BreakerShift};
use longshore_core::{AttemptOutcome, Endpoint, EndpointId, Snapshot};
use tokio::time::Instant;

use board::{News, Order};
use ring::Ring;

/// A prober that has sent everything there was concludes after so much quiet.
const QUIET: Duration = Duration::from_secs(2);
/// A breaker has closed just now if nobody need have counted under it yet.
const JUST: Duration = Duration::from_secs(10);
/// A prober concludes so long before its time is over, with what it has.
const MARGIN: Duration = Duration::from_secs(1);

/// The breakers as one process sees them. Who is in none of its tables is closed.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    rings: HashMap<EndpointId, Ring>,
    /// Endpoints whose counts may have to go to the board.
    suspects: HashSet<EndpointId>,
    known: HashMap<EndpointId, Known>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    stance: Stance,
}

/// What this process does about a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stance {
    /// Sends, and counts for all to see.
    Watches,
    /// Sends nothing.
    Parks,
    /// Sends a few and concludes.
    Probes(Probe),
    /// Sends more and more, since then.
    Ramps(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probe {
    sent: u32,
    ended: u32,
    /// Of those that ended, the ones that were made.
    counted: u32,
    failures: u32,
    last: Instant,
    until: Instant,
    is_concluded: bool,
}

/// Whether an attempt is a probe, and of which version of its breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probing(Option<i64>);

/// The settings that apply to an endpoint: none where it is gone, switched off or its project wants no breaker.
fn settings(snapshot: &Snapshot, endpoint: EndpointId) -> Option<(&Endpoint, &BreakerSettings, bool)> {
    let endpoint =
        snapshot.endpoint(endpoint).filter(|endpoint| endpoint.status == EndpointStatus::Active)?;
    let project = &snapshot.project(endpoint.project)?.settings;
    let settings = &project.circuit_breaker;
    settings.enabled.then_some((endpoint, settings, project.disable_endpoint))
}

impl Probing {
    /// Whether the attempt is a probe.
    pub(super) const fn is_probe(self) -> bool {
        self.0.is_some()
    }
}

impl Breakers {
    /// How many attempts the endpoint may have at once, out of `most`.
    pub(super) fn limit(
        &self,
        endpoint: EndpointId,
        most: usize,
        snapshot: &Snapshot,
        now: Instant,
    ) -> usize {
        // The usual case costs one look-up in a small table, or none.
        if self.known.is_empty() {
            return most;
        }
        self.bound(endpoint, most, snapshot, now).unwrap_or(most)
    }

    fn bound(&self, endpoint: EndpointId, most: usize, snapshot: &Snapshot, now: Instant) -> Option<usize> {
        let known = self.known.get(&endpoint)?;
        let (_, settings, _) = settings(snapshot, endpoint)?;
        match known.stance {
            Stance::Watches => None,
            Stance::Parks => Some(0),
            Stance::Probes(probe) => {
                let is_done = probe.is_concluded || probe.sent >= settings.probes.into();
                Some(if is_done { 0 } else { most.min(settings.probes.into()) })
            }
            Stance::Ramps(since) => settings.ramped(now.duration_since(since), most),
        }
    }

    /// How many deliveries of the endpoint may be in memory; `None` for what its pace allows.
    pub(super) fn cap(&self, endpoint: EndpointId, snapshot: &Snapshot, now: Instant) -> Option<usize> {
        let most = snapshot.endpoint(endpoint)?.max_concurrency;
        let bound = self.bound(endpoint, most.into(), snapshot, now)?;
        Some(match self.known.get(&endpoint)?.stance {
            Stance::Ramps(_) => 2 * bound,
            _ => bound,
        })
    }

    /// Whether there is a breaker that has something to say.
    pub(super) fn is_known(&self, endpoint: EndpointId) -> bool {
        self.known.contains_key(&endpoint)
    }

    /// An attempt begins.
    pub(super) fn began(&mut self, endpoint: EndpointId) -> Probing {
        match self.known.get_mut(&endpoint) {
            Some(Known { breaker, stance: Stance::Probes(probe) }) => {
                probe.sent += 1;
                Probing(Some(breaker.version))
            }
            _ => Probing(None),
        }
    }

    /// An attempt has ended, or was not made after all.
    pub(super) fn ended(
        &mut self,
        endpoint: EndpointId,
        outcome: Option<&AttemptOutcome>,
        probing: Probing,
        snapshot: &Snapshot,
        now: Instant,
    ) {
        let is_failure = outcome.and_then(breaker::is_failure);
        if let Probing(Some(version)) = probing {
            self.probed(endpoint, version, outcome.is_some(), is_failure == Some(true), now);
        } else if let Some(is_failure) = is_failure {
            self.count(endpoint, is_failure, snapshot, now);
        }
    }

    fn count(&mut self, endpoint: EndpointId, is_failure: bool, snapshot: &Snapshot, now: Instant) {
        if let Some(ring) = self.rings.get_mut(&endpoint).filter(|_| !is_failure) {
            ring.add(false, now);
            return;
        }
        let Some((_, settings, _)) = settings(snapshot, endpoint) else { return };
        let window = settings.observability_window.0;
        let ring = self.rings.entry(endpoint).or_insert_with(|| Ring::new(window, now));
        ring.add(is_failure, now);
        if is_failure {
            self.suspects.insert(endpoint);
        }
    }

    /// A probe that brought an answer which tells nothing, such as a `429`, brought an answer: it is no failure.
    fn probed(&mut self, endpoint: EndpointId, version: i64, is_made: bool, is_failure: bool, now: Instant) {
        if let Some(Known { breaker, stance: Stance::Probes(probe) }) = self.known.get_mut(&endpoint)
            && breaker.version == version
        {
            probe.ended += 1;
            probe.counted += u32::from(is_made);
            probe.failures += u32::from(is_failure);
            probe.last = now;
        }
    }

    /// Takes what the board says and returns the endpoints whose breakers are others than before.
    pub(super) fn learn(&mut self, news: News) -> Vec<EndpointId> {
        let mut changed = Vec::new();
        for (breaker, is_mine) in news.breakers {
            let endpoint = breaker.endpoint;
            let before = self.known.get(&endpoint).map(|known| known.breaker);
            if before.is_some_and(|before| before.version >= breaker.version) {
                continue;
            }
            let stance = match (breaker.state, breaker.closed_for) {
                (BreakerState::Closed, None) => Stance::Watches,
                (BreakerState::Closed, Some(closed_for)) => {
                    Stance::Ramps(news.at.checked_sub(closed_for).unwrap_or(news.at))
                }
                (BreakerState::HalfOpen, _) if is_mine => Stance::Probes(Probe {
                    sent: 0,
                    ended: 0,
                    counted: 0,
                    failures: 0,
                    last: news.at,
                    until: news.at + breaker.until_in,
                    is_concluded: false,
                }),
                (BreakerState::Open | BreakerState::HalfOpen, _) => Stance::Parks,
            };
            let is_closed = |breaker: Breaker| breaker.state == BreakerState::Closed;
            let has_just_closed = breaker.closed_for.is_some_and(|closed| closed < JUST);
            if !is_closed(breaker) || has_just_closed || before.is_some_and(|before| !is_closed(before)) {
                // What was counted before says nothing about it now.
                self.rings.remove(&endpoint);
            }
            if is_closed(breaker) {
                self.suspects.insert(endpoint);
            }
            self.known.insert(endpoint, Known { breaker, stance });
            changed.push(endpoint);
        }
        // What nobody has any failures of, nobody needs to watch.
        for (endpoint, version) in news.recovered {
            let is_same = |known: &Known| known.breaker.version == version && known.stance == Stance::Watches;
            if self.known.get(&endpoint).is_some_and(is_same) {
                self.suspects.remove(&endpoint);
                self.known.remove(&endpoint);
            }
        }
        changed
    }

    /// What a probe has shown, where it is over.
    pub(super) fn conclude(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<BreakerShift> {
        let mut shifts = Vec::new();
        for (endpoint, known) in &mut self.known {
            let Stance::Probes(probe) = &mut known.stance else { continue };
            let Some((_, settings, may_disable)) = settings(snapshot, *endpoint) else { continue };
            let is_over = probe.ended >= settings.probes.into()
                || (probe.ended == probe.sent && now >= probe.last + QUIET)
                || now + MARGIN >= probe.until;
            if probe.is_concluded || !is_over {
                continue;
            }
            let trips = known.breaker.trips;
            if let Some(shift) = settings.conclude(probe.counted, probe.failures, trips, may_disable) {
                probe.is_concluded = true;
                shifts.push(BreakerShift { endpoint: *endpoint, version: known.breaker.version, shift });
            } else if now >= probe.until {
                // Nothing came of it; whoever finds something to send probes next.
                known.stance = Stance::Parks;
            }
        }
        shifts
    }

    /// What the board has to be told, about once a second; and endpoints whose bounds have moved by time alone.
    pub(super) fn tick(&mut self, snapshot: &Snapshot, now: Instant) -> (Order, Vec<EndpointId>) {
        let mut order = Order { shifts: self.conclude(snapshot, now), ..Order::default() };
        let (rings, known) = (&mut self.rings, &self.known);
        self.suspects.retain(|endpoint| {
            let Some((found, settings, _)) = settings(snapshot, *endpoint) else { return false };
            let (requests, failures) = rings.get_mut(endpoint).map_or((0, 0), |ring| ring.sum(now));
            match known.get(endpoint) {
                Some(Known { breaker, stance: Stance::Watches | Stance::Ramps(_) }) => {
                    let version = breaker.version;
                    order.counts.push(BreakerCount { endpoint: *endpoint, version, requests, failures });
                    true
                }
                Some(_) => failures > 0,
                None => {
                    if settings.is_suspicious(requests, failures) {
                        order.watch.push((*endpoint, found.project));
                    }
                    failures > 0
                }
            }
        });
        let ramping: Vec<EndpointId> = self
            .known
            .iter()
            .filter(|(_, known)| !matches!(known.stance, Stance::Watches | Stance::Parks))
            .map(|(endpoint, _)| *endpoint)
            .collect();
        for known in self.known.values_mut() {
            if let Stance::Ramps(since) = known.stance {
                let project = snapshot.project(known.breaker.project);
                let ramp = project.map_or(Duration::ZERO, |found| found.settings.circuit_breaker.ramp.0);
                if now.duration_since(since) >= ramp {
                    known.stance = Stance::Watches;
                }
            }
        }
        (order, ramping)
    }

    /// Forgets counts of endpoints that nothing was sent to for long.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.rings.retain(|_, ring| ring.sum(now).0 > 0);
    }

    /// Every endpoint with a breaker.
    pub(super) fn endpoints(&self) -> Vec<EndpointId> {
        self.known.keys().copied().collect()
    }

    /// Breakers in each state, as this process knows them.
    pub(super) fn counts(&self) -> [(BreakerState, usize); 3] {
        [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen]
            .map(|state| (state, self.known.values().filter(|known| known.breaker.state == state).count()))
    }
}

/// The shift that begins a probe: its prober has time for two rounds of attempts that hang.
fn probe(endpoint: &Endpoint) -> Shift {
    Shift::Probe(2 * endpoint.http_timeout + Duration::from_secs(10))
}
