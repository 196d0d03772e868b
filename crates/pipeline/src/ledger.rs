//! What this process holds in memory: how many deliveries, of which endpoints, and the oldest of them.
//!
//! Ingest reserves before it commits, the dispatcher releases when the outcome is recorded. Room is bounded in
//! all (count and bytes) and by endpoint, so that a slow endpoint's surplus stays in Postgres: an endpoint may hold
//! about a second of its own throughput, and a few deliveries in any case.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::{Clock, DeliveryId, EndpointId, IdGenerator, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bounds of what is held in memory.
#[derive(Clone, Copy, Debug)]
pub struct LedgerLimits {
    /// Deliveries at most.
    pub deliveries: usize,
    /// Bytes of their bodies at most.
    pub bytes: usize,
}

/// An endpoint's throughput is measured over windows of this length.
const WINDOW: Duration = Duration::from_millis(250);
/// Windows of its own throughput that an endpoint may hold.
const WINDOWS_HELD: usize = 4;
/// Most deliveries one endpoint may hold.
const LANE_MOST: usize = 4_096;
/// What an endpoint may hold whose pace is not known, or that does not move. A burst to an idle endpoint fits; a
/// hundred hanging endpoints do not fill the memory.
const LANE_LEAST: usize = 32;
/// What an endpoint may hold although memory is full: a healthy endpoint goes on, however many hanging ones fill it. Up to
/// twice the limits: the overdrafts of a thousand endpoints are no bound.
const OVERDRAFT: usize = 4;
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
}

#[derive(Debug)]
struct Lane {
    held: usize,
    since: Instant,
    window_start: Instant,
    done_now: usize,
    done_before: usize,
    /// Some of its deliveries wait in Postgres: until those are through, new ones queue up behind them.
    is_spilled: bool,
}

impl Lane {
    fn new(now: Instant) -> Self {
        Self { held: 0, since: now, window_start: now, done_now: 0, done_before: 0, is_spilled: false }
    }

    fn turn_window(&mut self, now: Instant) {
        let passed = now.duration_since(self.window_start);
        if passed >= WINDOW {
            self.done_before = if passed < 2 * WINDOW { self.done_now } else { 0 };
            self.done_now = 0;
            self.window_start = now;
        }
    }

    fn capacity(&self, concurrency: u16) -> usize {
        let pace = self.done_before.max(self.done_now) * WINDOWS_HELD;
        pace.max(LANE_LEAST.min(2 * usize::from(concurrency))).min(LANE_MOST)
    }

    /// Whether room is about to come: something went through lately, or it is too early to tell.
    fn is_moving(&self, now: Instant) -> bool {
        self.done_before.max(self.done_now) > 0 || now.duration_since(self.since) < PATIENCE
    }
}

