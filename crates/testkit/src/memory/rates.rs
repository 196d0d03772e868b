//! [`RateLanes`] of the store in memory.

use std::time::Duration;

use longshore_core::Timestamp;
use longshore_core::ports::{RateLanes, SlotAsk, SlotGrant, StoreError, TokenAsk, TokenGrant};
use longshore_core::rate::Budget;

use super::MemoryStore;
use super::faults::Op;
use super::rows::{RateLane, Tables};

impl RateLanes for MemoryStore {
    async fn take_slots(&self, asks: &[SlotAsk], horizon: Duration) -> Result<Vec<SlotGrant>, StoreError> {
        self.call(Op::TakeSlots, |tables, now| {
            Ok(asks.iter().map(|ask| tables.take_slots(*ask, horizon, now)).collect())
        })
        .await
    }

    async fn take_tokens(&self, asks: &[TokenAsk]) -> Result<Vec<TokenGrant>, StoreError> {
        self.call(Op::TakeTokens, |tables, now| {
            Ok(asks.iter().map(|ask| tables.take_tokens(*ask, now)).collect())
        })
        .await
    }
}

impl Tables {
    fn take_slots(&mut self, ask: SlotAsk, horizon: Duration, now: Timestamp) -> SlotGrant {
        let SlotAsk { endpoint, spacing, count } = ask;
        let lane = self.rate_lanes.entry(endpoint).or_insert(RateLane { spacing, next_at: now });
        if std::mem::replace(&mut lane.spacing, spacing) != spacing {
            lane.next_at = lane.next_at.min(now.after(spacing));
        } else if lane.next_at > now.after(horizon) {
            return SlotGrant { endpoint, count: 0, starts_in: lane.next_at.since(now) };
        }
        let start = lane.next_at.max(now);
        lane.next_at = start.after(spacing * count);
        SlotGrant { endpoint, count, starts_in: start.since(now) }
    }

    fn take_tokens(&mut self, ask: TokenAsk, now: Timestamp) -> TokenGrant {
        let next_in = self.budgets.get(&ask.project).map_or(f64::NEG_INFINITY, |next_at| {
            next_at.since(now).as_secs_f64() - now.since(*next_at).as_secs_f64()
        });
        let mut budget = Budget::of(ask.limit, next_in);
        let grant = budget.take(ask.project, ask.owed, ask.wanted);
        let ahead = (budget.next_in() * 1e6).round() as i64;
        self.budgets.insert(ask.project, Timestamp::from_micros(now.as_micros() + ahead));
        grant
    }
}
