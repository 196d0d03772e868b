//! [`Notices`] of the store in memory, and what follows from outcomes beyond their deliveries.
//!
//! Every project is told of everything that its outcomes say: settings are the real store's business.

use std::collections::{HashMap, HashSet};

use longshore_core::notice::{DisableReason, Notice, NoticeKind};
use longshore_core::ports::{Next, Notices, Outcome, StoreError};
use longshore_core::{EndpointId, Timestamp};
use serde_json::json;

use super::faults::Op;
use super::rows::Tables;
use super::{MemoryDatabase, MemoryStore};

impl Notices for MemoryStore {
    async fn disable(&self, endpoint: EndpointId, reason: DisableReason) -> Result<bool, StoreError> {
        self.call(Op::Notices, |tables, _| Ok(tables.disable(endpoint, reason, None))).await
    }

    async fn tell(&self, notices: &[Notice]) -> Result<(), StoreError> {
        self.call(Op::Notices, |tables, _| {
            tables.notices.extend_from_slice(notices);
            Ok(())
        })
        .await
    }
}

impl MemoryDatabase {
    /// Why that endpoint was switched off; `None` when it was not.
    #[must_use]
    pub fn disabled(&self, endpoint: EndpointId) -> Option<DisableReason> {
        self.shared.tables().disabled.get(&endpoint).copied()
    }

    /// Everything that was told, in order.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.shared.tables().notices.clone()
    }
}

impl Tables {
    /// What follows from a batch of outcomes, of which those moved their delivery.
    pub(super) fn follow(&mut self, outcomes: &[Outcome], moved: &[&Outcome]) {
        let watched = outcomes.iter().filter(|outcome| outcome.aftermath.is_watched);
        let tried: Vec<_> = watched.filter_map(|it| Some((it.endpoint, it.attempt.as_ref()?))).collect();
        let well: HashSet<EndpointId> =
            tried.iter().filter(|(_, attempt)| attempt.outcome.is_success()).map(|(id, _)| *id).collect();
        let mut began: HashMap<EndpointId, Timestamp> = HashMap::new();
        for (endpoint, attempt) in tried.iter().filter(|(endpoint, _)| !well.contains(endpoint)) {
            let at = attempt.started_at.after(attempt.duration);
            began.entry(*endpoint).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
        self.failing.retain(|endpoint, _| !well.contains(endpoint));
        for (endpoint, at) in began {
            self.failing.entry(endpoint).or_insert(at);
        }
        for outcome in moved {
            if outcome.aftermath.is_told {
                self.notices.push(told(outcome));
            }
            match outcome.aftermath.disables() {
                Some(DisableReason::Gone) => {
                    self.disable(outcome.endpoint, DisableReason::Gone, Some(outcome));
                }
                Some(reason) if self.is_sustained(outcome) => {
                    self.disable(outcome.endpoint, reason, Some(outcome));
                }
                _ => {}
            }
        }
    }

    /// Whether the endpoint has had no success since the delivery's first attempt.
    fn is_sustained(&self, outcome: &Outcome) -> bool {
        let history = self.deliveries.get(&outcome.delivery).map(|delivery| &delivery.history);
        let first = history.and_then(|made| made.iter().map(|one| one.started_at.after(one.duration)).min());
        self.failing.get(&outcome.endpoint).is_some_and(|since| first.is_some_and(|first| *since <= first))
    }

    fn disable(&mut self, endpoint: EndpointId, reason: DisableReason, by: Option<&Outcome>) -> bool {
        if self.disabled.contains_key(&endpoint) {
            return false;
        }
        self.disabled.insert(endpoint, reason);
        self.notices.push(Notice {
            project: by.map_or(longshore_core::ProjectId::from_u128(0), |outcome| outcome.project),
            kind: NoticeKind::EndpointDisabled,
            subject: endpoint.as_u128(),
            data: json!({"uid": endpoint, "status": "inactive", "status_reason": reason.as_str()}),
        });
        true
    }
}

fn told(outcome: &Outcome) -> Notice {
    let kind = match outcome.next {
        Next::Success => NoticeKind::DeliverySuccess,
        _ => NoticeKind::DeliveryFailed,
    };
    let reason = outcome.aftermath.end.map(longshore_core::retry::End::as_str);
    Notice {
        project: outcome.project,
        kind,
        subject: outcome.endpoint.as_u128(),
        data: json!({"uid": outcome.delivery, "attempts": outcome.attempts, "reason": reason}),
    }
}
