//! Rate limits of endpoints: which of this process's slots an attempt may use, and when more are asked for.
//!
//! The timeline of an endpoint is the fleet's (`core::ports::RateLanes`); a process takes a slice of it, about a second's
//! worth and no more than it has queued, and asks for the next one before it runs out. A slot is an instant: it may be used
//! from then on for a moment ([`RateLimit::lateness`]) and lapses after that, so the limit holds in every window and
//! sending is smooth. Without slots an endpoint's deliveries wait; while Postgres is away nothing is sent to it, since
//! nothing could be recorded either.
//!
//! Pure: time is a parameter, asking is done by [`slices`]. Invariant: one request per endpoint is under way at most.

pub(super) mod slices;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use longshore_core::endpoint::EndpointSettings;
use longshore_core::ports::{SlotAsk, SlotGrant};
use longshore_core::{EndpointId, RateLimit};
use tokio::time::Instant;

/// How much is taken at once.
const SLICE: Duration = Duration::from_secs(1);
/// The next slice is asked for when what is left lasts no longer.
const AHEAD: Duration = Duration::from_millis(300);
/// No slot is taken that is further ahead: what waits in memory for its slot must not lose its claim.
pub(super) const HORIZON: Duration = Duration::from_secs(5);
/// How long after a failure the next request is made.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// What has to wait longer for a slot waits in Postgres.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds' worth of its rate that an endpoint may have in memory.
const HELD: Duration = Duration::from_secs(2);

/// The most deliveries of an endpoint with these settings that are held in memory.
pub(crate) fn most_held(settings: &EndpointSettings) -> usize {
    let each = usize::from(settings.events_per_request());
    settings.rate_limit.map_or(usize::MAX, |limit| each * limit.slots_in(HELD) as usize)
}

/// The slots of one process.
#[derive(Debug, Default)]
pub(super) struct Rates {
    lanes: HashMap<EndpointId, Lane>,
    /// When each lane with something queued is looked at.
    reviews: BTreeSet<(Instant, EndpointId)>,
}

#[derive(Debug)]
struct Lane {
    limit: RateLimit,
    slices: VecDeque<Slice>,
    is_asking: bool,
    /// There is no use in asking before then.
    ask_at: Instant,
    review_at: Option<Instant>,
}

/// Slots at even distances.
#[derive(Clone, Copy, Debug)]
struct Slice {
    next: Instant,
    left: u32,
}

/// What became of an endpoint that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Review {
    /// There is a slot right now.
    Ready,
    /// There will be one.
    Waits,
    /// More slots are needed.
    Ask(SlotAsk),
    /// There will be none for so long: what is queued should wait elsewhere.
    Far(Instant),
}

impl Rates {
    /// Whether an endpoint with a limit has a slot right now.
    pub(super) fn has_slot(&self, endpoint: EndpointId, now: Instant) -> bool {
        self.lanes.get(&endpoint).is_some_and(|lane| lane.usable(now).is_some())
    }

    /// Uses a slot. Tell [`Self::review`] afterwards.
    pub(super) fn take(&mut self, endpoint: EndpointId, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&endpoint) {
            lane.lapse(now);
            lane.pop();
        }
    }

    /// Looks at an endpoint with that limit and so many requests queued: after a push, an attempt's start, a grant, and when
    /// [`Self::due`] says so.
    pub(super) fn review(
        &mut self,
        endpoint: EndpointId,
        limit: RateLimit,
        queued: usize,
        now: Instant,
    ) -> Review {
        let lane = self.lanes.entry(endpoint).or_insert_with(|| Lane::new(limit, now));
        if lane.limit != limit {
            *lane = Lane { is_asking: lane.is_asking, review_at: lane.review_at, ..Lane::new(limit, now) };
        }
        lane.lapse(now);
        let review = lane.review(endpoint, queued, now);
        let at = if queued == 0 { None } else { lane.next_review(now) };
        let before = std::mem::replace(&mut lane.review_at, at);
        if before != at {
            if let Some(before) = before {
                self.reviews.remove(&(before, endpoint));
            }
            self.reviews.extend(at.map(|at| (at, endpoint)));
        }
        review
    }

    /// Takes what a request brought; `at` is after the call. Tell [`Self::review`] afterwards.
    pub(super) fn granted(&mut self, ask: SlotAsk, grant: Option<SlotGrant>, at: Instant) {
        let Some(lane) = self.lanes.get_mut(&ask.endpoint) else { return };
        lane.is_asking = false;
        if lane.limit.spacing() != ask.spacing {
            return;
        }
        match grant {
            None => lane.ask_at = at + AFTER_FAILURE,
            Some(SlotGrant { count: 0, starts_in, .. }) => {
                lane.ask_at = at + starts_in.saturating_sub(HORIZON) + Duration::from_millis(1);
            }
            Some(SlotGrant { count, starts_in, .. }) => {
                lane.slices.push_back(Slice { next: at + starts_in, left: count });
            }
        }
    }

    /// Forgets an endpoint that has no limit any more; whether it had one.
    pub(super) fn forget(&mut self, endpoint: EndpointId) -> bool {
        let Some(lane) = self.lanes.remove(&endpoint) else { return false };
        if let Some(at) = lane.review_at {
            self.reviews.remove(&(at, endpoint));
        }
        true
    }

    /// Forgets endpoints that have no slots and wait for none.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.lanes.retain(|_, lane| {
            lane.lapse(now);
            lane.is_asking || lane.review_at.is_some() || !lane.slices.is_empty() || lane.ask_at > now
        });
    }

    /// The limit that the endpoint was looked at with last.
    pub(super) fn limit(&self, endpoint: EndpointId) -> Option<RateLimit> {
        self.lanes.get(&endpoint).map(|lane| lane.limit)
    }

    /// Endpoints with a lane.
    pub(super) fn endpoints(&self) -> Vec<EndpointId> {
        self.lanes.keys().copied().collect()
    }

    /// Endpoints that are to be looked at now.
    pub(super) fn due(&self, now: Instant) -> Vec<EndpointId> {
        self.reviews.iter().take_while(|(at, _)| *at <= now).map(|(_, endpoint)| *endpoint).collect()
    }

    /// When [`Self::due`] has something.
    pub(super) fn next_review(&self) -> Option<Instant> {
        self.reviews.first().map(|(at, _)| *at)
    }
}

