//! [`BreakerBoard`] of the store in memory.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::breaker::{BreakerState, Shift};
use longshore_core::ports::{
    Breaker, BreakerBoard, BreakerChanges, BreakerCount, BreakerShift, FleetCount, StoreError,
};
use longshore_core::{EndpointId, ProcessId, ProjectId, Timestamp};

use super::MemoryStore;
use super::faults::Op;
use super::rows::{StoredBreaker, Tables};

/// Who is silent for longer has counted nothing lately.
const SILENT: Duration = Duration::from_secs(5);

impl BreakerBoard for MemoryStore {
    async fn breaker_changes(&self, since: i64) -> Result<BreakerChanges, StoreError> {
        self.call(Op::BreakerChanges, |tables, now| {
            let changed = tables.breakers.iter().filter(|(_, stored)| stored.version > since);
            let breakers = changed.map(|(endpoint, stored)| stored.seen(*endpoint, now)).collect();
            Ok(BreakerChanges { version: tables.breaker_version, breakers })
        })
        .await
    }

    async fn watch(&self, endpoints: &[(EndpointId, ProjectId)]) -> Result<(), StoreError> {
        self.call(Op::Count, |tables, now| {
            for (endpoint, project) in endpoints {
                tables.watch(*endpoint, *project, now);
            }
            Ok(())
        })
        .await
    }

    async fn count(&self, counts: &[BreakerCount]) -> Result<Vec<FleetCount>, StoreError> {
        let owner = self.current_owner();
        self.call(Op::Count, |tables, now| {
            Ok(counts.iter().filter_map(|count| tables.count(*count, owner, now)).collect())
        })
        .await
    }

    async fn shift(&self, shifts: &[BreakerShift]) -> Result<Vec<Breaker>, StoreError> {
        self.call(Op::Shift, |tables, now| {
            Ok(shifts.iter().filter_map(|wanted| tables.shift(*wanted, now)).collect())
        })
        .await
    }
}

impl StoredBreaker {
    pub(super) fn seen(&self, endpoint: EndpointId, now: Timestamp) -> Breaker {
        Breaker {
            endpoint,
            project: self.project,
            state: self.state,
            trips: self.trips,
            version: self.version,
            until_in: self.until.since(now),
            closed_for: self.closed_at.map(|closed| now.since(closed)),
        }
    }
}

impl Tables {
    fn watch(&mut self, endpoint: EndpointId, project: ProjectId, now: Timestamp) {
        if let Some(breaker) = self.breakers.get_mut(&endpoint) {
            if breaker.state == BreakerState::Closed && now.since(breaker.changed_at) > SILENT {
                self.breaker_version += 1;
                (breaker.version, breaker.changed_at) = (self.breaker_version, now);
            }
            return;
        }
        self.breaker_version += 1;
        let breaker = StoredBreaker {
            project,
            state: BreakerState::Closed,
            trips: 0,
            version: self.breaker_version,
            until: now,
            closed_at: None,
            changed_at: now,
            counts: HashMap::new(),
        };
        self.breakers.insert(endpoint, breaker);
    }

    fn count(&mut self, count: BreakerCount, owner: ProcessId, now: Timestamp) -> Option<FleetCount> {
        let breaker = self.breakers.get_mut(&count.endpoint)?;
        if breaker.version != count.version {
            return None;
        }
        breaker.counts.insert(owner, (count.requests, count.failures, now));
        breaker.counts.retain(|_, (.., at)| now.since(*at) <= SILENT);
        let sum = breaker.counts.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Some(FleetCount {
            endpoint: count.endpoint,
            version: count.version,
            requests: sum.0,
            failures: sum.1,
            age: now.since(breaker.changed_at),
        })
    }

    fn shift(&mut self, wanted: BreakerShift, now: Timestamp) -> Option<Breaker> {
        let BreakerShift { endpoint, version, shift } = wanted;
        let breaker = self.breakers.get_mut(&endpoint).filter(|breaker| breaker.version == version)?;
        match shift {
            Shift::Probe(_) if breaker.state == BreakerState::Closed || breaker.until > now => return None,
            Shift::Open(span) => (breaker.trips, breaker.until) = (breaker.trips + 1, now.after(span)),
            Shift::Probe(span) => breaker.until = now.after(span),
            Shift::Close | Shift::Disable => (breaker.trips, breaker.until) = (0, now),
        }
        self.breaker_version += 1;
        breaker.version = self.breaker_version;
        breaker.state = shift.state();
        breaker.closed_at = (shift == Shift::Close).then_some(now);
        breaker.changed_at = now;
        breaker.counts.clear();
        Some(breaker.seen(endpoint, now))
    }
}
