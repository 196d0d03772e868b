//! [`DeliveryQueue`] of the store in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::ports::{
    ClaimedDelivery, DeliveryQueue, Demand, Next, Outcome, Recorded, StoreError, Waiting,
};
use longshore_core::{Clock, DeliveryId, DeliveryState, EndpointId, ProcessId, Timestamp};

use super::MemoryStore;
use super::faults::Op;
use super::lanes::NEVER;
use super::rows::Tables;

impl DeliveryQueue for MemoryStore {
    fn owner(&self) -> ProcessId {
        self.current_owner()
    }

    async fn heartbeat(&self, oldest: DeliveryId) -> Result<bool, StoreError> {
        let (owner, lease) = (self.current_owner(), self.shared.lease);
        let renewed = self.call(Op::Heartbeat, |tables, now| {
            let renewed = tables.renew(owner, now.after(lease), oldest);
            tables.reap_expired(now);
            Ok(renewed)
        });
        if renewed.await? {
            return Ok(true);
        }
        let successor = self.shared.tables().register(self.shared.clock.now(), lease);
        self.change_owner(successor);
        Ok(false)
    }

    async fn waiting(&self, max: u32) -> Result<Vec<Waiting>, StoreError> {
        self.call(Op::Waiting, |tables, now| {
            let mut first: BTreeMap<u128, Timestamp> = BTreeMap::new();
            for delivery in tables.deliveries.values() {
                if let Some(due_at) = delivery.due_at.filter(|due_at| *due_at != NEVER) {
                    let earliest = first.entry(delivery.endpoint.as_u128()).or_insert(due_at);
                    *earliest = due_at.min(*earliest);
                }
            }
            let mut waiting: Vec<Waiting> = first
                .into_iter()
                .map(|(endpoint, due_at)| Waiting {
                    endpoint: EndpointId::from_u128(endpoint),
                    due_in: due_at.since(now),
                })
                .collect();
            waiting.sort_by_key(|waiting| waiting.due_in);
            waiting.truncate(usize::try_from(max).unwrap_or(usize::MAX));
            Ok(waiting)
        })
        .await
    }

    async fn claim(&self, demand: &[Demand], lease: Duration) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let owner = self.current_owner();
        self.call(Op::Claim, |tables, now| {
            if !tables.is_alive(owner) {
                return Ok(Vec::new());
            }
            Ok(demand.iter().flat_map(|demand| tables.claim(*demand, owner, now, lease)).collect())
        })
        .await
    }

    async fn record(&self, outcomes: &[Outcome], lease: Duration) -> Result<Recorded, StoreError> {
        self.call(Op::Record, |tables, now| {
            let mut recorded = Recorded::default();
            let mut moved = Vec::with_capacity(outcomes.len());
            for outcome in outcomes {
                if tables.record(outcome, now) {
                    let (claimed, is_due) = tables.leave(outcome, now, lease);
                    recorded.claimed.extend(claimed);
                    recorded.has_due |= is_due;
                    moved.push(outcome);
                } else {
                    recorded.refused += 1;
                    recorded.claimed.extend(tables.held_head(outcome));
                }
            }
            tables.follow(outcomes, &moved);
            Ok(recorded)
        })
        .await
    }

    async fn resign(&self, oldest: DeliveryId) -> Result<(), StoreError> {
        let owner = self.current_owner();
        self.call(Op::Resign, |tables, now| {
            tables.renew(owner, now, oldest);
            tables.reap(owner, now);
            Ok(())
        })
        .await?;
        let next = self.shared.tables().new_owner();
        self.change_owner(next);
        Ok(())
    }
}

impl Tables {
    fn claim(
        &mut self,
        demand: Demand,
        owner: ProcessId,
        now: Timestamp,
        lease: Duration,
    ) -> Vec<ClaimedDelivery> {
        let mut due: Vec<_> = self
            .deliveries
            .values()
            .filter(|delivery| delivery.endpoint == demand.endpoint)
            .filter_map(|delivery| Some((delivery.due_at.filter(|due_at| *due_at <= now)?, delivery.id)))
            .collect();
        due.sort_unstable();
        due.truncate(usize::try_from(demand.max).unwrap_or(usize::MAX));
        due.into_iter().filter_map(|(_, id)| self.take(id, owner, now.after(lease))).collect()
    }

    /// Records an outcome, unless the claim it was made under is gone: then only that the attempt was made. A
    /// repeated outcome finds its own claim gone.
    fn record(&mut self, outcome: &Outcome, now: Timestamp) -> bool {
        let Some(delivery) = self.deliveries.get_mut(&outcome.delivery) else { return false };
        if let Some(attempt) = &outcome.attempt
            && delivery.history.iter().all(|known| known.id != attempt.id)
        {
            delivery.history.push(attempt.clone());
            delivery.made_by.push(outcome.owner);
        }
        let made = delivery.attempts + u16::from(outcome.attempt.is_some());
        if delivery.owner != Some(outcome.owner) || outcome.attempts != made {
            return false;
        }
        let scheduled = delivery.due_at.is_some();
        assert!(
            outcome.scheduled == scheduled,
            "`scheduled` of {outcome:?} is wrong: a row would be left behind"
        );
        assert!(outcome.event == delivery.event, "`event` of {outcome:?} is wrong");
        delivery.attempts = outcome.attempts;
        delivery.throttled += u16::from(outcome.aftermath.is_throttled);
        delivery.counted.extend(outcome.attempt.clone());
        match outcome.next {
            Next::Success => delivery.finish(DeliveryState::Success),
            Next::Failure => delivery.finish(DeliveryState::Failure),
            Next::Discarded => delivery.finish(DeliveryState::Discarded),
            Next::RetryAfter(delay) | Next::Parked(delay) => delivery.wait(now.after(delay)),
            Next::Blocked => delivery.wait(NEVER),
            Next::SetAside => {
                delivery.wait(NEVER);
                delivery.is_aside = true;
            }
        }
        true
    }
}