/// What ingest wants to hand over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) endpoint: EndpointId,
    /// Attempts the endpoint takes at once; 0 when it takes none now (paused).
    pub(crate) concurrency: u16,
    pub(crate) bytes: usize,
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
        Self { shared: Arc::new(Shared { account: Mutex::default(), room: Notify::new(), ids, limits }) }
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

    /// Room for deliveries claimed from Postgres: takes up to `max` and returns how many.
    pub(crate) fn reserve_claims(&self, endpoint: EndpointId, concurrency: u16, max: usize) -> usize {
        let mut account = self.account();
        let now = Instant::now();
        let free = self.shared.limits.deliveries.saturating_sub(account.deliveries);
        if account.bytes >= self.shared.limits.bytes {
            return 0;
        }
        let lane = account.lanes.entry(endpoint).or_insert_with(|| Lane::new(now));
        lane.turn_window(now);
        let taken = lane.capacity(concurrency).saturating_sub(lane.held).min(free).min(max);
        lane.held += taken;
        account.deliveries += taken;
        taken
    }

    /// Adds the bytes of claimed deliveries, known only once they are loaded.
    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.account().bytes += bytes;
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
                lane.turn_window(now);
                lane.done_now += 1;
            }
            let is_idle =
                lane.held == 0 && !lane.is_spilled && now.duration_since(lane.window_start) > 4 * WINDOW;
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
    fn room(&mut self, want: &Wanted, limits: &LedgerLimits, now: Instant) -> Room {
        if want.concurrency == 0 {
            return Room::No;
        }
        let lane = self.lanes.entry(want.endpoint).or_insert_with(|| Lane::new(now));
        lane.turn_window(now);
        if lane.is_spilled {
            return Room::No;
        }
        let is_full = self.deliveries >= limits.deliveries || self.bytes + want.bytes > limits.bytes;
        let is_over = self.deliveries >= 2 * limits.deliveries || self.bytes + want.bytes > 2 * limits.bytes;
        let capacity = match () {
            // One body larger than the whole budget still passes, alone.
            () if self.deliveries == 0 => lane.capacity(want.concurrency),
            () if is_over => 0,
            () if is_full => OVERDRAFT,
            () => lane.capacity(want.concurrency),
        };
        if lane.held < capacity {
            Room::Yes
        } else if lane.is_moving(now) {
            Room::Soon
        } else {
            Room::No
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::SystemClock;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const A: EndpointId = EndpointId::from_u128(1);
    const B: EndpointId = EndpointId::from_u128(2);

    fn ledger(deliveries: usize) -> Ledger {
        let ids = Arc::new(IdGenerator::new(Timestamp::EPOCH, StdRng::seed_from_u64(1)));
        Ledger::new(LedgerLimits { deliveries, bytes: 1_000_000 }, ids)
    }

    fn want(endpoint: EndpointId) -> Wanted {
        Wanted { endpoint, concurrency: 5, bytes: 10 }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_does_not_move_spills_after_one_wait_and_leaves_others_alone() {
        let ledger = ledger(1_000);
        let start = Instant::now();

        let places = ledger.reserve(&[want(A); 30], &SystemClock).await;
        assert_eq!(places.iter().filter(|place| place.hand_over).count(), 10);
        assert_eq!(start.elapsed(), PATIENCE);

        let more = ledger.reserve(&[want(A), want(B)], &SystemClock).await;
        assert_eq!([more[0].hand_over, more[1].hand_over], [false, true]);
        assert_eq!(start.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_spilled_lane_stays_spilled_until_told() {
        let ledger = ledger(1_000);
        let places = ledger.reserve(&[want(A); 11], &SystemClock).await;
        for place in places.iter().filter(|place| place.hand_over) {
            ledger.release(place.id, A, 10, true);
        }

        assert!(!ledger.reserve(&[want(A)], &SystemClock).await[0].hand_over);
        assert_eq!(ledger.spilled_lanes(), [A]);
        ledger.spilled([A].into_iter(), false);
        assert!(ledger.reserve(&[want(A)], &SystemClock).await[0].hand_over);
    }

    #[tokio::test(start_paused = true)]
    async fn ingest_waits_for_a_lane_that_moves() {
        let ledger = ledger(1_000);
        let first = ledger.reserve(&[want(A); 10], &SystemClock).await;
        ledger.release(first[0].id, A, 10, true);
        let waiting = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.reserve(&[want(A); 2], &SystemClock).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        ledger.release(first[1].id, A, 10, true);

        assert!(waiting.await.unwrap().iter().all(|place| place.hand_over));
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_never_passes_what_is_held() {
        let ledger = ledger(1_000);
        let places = ledger.reserve(&[want(A); 3], &SystemClock).await;

        assert_eq!(ledger.oldest(), places[0].id);
        ledger.release(places[0].id, A, 10, true);
        assert_eq!(ledger.oldest(), places[1].id);
        ledger.release(places[1].id, A, 10, true);
        ledger.release(places[2].id, A, 10, true);
        let oldest = ledger.oldest();
        assert!(oldest > places[2].id);
        assert!(ledger.reserve(&[want(A)], &SystemClock).await[0].id >= oldest);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_in_all_but_for_a_few_of_each_endpoint() {
        let ledger = ledger(8);

        let hanging = ledger.reserve(&[want(A); 20], &SystemClock).await;
        let healthy = ledger.reserve(&[want(B); 20], &SystemClock).await;

        assert_eq!(hanging.iter().filter(|place| place.hand_over).count(), 8);
        assert_eq!(healthy.iter().filter(|place| place.hand_over).count(), OVERDRAFT);
        assert_eq!(ledger.held().0, 8 + OVERDRAFT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_overdrafts_of_many_endpoints_end_at_twice_the_limits() {
        let ledger = ledger(8);
        let wanted: Vec<Wanted> = (1..=100).map(|id| want(EndpointId::from_u128(id))).collect();

        let places = ledger.reserve(&wanted, &SystemClock).await;
        assert_eq!(places.iter().filter(|place| place.hand_over).count(), 16);

        let large = Wanted { bytes: 1_500_000, ..want(A) };
        let alone = Ledger::new(ledger.shared.limits, Arc::clone(&ledger.shared.ids));
        let places = alone.reserve(&[large, large, large], &SystemClock).await;
        assert_eq!([true, false, false], [0, 1, 2].map(|at: usize| places[at].hand_over));
    }
}
