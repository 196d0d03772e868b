//! What is held of one endpoint, and how fast it takes it.

use std::time::Duration;

use tokio::time::Instant;

use super::PATIENCE;

/// An endpoint's throughput is measured over windows of this length.
pub(super) const WINDOW: Duration = Duration::from_millis(250);
/// Windows of its own throughput that an endpoint may hold.
const WINDOWS_HELD: usize = 4;
/// Most deliveries one endpoint may hold.
const LANE_MOST: usize = 4_096;
/// What an endpoint may hold whose pace is not known, or that does not move. A burst to an idle endpoint fits; a
/// hundred hanging endpoints do not fill the memory.
const LANE_LEAST: usize = 32;
/// What an endpoint may hold although memory is full: a healthy endpoint goes on, however many hanging ones fill it. Up to
/// twice the limits: the overdrafts of a thousand endpoints are no bound. It is also what one may hold that is stuck.
pub(super) const OVERDRAFT: usize = 4;
/// An endpoint is stuck where nothing went through for so long: it hangs or fails. No healthy one takes so long.
const STUCK_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) held: usize,
    since: Instant,
    /// When something went through last, or it was first heard of.
    moved_at: Instant,
    pub(super) window_start: Instant,
    done_now: usize,
    done_before: usize,
    /// Some of its deliveries wait in Postgres: until those are through, new ones queue up behind them.
    pub(super) is_spilled: bool,
    /// It may hold no more than this, for now.
    pub(super) cap: Option<usize>,
    /// It may hold nothing more until then.
    pub(super) shut_until: Option<Instant>,
}

impl Lane {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            held: 0,
            since: now,
            moved_at: now,
            window_start: now,
            done_now: 0,
            done_before: 0,
            is_spilled: false,
            cap: None,
            shut_until: None,
        }
    }

    fn turn_window(&mut self, now: Instant) {
        let passed = now.duration_since(self.window_start);
        if passed >= WINDOW {
            self.done_before = if passed < 2 * WINDOW { self.done_now } else { 0 };
            self.done_now = 0;
            self.window_start = now;
        }
    }

    /// Something went through.
    pub(super) fn moved(&mut self, now: Instant) {
        self.turn_window(now);
        self.done_now += 1;
        self.moved_at = now;
    }

    /// How many deliveries it may hold: two full requests in any case where several share one. While memory is half full, an
    /// endpoint that is stuck holds no more than a few.
    pub(super) fn capacity(
        &mut self,
        concurrency: u16,
        per_request: u16,
        is_half_full: bool,
        now: Instant,
    ) -> usize {
        self.turn_window(now);
        let pace = self.done_before.max(self.done_now) * WINDOWS_HELD;
        let most = if is_half_full && self.is_stuck(now) { OVERDRAFT } else { LANE_MOST };
        let least = if per_request > 1 {
            LANE_LEAST.max(2 * usize::from(per_request))
        } else {
            LANE_LEAST.min(2 * usize::from(concurrency))
        };
        pace.max(least).min(most)
    }

    /// What it may hold by order, whatever its pace: as configured, and for now.
    pub(super) fn allowed(&self, most: usize, now: Instant) -> usize {
        let is_shut = self.shut_until.is_some_and(|until| until > now);
        if is_shut { 0 } else { most.min(self.cap.unwrap_or(usize::MAX)) }
    }

    /// Whether there is something to remember of it while it holds nothing.
    pub(super) fn is_bound(&self, now: Instant) -> bool {
        self.cap.is_some() || self.shut_until.is_some_and(|until| until > now)
    }

    /// Whether room is about to come: something went through lately, or it is too early to tell.
    pub(super) fn is_moving(&self, now: Instant) -> bool {
        self.done_before.max(self.done_now) > 0 || now.duration_since(self.since) < PATIENCE
    }

    fn is_stuck(&self, now: Instant) -> bool {
        now.duration_since(self.moved_at) >= STUCK_AFTER
    }
}
