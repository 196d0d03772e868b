//! What this process holds in memory: how many deliveries, of which endpoints, and the oldest of them.
//!
//! Ingest reserves before it commits, the dispatcher releases when the outcome is recorded. Room is bounded in
//! all (count and bytes) and by endpoint, so that a slow endpoint's surplus stays in Postgres: an endpoint may hold
//! about a second of its own throughput, and a few deliveries in any case. Endpoints that are stuck leave half of the
//! memory to the others.

mod allot;
mod lane;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::{Clock, DeliveryId, EndpointId, IdGenerator, ProjectId, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use allot::allot;
use lane::{Lane, OVERDRAFT, WINDOW};

/// Bounds of what is held in memory.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Deliveries at most.
    pub deliveries: usize,
    /// Bytes of their bodies at most.
    pub bytes: usize,
}

/// How long ingest waits for room in a lane that is moving before it spills.
const PATIENCE: Duration = Duration::from_millis(200);

/// The account of what is held in memory; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    account: Mutex<Account>,
    room: Notify,
    due: Notify,
    ids: Arc<IdGenerator>,
    limits: LedgerLimits,
}

#[derive(Debug, Default)]
struct Account {
    deliveries: usize,
    bytes: usize,
    lanes: HashMap<EndpointId, Lane>,
    /// Fresh deliveries that exist in the database only as claimed by this process, or are about to.
    fresh: BTreeSet<DeliveryId>,
    /// Endpoints for which something was stored that is due at once.
    due: HashSet<EndpointId>,
}

/// What ingest wants to hand over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) endpoint: EndpointId,
    /// Attempts the endpoint takes at once; 0 when it takes none now (paused).
    pub(crate) concurrency: u16,
    /// Deliveries that share one attempt, at most.
    pub(crate) per_request: u16,
    /// What it may hold at most, by its rate limit.
    pub(crate) most: usize,
    pub(crate) bytes: usize,
    /// Whether it waits for its turn in a lane: then it needs no room now.
    pub(crate) is_laned: bool,
}

/// What is to be claimed of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimable {
    pub(crate) endpoint: EndpointId,
    pub(crate) project: ProjectId,
    /// Attempts the endpoint takes at once.
    pub(crate) concurrency: u16,
    /// Deliveries that share one attempt, at most.
    pub(crate) per_request: u16,
    /// What it may hold at most, by its rate limit.
    pub(crate) most: usize,
}

/// A delivery's id and whether there is room for it in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: DeliveryId,
    pub(crate) hand_over: bool,
}

enum Room {
    Yes,
    Soon,
    No,
}

impl Ledger {
    /// An empty account. `ids` makes the deliveries' ids.
    #[must_use]
    pub fn new(limits: LedgerLimits, ids: Arc<IdGenerator>) -> Self {
        Self {
            shared: Arc::new(Shared {
                account: Mutex::default(),
                room: Notify::new(),
                due: Notify::new(),
                ids,
                limits,
            }),
        }
    }

