//! Deliveries that ended are tried again; those that wait are due at once.

use longshore_core::delivery::DeliveryState;
use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, ProjectId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect::Store;
use crate::control::changing::Changing;
use crate::error::sort;

impl Changing {
    /// Tries deliveries of a project again that are in one of these states. Returns which of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deliver_again(
        &mut self,
        project: ProjectId,
        ids: &[DeliveryId],
        states: &[DeliveryState],
    ) -> Result<Vec<DeliveryId>, StoreError> {
        again(self.connection(), project, ids, states).await
    }
}

impl Store {
    /// The same, one transaction of its own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deliver_again(
        &self,
        project: ProjectId,
        ids: &[DeliveryId],
        states: &[DeliveryState],
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        let done = again(&mut transaction, project, ids, states).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(done)
    }
}

/// What ended is `Scheduled` again and its attempts are counted from 0; those made stay on record. What waits for its time
/// is due now; what waits for its turn in a lane goes on waiting. Deliveries whose event or endpoint is
/// gone, or whose endpoint is switched off, are left alone.
async fn again(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[DeliveryId],
    states: &[DeliveryState],
) -> Result<Vec<DeliveryId>, StoreError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    let states: Vec<String> = states.iter().map(|state| state.as_str().to_owned()).collect();
    let mut done = sqlx::query_scalar!(
        r#"WITH ended AS (
               UPDATE deliveries d
               SET state = 'Scheduled', attempt_count = 0, throttled_count = 0, finished_at = NULL
               WHERE d.project_id = $1 AND d.id = ANY ($2) AND d.state = ANY ($3) AND d.finished_at IS NOT NULL
                   AND EXISTS (
                       SELECT FROM events e WHERE e.project_id = d.project_id AND e.id = d.event_id OFFSET 0
                   )
                   AND EXISTS (
                       SELECT FROM endpoints p
                       WHERE p.project_id = d.project_id AND p.id = d.endpoint_id AND p.status <> 'inactive'
                   )
               RETURNING d.id, d.project_id, d.endpoint_id, d.event_id
           )
           INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
           SELECT id, project_id, endpoint_id, event_id, now() FROM ended
           ON CONFLICT (delivery_id) DO UPDATE SET due_at = now(), claimed_by = NULL
           RETURNING delivery_id"#,
        project.as_uuid(),
        &ids,
        &states,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    let hurried = sqlx::query_scalar!(
        "UPDATE schedule s
         SET due_at = LEAST(s.due_at, now())
         FROM deliveries d
         WHERE s.project_id = $1 AND s.delivery_id = ANY ($2) AND s.claimed_by IS NULL AND s.due_at < 'infinity'
             AND d.project_id = $1 AND d.id = s.delivery_id AND d.state = ANY ($3) AND s.delivery_id <> ALL ($4)
         RETURNING s.delivery_id",
        project.as_uuid(),
        &ids,
        &states,
        &done,
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    done.extend(hurried);
    Ok(done.into_iter().map(DeliveryId::from_uuid).collect())
}
