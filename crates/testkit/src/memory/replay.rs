//! [`ReplayLog`] of the store in memory.

use std::sync::Arc;

use longshore_core::ports::{ReplayLog, StoreError};
use longshore_core::quarantine::Reason;
use longshore_core::{EventId, QuarantineId, Snapshot};

use super::MemoryStore;
use super::faults::Op;

impl ReplayLog for MemoryStore {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.call(Op::Replay, |tables, _| Ok(Arc::clone(&tables.snapshot))).await
    }

    async fn choose_event(
        &self,
        id: QuarantineId,
        wanted: EventId,
        floor: EventId,
    ) -> Result<Option<EventId>, StoreError> {
        self.call(Op::Replay, |tables, _| {
            if !tables.quarantined.contains_key(&id) {
                return Ok(None);
            }
            let (chosen, is_over) = tables.replays.entry(id).or_default();
            if *is_over {
                return Ok(None);
            }
            let event = chosen.filter(|event| *event >= floor).unwrap_or(wanted);
            *chosen = Some(event);
            Ok(Some(event))
        })
        .await
    }

    async fn event_of(&self, digest: u128) -> Result<Option<EventId>, StoreError> {
        self.call(Op::Replay, |tables, _| Ok(tables.identified.get(&digest).copied())).await
    }

    async fn mark_replayed(&self, id: QuarantineId, event: Option<EventId>) -> Result<(), StoreError> {
        self.call(Op::Replay, |tables, _| {
            tables.replays.insert(id, (event, true));
            Ok(())
        })
        .await
    }

    async fn mark_faulty(&self, id: QuarantineId, reason: Reason, detail: &str) -> Result<(), StoreError> {
        self.call(Op::Replay, |tables, _| {
            if let Some(message) = tables.quarantined.get_mut(&id) {
                (message.reason, message.detail) = (reason, detail.to_owned());
            }
            Ok(())
        })
        .await
    }
}
