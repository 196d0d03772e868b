//! The statements of operations.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{OperationId, ProjectId, QuarantineId, SourceId, Timestamp};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{ClaimedOperation, Operation, OperationKind, OperationProgress, OperationState, Selection};
use crate::connect::Store;
use crate::control::changing::Changing;
use crate::error::sort;
use crate::quarantine::{QuarantineFilter, QuarantineKey};

impl Store {
    /// An operation of a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine_operation(
        &self,
        project: ProjectId,
        id: OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        let row = sqlx::query!(
            "SELECT kind, state, problem, total, stored, duplicate, known, faulty, discarded, left_out, created_at,
                 updated_at
             FROM quarantine_operations WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        let progress = OperationProgress {
            stored: unsigned(row.stored),
            duplicate: unsigned(row.duplicate),
            known: unsigned(row.known),
            faulty: unsigned(row.faulty),
            discarded: unsigned(row.discarded),
            left_out: unsigned(row.left_out),
        };
        Ok(Some(Operation {
            id,
            kind: OperationKind::parse(&row.kind)?,
            state: OperationState::parse(&row.state)?,
            problem: row.problem,
            total: unsigned(row.total),
            progress,
            created_at: Timestamp::from_utc(row.created_at),
            updated_at: Timestamp::from_utc(row.updated_at),
        }))
    }

    /// Takes the oldest operation that nobody works on, for so long.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_operation(&self, hold: Duration) -> Result<Option<ClaimedOperation>, StoreError> {
        let row = sqlx::query!(
            "UPDATE quarantine_operations AS o
             SET state = 'running', claimed_until = now() + make_interval(secs => $1), updated_at = now()
             FROM (SELECT project_id, id FROM quarantine_operations
                   WHERE state IN ('waiting', 'running') AND (claimed_until IS NULL OR claimed_until < now())
                   ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS next
             WHERE o.project_id = next.project_id AND o.id = next.id
             RETURNING o.project_id, o.id, o.kind, o.ids, o.source_id, o.reason, o.from_time, o.until_time,
                 o.mapping::text AS mapping, o.stored, o.duplicate, o.known, o.faulty, o.discarded, o.left_out,
                 o.ids_done, o.after_time, o.after_id",
            hold.as_secs_f64(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        let project = ProjectId::from_uuid(row.project_id);
        let selection = match row.ids {
            Some(ids) => Selection::Ids(ids.into_iter().map(QuarantineId::from_uuid).collect()),
            None => Selection::Filter(QuarantineFilter {
                project: Some(project),
                source: row.source_id.map(SourceId::from_uuid),
                reason: row.reason,
                from: row.from_time.map(Timestamp::from_utc),
                until: row.until_time.map(Timestamp::from_utc),
                with_replayed: false,
            }),
        };
        let after = row.after_time.map(Timestamp::from_utc).zip(row.after_id.map(QuarantineId::from_uuid));
        Ok(Some(ClaimedOperation {
            project,
            id: OperationId::from_uuid(row.id),
            kind: OperationKind::parse(&row.kind)?,
            selection,
            mapping: row.mapping,
            progress: OperationProgress {
                stored: unsigned(row.stored),
                duplicate: unsigned(row.duplicate),
                known: unsigned(row.known),
                faulty: unsigned(row.faulty),
                discarded: unsigned(row.discarded),
                left_out: unsigned(row.left_out),
            },
            ids_done: usize::try_from(row.ids_done).unwrap_or(0),
            after,
        }))
    }

    /// Writes how far an operation is, and holds it for so long again. `state` is an end, or running.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn advance_operation(
        &self,
        operation: &ClaimedOperation,
        state: OperationState,
        problem: Option<&str>,
        hold: Duration,
    ) -> Result<(), StoreError> {
        let done = &operation.progress;
        sqlx::query!(
            "UPDATE quarantine_operations
             SET state = $3, problem = $4, claimed_until = now() + make_interval(secs => $5), stored = $6,
                 duplicate = $7, known = $8, faulty = $9, discarded = $10, left_out = $11, ids_done = $12,
                 after_time = $13, after_id = $14, updated_at = now()
             WHERE project_id = $1 AND id = $2",
            operation.project.as_uuid(),
            operation.id.as_uuid(),
            state.as_str(),
            problem,
            hold.as_secs_f64(),
            signed(done.stored),
            signed(done.duplicate),
            signed(done.known),
            signed(done.faulty),
            signed(done.discarded),
            signed(done.left_out),
            signed(operation.ids_done as u64),
            operation.after.map(|(at, _)| at.to_utc()) as Option<OffsetDateTime>,
            operation.after.map(|(_, id)| id.as_uuid()) as Option<Uuid>,
        )
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// The next messages of a filter after one, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantined_after(
        &self,
        filter: &QuarantineFilter,
        after: Option<QuarantineKey>,
        limit: u32,
    ) -> Result<Vec<QuarantineKey>, StoreError> {
        let rows = sqlx::query!(
            "SELECT received_at, id FROM quarantine
             WHERE ($1::uuid IS NULL OR project_id = $1) AND ($2::uuid IS NULL OR source_id = $2)
                 AND ($3::text IS NULL OR reason = $3) AND replayed_at IS NULL
                 AND received_at >= COALESCE($4::timestamptz, '-infinity')
                 AND received_at < COALESCE($5::timestamptz, 'infinity')
                 AND (received_at, id)
                     > (COALESCE($6::timestamptz, '-infinity'),
                        COALESCE($7::uuid, '00000000-0000-0000-0000-000000000000'))
             ORDER BY received_at, id LIMIT $8",
            filter.project.map(|id| id.as_uuid()),
            filter.source.map(|id| id.as_uuid()),
            filter.reason,
            filter.from.map(Timestamp::to_utc),
            filter.until.map(Timestamp::to_utc),
            after.map(|(at, _)| at.to_utc()),
            after.map(|(_, id)| id.as_uuid()),
            i64::from(limit),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let key = |row: (OffsetDateTime, Uuid)| (Timestamp::from_utc(row.0), QuarantineId::from_uuid(row.1));
        Ok(rows.into_iter().map(|row| key((row.received_at, row.id))).collect())
    }

    /// Deletes those of the messages that are of the project and were not replayed meanwhile; how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discard_waiting(&self, project: ProjectId, ids: &[QuarantineId]) -> Result<u64, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let deleted = sqlx::query!(
            "DELETE FROM quarantine WHERE project_id = $1 AND id = ANY ($2)",
            project.as_uuid(),
            &ids
        )
        .execute(self.pool())
        .await
        .map_err(sort)?;
        Ok(deleted.rows_affected())
    }
}