    /// The generator of every id this process makes.
    pub(crate) fn ids(&self) -> &IdGenerator {
        &self.shared.ids
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.shared.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives each wanted delivery an id and decides whether it is handed over or spilled. Waits a moment where room
    /// is about to come: that is the backpressure from sending to receiving.
    pub(crate) async fn reserve(&self, wanted: &[Wanted], clock: &impl Clock) -> Vec<Place> {
        let deadline = Instant::now() + PATIENCE;
        let mut places = Vec::with_capacity(wanted.len());
        while places.len() < wanted.len() {
            let room = self.shared.room.notified();
            let is_late = Instant::now() >= deadline;
            self.place(wanted, &mut places, clock.now(), is_late);
            if places.len() < wanted.len() {
                // Either something is released or the deadline passes; both lead to another look.
                let _ = tokio::time::timeout_at(deadline, room).await;
            }
        }
        places
    }

    /// Places as many as can be decided now.
    fn place(&self, wanted: &[Wanted], places: &mut Vec<Place>, at: Timestamp, is_late: bool) {
        let mut account = self.account();
        let now = Instant::now();
        for want in &wanted[places.len()..] {
            if want.is_laned {
                places.push(Place { id: self.shared.ids.delivery(at), hand_over: false });
                continue;
            }
            let hand_over = match account.room(want, &self.shared.limits, now) {
                Room::Yes => true,
                Room::Soon if !is_late => return,
                Room::Soon | Room::No => false,
            };
            // Made under the lock: `oldest` must never pass an id that is not in the account yet.
            let id = self.shared.ids.delivery(at);
            let lane = account.lanes.entry(want.endpoint).or_insert_with(|| Lane::new(now));
            if hand_over {
                lane.held += 1;
                account.deliveries += 1;
                account.bytes += want.bytes;
                account.fresh.insert(id);
            } else {
                lane.is_spilled = true;
            }
            places.push(Place { id, hand_over });
        }
    }

    /// Takes room for deliveries claimed from Postgres, up to `most` in all, and returns how many of each. Where there is not
    /// enough for all, projects and then endpoints get even parts. An endpoint that holds more than half of what it may gets
    /// none: claiming some at a time costs less than one by one.
    pub(crate) fn reserve_claims(&self, claimable: &[Claimable], most: usize) -> Vec<usize> {
        let mut account = self.account();
        let account = &mut *account;
        let (now, limits) = (Instant::now(), &self.shared.limits);
        let wants: Vec<(ProjectId, usize)> =
            claimable.iter().map(|claim| (claim.project, account.wants(claim, limits, now))).collect();
        let (deliveries, bytes) = (account.deliveries, account.bytes);
        let room = |times: usize, held: usize| {
            let is_full = bytes >= times * limits.bytes;
            if is_full { 0 } else { (times * limits.deliveries).saturating_sub(held) }
        };
        let mut granted = allot(room(1, deliveries).min(most), &wants);
        let mut sum: usize = granted.iter().sum();
        let mut over = room(2, deliveries + sum).min(most - sum);
        for ((claim, (_, want)), granted) in claimable.iter().zip(&wants).zip(&mut granted) {
            let Some(lane) = account.lanes.get_mut(&claim.endpoint) else { continue };
            let more = OVERDRAFT.saturating_sub(lane.held + *granted).min(want - *granted).min(over);
            *granted += more;
            (over, sum) = (over - more, sum + more);
            lane.held += *granted;
        }
        account.deliveries += sum;
        granted
    }

    /// Adds the bytes of claimed deliveries, known only once they are loaded.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.account().bytes += bytes;
    }

    /// Takes room for one more delivery of an endpoint that has given back as much just now.
    pub(crate) fn take(&self, endpoint: EndpointId, bytes: usize) {
        let mut account = self.account();
        let now = Instant::now();
        account.lanes.entry(endpoint).or_insert_with(|| Lane::new(now)).held += 1;
        account.deliveries += 1;
        account.bytes += bytes;
    }

    /// Something that this process stored may be due at once, for these endpoints.
    pub(crate) fn stored_due(&self, endpoints: impl Iterator<Item = EndpointId>) {
        self.account().due.extend(endpoints);
        self.shared.due.notify_one();
    }

    /// Completes with the endpoints for which something was stored that is due at once, since the last time it did.
    pub(crate) async fn due(&self) -> HashSet<EndpointId> {
        self.shared.due.notified().await;
        std::mem::take(&mut self.account().due)
    }

    /// Gives back room that was reserved and not used.
    pub(crate) fn unreserve_claims(&self, endpoint: EndpointId, count: usize) {
        let mut account = self.account();
        if let Some(lane) = account.lanes.get_mut(&endpoint) {
            lane.held = lane.held.saturating_sub(count);
        }
        account.deliveries = account.deliveries.saturating_sub(count);
        drop(account);
        self.shared.room.notify_waiters();
    }

    /// A delivery is no longer held. `is_done` when it went through the endpoint, which is what its pace counts.
    pub(crate) fn release(&self, id: DeliveryId, endpoint: EndpointId, bytes: usize, is_done: bool) {
        let mut account = self.account();
        let now = Instant::now();
        account.fresh.remove(&id);
        account.deliveries = account.deliveries.saturating_sub(1);
        account.bytes = account.bytes.saturating_sub(bytes);
        if let Some(lane) = account.lanes.get_mut(&endpoint) {
            lane.held = lane.held.saturating_sub(1);
            if is_done {
                lane.moved(now);
            }
            let is_idle = lane.held == 0
                && !lane.is_spilled
                && !lane.is_bound(now)
                && now.duration_since(lane.window_start) > 4 * WINDOW;
            if is_idle {
                account.lanes.remove(&endpoint);
            }
        }
        drop(account);
        self.shared.room.notify_waiters();
    }

    /// Gives back the room of a delivery whose outcome nobody recorded. If it was fresh, [`Self::oldest`] still stands at
    /// it: the successor of this process has to find it.
    pub(crate) fn abandon(&self, id: DeliveryId, endpoint: EndpointId, bytes: usize) {
        let is_fresh = self.account().fresh.contains(&id);
        self.release(id, endpoint, bytes, false);
        if is_fresh {
            self.account().fresh.insert(id);
        }
    }