impl Lane {
    const fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, slices: VecDeque::new(), is_asking: false, ask_at: now, review_at: None }
    }

    /// The first slot that can be used now.
    fn usable(&self, now: Instant) -> Option<Instant> {
        let slots = self.slices.iter().filter_map(|slice| slice.first_after(now, self.limit));
        slots.min().filter(|at| *at <= now)
    }

    /// Drops slots that have lapsed.
    fn lapse(&mut self, now: Instant) {
        let (spacing, lateness) = (self.limit.spacing(), self.limit.lateness());
        let mut lapsed = 0;
        while let Some(slice) = self.slices.front_mut() {
            let late = now.saturating_duration_since(slice.next + lateness);
            if !late.is_zero() {
                let gone = late.as_nanos().div_ceil(spacing.as_nanos().max(1));
                let gone = u32::try_from(gone).unwrap_or(u32::MAX).min(slice.left);
                slice.next += spacing * gone;
                slice.left -= gone;
                lapsed += u64::from(gone);
            }
            if slice.left > 0 {
                break;
            }
            self.slices.pop_front();
        }
        if lapsed > 0 {
            metrics::counter!("dispatch_rate_slots_lapsed_total").increment(lapsed);
        }
    }

    fn pop(&mut self) {
        let Some(slice) = self.slices.front_mut() else { return };
        slice.next += self.limit.spacing();
        slice.left -= 1;
        if slice.left == 0 {
            self.slices.pop_front();
        }
    }

    fn review(&mut self, endpoint: EndpointId, queued: usize, now: Instant) -> Review {
        let left: u32 = self.slices.iter().map(|slice| slice.left).sum();
        let missing = queued.saturating_sub(left as usize);
        let lasts = self.limit.spacing() * left;
        if missing > 0 && lasts <= AHEAD && !self.is_asking && self.ask_at <= now {
            self.is_asking = true;
            let most = self.limit.slots_in(SLICE);
            let count = u32::try_from(missing).unwrap_or(most).min(most);
            return Review::Ask(SlotAsk { endpoint, spacing: self.limit.spacing(), count });
        }
        if queued > 0 && left == 0 && self.ask_at > now + PATIENCE {
            return Review::Far(self.ask_at);
        }
        if self.usable(now).is_some() { Review::Ready } else { Review::Waits }
    }

    /// When something is different by time alone.
    fn next_review(&self, now: Instant) -> Option<Instant> {
        let slot = self.slices.front().map(|slice| {
            // Either it is used before it lapses, or the next one counts.
            if slice.next > now {
                slice.next
            } else {
                slice.next + self.limit.lateness() + Duration::from_millis(1)
            }
        });
        let ask = (!self.is_asking && self.ask_at > now).then_some(self.ask_at);
        [slot, ask].into_iter().flatten().min()
    }
}

impl Slice {
    /// Its first slot that has not lapsed.
    fn first_after(&self, now: Instant, limit: RateLimit) -> Option<Instant> {
        let late = now.saturating_duration_since(self.next + limit.lateness());
        let gone = late.as_nanos().div_ceil(limit.spacing().as_nanos().max(1));
        let gone = u32::try_from(gone).ok().filter(|gone| *gone < self.left)?;
        Some(self.next + limit.spacing() * gone)
    }
}