impl Changing {
    /// Asks for an operation. Returns its id and how many messages there are now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_operation(
        &mut self,
        project: ProjectId,
        kind: OperationKind,
        selection: &Selection,
        mapping: Option<&str>,
    ) -> Result<(OperationId, u64), StoreError> {
        let id = OperationId::from_u128(self.next_id());
        let all = QuarantineFilter::default();
        let (ids, filter) = match selection {
            Selection::Ids(ids) => (Some(ids.iter().map(|id| id.as_uuid()).collect::<Vec<Uuid>>()), &all),
            Selection::Filter(filter) => (None, filter),
        };
        let total = sqlx::query_scalar!(
            r#"INSERT INTO quarantine_operations (project_id, id, kind, ids, source_id, reason, from_time, until_time,
                   mapping, total)
               SELECT $1::uuid, $2, $3, $4::uuid[], $5::uuid, $6::text, $7::timestamptz,
                   LEAST($8::timestamptz, now()), $9::text::json,
                   CASE WHEN $4 IS NULL
                       THEN (SELECT count(*) FROM quarantine
                             WHERE project_id = $1 AND ($5 IS NULL OR source_id = $5) AND ($6 IS NULL OR reason = $6)
                                 AND received_at >= COALESCE($7, '-infinity')
                                 AND received_at < LEAST($8, now()) AND replayed_at IS NULL)
                       ELSE cardinality($4) END
               RETURNING total"#,
            project.as_uuid(),
            id.as_uuid(),
            kind.as_str(),
            ids.as_deref(),
            filter.source.map(|id| id.as_uuid()),
            filter.reason,
            filter.from.map(Timestamp::to_utc),
            filter.until.map(Timestamp::to_utc),
            mapping,
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        Ok((id, unsigned(total)))
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
