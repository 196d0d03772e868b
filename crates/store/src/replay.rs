//! [`ReplayLog`]: the marks that a replay of quarantined messages leaves, each its own small transaction.

use std::sync::Arc;

use longshore_core::ports::{ReplayLog, StoreError};
use longshore_core::quarantine::Reason;
use longshore_core::{EventId, QuarantineId, Snapshot};

use crate::connect::Store;
use crate::error::sort;
use crate::event_log::without_nul;

impl ReplayLog for Store {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        Ok(self.load_config().await?.snapshot)
    }

    async fn choose_event(
        &self,
        id: QuarantineId,
        wanted: EventId,
        floor: EventId,
    ) -> Result<Option<EventId>, StoreError> {
        let chosen = sqlx::query_scalar!(
            r#"UPDATE quarantine SET event_id = CASE WHEN event_id >= $3 THEN event_id ELSE $2 END
               WHERE id = $1 AND replayed_at IS NULL
               RETURNING event_id AS "event_id!""#,
            id.as_uuid(),
            wanted.as_uuid(),
            floor.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(chosen.map(EventId::from_uuid))
    }

    async fn event_of(&self, digest: u128) -> Result<Option<EventId>, StoreError> {
        let found = sqlx::query_scalar!(
            "SELECT event_id FROM message_identities WHERE digest = $1 ORDER BY seen_on LIMIT 1",
            uuid::Uuid::from_u128(digest)
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(found.map(EventId::from_uuid))
    }

    async fn mark_replayed(&self, id: QuarantineId, event: Option<EventId>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE quarantine SET replayed_at = now(), event_id = $2 WHERE id = $1 AND replayed_at IS NULL",
            id.as_uuid(),
            event.map(|event| event.as_uuid()),
        )
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(sort)
    }

    async fn mark_faulty(&self, id: QuarantineId, reason: Reason, detail: &str) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE quarantine SET reason = $2, detail = $3 WHERE id = $1 AND replayed_at IS NULL",
            id.as_uuid(),
            reason.as_str(),
            without_nul(detail),
        )
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(sort)
    }
}
