//! Many deliveries tried again in the background: what was asked for, and how far it is.
//!
//! Invariant: as for quarantined messages: whoever works on it holds it until an instant that each step moves on; where it
//! is cut off another one goes on from there. A step that was done twice does no harm: what is tried again is in none of
//! the states that were asked for, or waits.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, OperationId, ProjectId, Timestamp};
use uuid::Uuid;

use super::DeliveryFilter;
use crate::connect::Store;
use crate::control::changing::Changing;
use crate::control::listing::{Sql, keys};
use crate::control::page::{Direction, PageRequest};
use crate::error::{misconfigured, sort};

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetriesState {
    /// There is more.
    Running,
    /// Every delivery was looked at.
    Done,
    /// It cannot go on.
    Failed,
}

/// Deliveries that are tried again in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Its id.
    pub id: OperationId,
    /// `waiting`, `running`, `done`, `failed`.
    pub state: String,
    /// Why it cannot go on.
    pub problem: Option<String>,
    /// Deliveries that are tried again.
    pub retried: u64,
    /// Deliveries that were past being tried again when their turn came.
    pub left_out: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it went on last.
    pub updated_at: Timestamp,
}

/// Retries that this process works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRetries {
    /// The tenant.
    pub project: ProjectId,
    /// Its id.
    pub id: OperationId,
    /// Which deliveries.
    pub filter: DeliveryFilter,
    /// Those up to this one were done.
    pub after: Option<DeliveryId>,
    /// Those from this one on are left alone.
    pub before: DeliveryId,
    /// As in [`Retries`].
    pub retried: u64,
    /// As in [`Retries`].
    pub left_out: u64,
}

impl RetriesState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Changing {
    /// Asks for retries of what there is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_retries(
        &mut self,
        project: ProjectId,
        filter: &DeliveryFilter,
    ) -> Result<OperationId, StoreError> {
        let id = self.next_id();
        let filter = serde_json::to_value(filter).map_err(misconfigured)?;
        sqlx::query!(
            "INSERT INTO delivery_operations (project_id, id, filter, before_id) VALUES ($1, $2, $3, $2)",
            project.as_uuid(),
            OperationId::from_u128(id).as_uuid(),
            filter,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(OperationId::from_u128(id))
    }
}

impl Store {
    /// Retries of a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retries(&self, project: ProjectId, id: OperationId) -> Result<Option<Retries>, StoreError> {
        let row = sqlx::query!(
            "SELECT state, problem, retried, left_out, created_at, updated_at
             FROM delivery_operations WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(row.map(|row| Retries {
            id,
            state: row.state,
            problem: row.problem,
            retried: u64::try_from(row.retried).unwrap_or(0),
            left_out: u64::try_from(row.left_out).unwrap_or(0),
            created_at: Timestamp::from_utc(row.created_at),
            updated_at: Timestamp::from_utc(row.updated_at),
        }))
    }

    /// Takes the oldest retries that nobody works on, for so long.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_retries(&self, hold: Duration) -> Result<Option<ClaimedRetries>, StoreError> {
        let row = sqlx::query!(
            "UPDATE delivery_operations AS o
             SET state = 'running', claimed_until = now() + make_interval(secs => $1), updated_at = now()
             FROM (SELECT project_id, id FROM delivery_operations
                   WHERE state IN ('waiting', 'running') AND (claimed_until IS NULL OR claimed_until < now())
                   ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS next
             WHERE o.project_id = next.project_id AND o.id = next.id
             RETURNING o.project_id, o.id, o.filter, o.before_id, o.after_id, o.retried, o.left_out",
            hold.as_secs_f64(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ClaimedRetries {
            project: ProjectId::from_uuid(row.project_id),
            id: OperationId::from_uuid(row.id),
            filter: serde_json::from_value(row.filter).map_err(misconfigured)?,
            after: row.after_id.map(DeliveryId::from_uuid),
            before: DeliveryId::from_uuid(row.before_id),
            retried: u64::try_from(row.retried).unwrap_or(0),
            left_out: u64::try_from(row.left_out).unwrap_or(0),
        }))
    }

    /// The next deliveries of retries, oldest first.
    ///
    /// # Errors
    /// [`StoreError`]; rejected when finding them would look at too much.
    pub async fn next_retries(
        &self,
        retries: &ClaimedRetries,
        limit: u32,
    ) -> Result<Vec<DeliveryId>, StoreError> {
        let cursor = retries.after.map(|id| id.as_uuid());
        let request = PageRequest { limit, cursor, direction: Direction::Next, is_ascending: true };
        let mut transaction = self.listing().await?;
        let mut sql = Sql::new("");
        super::find::append(&mut sql, retries.project, &retries.filter, &request);
        let found = request.page(keys(&mut transaction, sql).await?).items;
        transaction.commit().await.map_err(sort)?;
        let ids = found.into_iter().map(|key| DeliveryId::from_uuid(key.id));
        Ok(ids.take_while(|id| *id < retries.before).collect())
    }

    /// Writes how far retries are, and holds them for so long again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn advance_retries(
        &self,
        retries: &ClaimedRetries,
        state: RetriesState,
        problem: Option<&str>,
        hold: Duration,
    ) -> Result<(), StoreError> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        sqlx::query!(
            "UPDATE delivery_operations
             SET state = $3, problem = $4, claimed_until = now() + make_interval(secs => $5), retried = $6,
                 left_out = $7, after_id = $8, updated_at = now()
             WHERE project_id = $1 AND id = $2",
            retries.project.as_uuid(),
            retries.id.as_uuid(),
            state.as_str(),
            problem,
            hold.as_secs_f64(),
            signed(retries.retried),
            signed(retries.left_out),
            retries.after.map(|id| id.as_uuid()) as Option<Uuid>,
        )
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(sort)
    }
}
