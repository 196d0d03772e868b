//! Events of projects that keep them for less long than the installation does: removed row by row.
//!
//! Partitions hold the events of all projects, so what one keeps for less cannot be dropped with its day. Invariants: what
//! still waits to be delivered stays, its event too, until it has ended or the installation's retention takes the day; every
//! statement is short.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{Clock, EventId, ProjectId, SystemClock, Timestamp};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// Rows per statement.
const BATCH: i64 = 2_000;
/// Between two statements: the hot path comes first.
const PAUSE: Duration = Duration::from_millis(20);

/// How far back a project's events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// When the oldest that is still there was received.
    pub oldest_event: Option<Timestamp>,
}

impl Store {
    /// Removes what projects keep for less long than `kept`; gives how many events went.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed stays removed.
    pub async fn remove_expired(&self, kept: Duration) -> Result<u64, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, settings->>'retention' AS "retention!" FROM projects
               WHERE settings->>'retention' IS NOT NULL ORDER BY id"#
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let mut removed = 0;
        for row in rows {
            let own = longshore_core::duration::parse(&row.retention).map_err(misconfigured)?;
            if own < kept {
                removed +=
                    self.remove_older(ProjectId::from_uuid(row.id), SystemClock.now().before(own)).await?;
            }
        }
        Ok(removed)
    }

    /// How far back a project's events go.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reach(&self, project: ProjectId) -> Result<Reach, StoreError> {
        let received_at = sqlx::query_scalar!(
            "SELECT received_at FROM events WHERE project_id = $1 ORDER BY id LIMIT 1",
            project.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(Reach { oldest_event: received_at.map(Timestamp::from_utc) })
    }

    async fn remove_older(&self, project: ProjectId, than: Timestamp) -> Result<u64, StoreError> {
        let (project, floor) = (project.as_uuid(), EventId::floor(than).as_uuid());
        while self.remove_deliveries(project, floor).await? == BATCH.unsigned_abs() {
            tokio::time::sleep(PAUSE).await;
        }
        let mut removed = 0;
        loop {
            let gone = self.remove_events(project, floor).await?;
            removed += gone;
            if gone < BATCH.unsigned_abs() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        while self.remove_quarantined(project, floor).await? == BATCH.unsigned_abs() {
            tokio::time::sleep(PAUSE).await;
        }
        sqlx::query!("DELETE FROM idempotency_keys WHERE project_id = $1 AND event_id < $2", project, floor)
            .execute(self.pool())
            .await
            .map_err(sort)?;
        Ok(removed)
    }

    /// Those that ended, with their attempts.
    async fn remove_deliveries(&self, project: Uuid, floor: Uuid) -> Result<u64, StoreError> {
        sqlx::query_scalar!(
            r#"WITH gone AS (
                   DELETE FROM deliveries WHERE project_id = $1 AND id < $2 AND id IN (
                       SELECT id FROM deliveries
                       WHERE project_id = $1 AND id < $2 AND finished_at IS NOT NULL ORDER BY id LIMIT $3)
                   RETURNING id),
               tried AS (
                   DELETE FROM attempts WHERE project_id = $1 AND delivery_id IN (SELECT id FROM gone))
               SELECT count(*) AS "count!" FROM gone"#,
            project,
            floor,
            BATCH
        )
        .fetch_one(self.pool())
        .await
        .map(i64::unsigned_abs)
        .map_err(sort)
    }

    /// Those of which nothing waits.
    async fn remove_events(&self, project: Uuid, floor: Uuid) -> Result<u64, StoreError> {
        sqlx::query!(
            "DELETE FROM events WHERE project_id = $1 AND id < $2 AND id IN (
                 SELECT id FROM events
                 WHERE project_id = $1 AND id < $2
                   AND id NOT IN (SELECT event_id FROM schedule WHERE project_id = $1 AND event_id < $2)
                 ORDER BY id LIMIT $3)",
            project,
            floor,
            BATCH
        )
        .execute(self.pool())
        .await
        .map(|done| done.rows_affected())
        .map_err(sort)
    }

    async fn remove_quarantined(&self, project: Uuid, floor: Uuid) -> Result<u64, StoreError> {
        sqlx::query!(
            "DELETE FROM quarantine WHERE project_id = $1 AND id < $2 AND id IN (
                 SELECT id FROM quarantine WHERE project_id = $1 AND id < $2 ORDER BY id LIMIT $3)",
            project,
            floor,
            BATCH
        )
        .execute(self.pool())
        .await
        .map(|done| done.rows_affected())
        .map_err(sort)
    }
}