    /// A fresh delivery failed and waits in Postgres, where everybody can see it.
    pub(crate) fn spilled(&self, endpoints: impl Iterator<Item = EndpointId>, is_spilled: bool) {
        let mut account = self.account();
        for endpoint in endpoints {
            if let Some(lane) = account.lanes.get_mut(&endpoint) {
                lane.is_spilled = is_spilled;
            }
        }
    }

    /// Lets an endpoint hold no more than `cap` from now on; with 0 everything new waits in Postgres, with `None` it may hold
    /// what its pace allows.
    pub(crate) fn cap(&self, endpoint: EndpointId, cap: Option<usize>) {
        self.bind(endpoint, cap.is_some(), |lane| lane.cap = cap);
    }

    /// Lets an endpoint hold nothing more until then; `None` ends that.
    pub(crate) fn shut(&self, endpoint: EndpointId, until: Option<Instant>) {
        self.bind(endpoint, until.is_some(), |lane| lane.shut_until = until);
    }

    fn bind(&self, endpoint: EndpointId, is_bound: bool, change: impl FnOnce(&mut Lane)) {
        let mut account = self.account();
        if is_bound {
            change(account.lanes.entry(endpoint).or_insert_with(|| Lane::new(Instant::now())));
        } else if let Some(lane) = account.lanes.get_mut(&endpoint) {
            change(lane);
        }
        drop(account);
        self.shared.room.notify_waiters();
    }

    /// Endpoints of which some deliveries were spilled to Postgres by this process and may still wait there.
    pub(crate) fn spilled_lanes(&self) -> Vec<EndpointId> {
        self.account().lanes.iter().filter(|(_, lane)| lane.is_spilled).map(|(id, _)| *id).collect()
    }

    /// The smallest id of a fresh delivery this process holds or may yet make.
    pub(crate) fn oldest(&self) -> DeliveryId {
        let account = self.account();
        let next = DeliveryId::from_u128(self.shared.ids.watermark());
        account.fresh.first().copied().map_or(next, |oldest| oldest.min(next))
    }

    /// Deliveries held and the bytes of their bodies.
    #[must_use]
    pub fn held(&self) -> (usize, usize) {
        let account = self.account();
        (account.deliveries, account.bytes)
    }

    /// Completes when room was released since the call was made.
    pub(crate) async fn released(&self) {
        self.shared.room.notified().await;
    }
}

impl Account {
    const fn is_half_full(&self, limits: &LedgerLimits) -> bool {
        2 * self.deliveries >= limits.deliveries || 2 * self.bytes >= limits.bytes
    }

    /// How many more deliveries of an endpoint are worth claiming.
    fn wants(&mut self, claim: &Claimable, limits: &LedgerLimits, now: Instant) -> usize {
        let is_half_full = self.is_half_full(limits);
        let lane = self.lanes.entry(claim.endpoint).or_insert_with(|| Lane::new(now));
        let capacity = lane
            .capacity(claim.concurrency, claim.per_request, is_half_full, now)
            .min(lane.allowed(claim.most, now));
        if 2 * lane.held > capacity { 0 } else { capacity - lane.held }
    }

    fn room(&mut self, want: &Wanted, limits: &LedgerLimits, now: Instant) -> Room {
        if want.concurrency == 0 {
            return Room::No;
        }
        let is_half_full = self.is_half_full(limits);
        let lane = self.lanes.entry(want.endpoint).or_insert_with(|| Lane::new(now));
        let ordinary = lane.capacity(want.concurrency, want.per_request, is_half_full, now);
        let allowed = lane.allowed(want.most, now);
        if lane.is_spilled || allowed == 0 {
            return Room::No;
        }
        let is_full = self.deliveries >= limits.deliveries || self.bytes + want.bytes > limits.bytes;
        let is_over = self.deliveries >= 2 * limits.deliveries || self.bytes + want.bytes > 2 * limits.bytes;
        let capacity = match () {
            // One body larger than the whole budget still passes, alone.
            () if self.deliveries == 0 => ordinary,
            () if is_over => 0,
            () if is_full => OVERDRAFT,
            () => ordinary,
        };
        if lane.held < capacity.min(allowed) {
            Room::Yes
        } else if lane.held < allowed && lane.is_moving(now) {
            Room::Soon
        } else {
            Room::No
        }
    }
}
