//! Lanes of the store in memory: the same rules as in Postgres, under the one lock of the tables.

use std::time::Duration;

use longshore_core::ports::{ClaimedDelivery, LanePlace, NewDelivery, Next, Outcome};
use longshore_core::{DeliveryId, DeliveryState, LaneId, ProcessId, Timestamp};

use super::rows::{StoredDelivery, Tables};

/// The due time of what waits for its turn or for people.
pub(super) const NEVER: Timestamp = Timestamp::from_micros(i64::MAX);

/// A lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    head: Option<DeliveryId>,
    last_sequence: u64,
}

impl Tables {
    /// Puts a new delivery at the end of its lane.
    pub(super) fn enter(
        &mut self,
        lane: LaneId,
        new: &NewDelivery,
        row: &mut StoredDelivery,
        now: Timestamp,
    ) {
        let state = self.lanes.entry(lane).or_default();
        state.last_sequence = new.id.sequence().max(state.last_sequence + 1);
        row.place = Some(LanePlace { lane, sequence: state.last_sequence });
        row.wait(if state.head.is_none() { now } else { NEVER });
        state.head.get_or_insert(new.id);
    }

    /// What an outcome that counted means for the lane: the next one, when it is claimed for the recorder, and whether it
    /// is due instead.
    pub(super) fn leave(
        &mut self,
        outcome: &Outcome,
        now: Timestamp,
        lease: Duration,
    ) -> (Option<ClaimedDelivery>, bool) {
        let Some(lane) = outcome.lane.filter(|_| outcome.next.leaves_lane()) else { return (None, false) };
        if self.lanes.get(&lane).is_none_or(|state| state.head != Some(outcome.delivery)) {
            return (None, false);
        }
        if outcome.next == Next::Discarded {
            for behind in self.deliveries.values_mut().filter(|row| row.waits_in(lane)) {
                behind.finish(DeliveryState::Discarded);
            }
        }
        let waiting = self.deliveries.values().filter(|row| row.waits_in(lane));
        let next = waiting.min_by_key(|row| row.place.map(|place| place.sequence)).map(|row| row.id);
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.head = next;
        }
        let Some(next) = next else { return (None, false) };
        let is_contended = self
            .deliveries
            .values()
            .any(|row| row.endpoint == outcome.endpoint && row.due_at.is_some_and(|due_at| due_at <= now));
        if lease.is_zero() || is_contended || !self.is_alive(outcome.owner) {
            if let Some(row) = self.deliveries.get_mut(&next) {
                row.wait(now);
            }
            return (None, true);
        }
        (self.take(next, outcome.owner, now.after(lease)), false)
    }

    /// The head of the lane that an outcome left, if the recorder holds it: the reply that said so was lost.
    pub(super) fn held_head(&self, outcome: &Outcome) -> Option<ClaimedDelivery> {
        let lane = outcome.lane.filter(|_| outcome.next.leaves_lane())?;
        let head = self.lanes.get(&lane)?.head.filter(|head| *head != outcome.delivery)?;
        let row = self.deliveries.get(&head).filter(|row| row.owner == Some(outcome.owner))?;
        self.claim_of(row, outcome.owner)
    }

    /// Claims a delivery.
    pub(super) fn take(
        &mut self,
        id: DeliveryId,
        owner: ProcessId,
        until: Timestamp,
    ) -> Option<ClaimedDelivery> {
        let row = self.deliveries.get_mut(&id)?;
        row.state = DeliveryState::Processing;
        // The row stays in the schedule, due when the lease ends: so a lost reply or a dead owner costs time.
        (row.owner, row.due_at) = (Some(owner), Some(until));
        let row = row.clone();
        self.claim_of(&row, owner)
    }

    fn claim_of(&self, row: &StoredDelivery, owner: ProcessId) -> Option<ClaimedDelivery> {
        let event = std::sync::Arc::clone(&self.events.get(&row.event)?.event);
        Some(ClaimedDelivery {
            id: row.id,
            event,
            endpoint: row.endpoint,
            subscription: row.subscription,
            attempts: row.attempts,
            throttled: row.throttled,
            scheduled: true,
            owner,
            place: row.place,
        })
    }
}

impl StoredDelivery {
    fn waits_in(&self, lane: LaneId) -> bool {
        self.place.is_some_and(|place| place.lane == lane) && self.due_at == Some(NEVER) && !self.is_aside
    }
}
