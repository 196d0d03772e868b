//! The outbox of meta events: taken, sent elsewhere, and what came of it.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{MetaEventId, ProjectId, Timestamp};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// A meta event whose turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueMetaEvent {
    /// The tenant.
    pub project: ProjectId,
    /// Its id.
    pub id: MetaEventId,
    /// Its kind's word.
    pub event_type: String,
    /// The text of a JSON object.
    pub data: String,
    /// Which attempt this is, from 1.
    pub attempt: u16,
    /// How many of those before it were answered `429`.
    pub throttled: u16,
    /// When it happened, or was queued again by hand.
    pub created_at: Timestamp,
}

/// What came of an attempt at a meta event.
#[derive(Clone, Debug)]
pub struct MetaAttempt {
    /// What follows.
    pub next: MetaNext,
    /// The outcome's class.
    pub outcome: &'static str,
    /// The HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// A sentence for people; empty when there is an answer.
    pub error: String,
    /// The first bytes of the answer.
    pub response_body: Vec<u8>,
}

/// What follows from an attempt at a meta event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaNext {
    /// It arrived.
    Success,
    /// It is tried again after that.
    Retry {
        /// From now.
        after: Duration,
        /// Whether the attempt cost nothing.
        is_throttled: bool,
    },
    /// It is given up.
    Failure,
}

impl Store {
    /// Takes meta events whose turn has come: `most` in all, `each` of a project, none of the `busy` ones. Who does not
    /// say what came of one by the end of `lease` leaves it to others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_meta_events(
        &self,
        most: i64,
        each: i64,
        busy: &[ProjectId],
        lease: Duration,
    ) -> Result<Vec<DueMetaEvent>, StoreError> {
        let busy: Vec<Uuid> = busy.iter().map(|project| project.as_uuid()).collect();
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query_file!(
                    "queries/claim_meta_events.sql",
                    most,
                    each,
                    &busy,
                    lease.as_secs_f64()
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let due = rows.into_iter().map(|row| DueMetaEvent {
            project: ProjectId::from_uuid(row.project_id),
            id: MetaEventId::from_uuid(row.id),
            event_type: row.event_type,
            data: row.data,
            attempt: u16::try_from(row.attempt_count).unwrap_or(u16::MAX),
            throttled: u16::try_from(row.throttled_count).unwrap_or(0),
            created_at: Timestamp::from_utc(row.since),
        });
        Ok(due.collect())
    }

    /// Says what came of a meta event that was taken; nothing changes when somebody else took it meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]: it is sent again after its lease.
    pub async fn end_meta_event(&self, event: &DueMetaEvent, ended: &MetaAttempt) -> Result<(), StoreError> {
        let (state, after, is_throttled) = match ended.next {
            MetaNext::Success => ("Success", None, false),
            MetaNext::Retry { after, is_throttled } => ("Retry", Some(after.as_secs_f64()), is_throttled),
            MetaNext::Failure => ("Failure", None, false),
        };
        self.within(async {
            let mut connection = self.checkout().await?;
            let done = sqlx::query!(
                "UPDATE meta_events SET state = $4, next_attempt_at = now() + make_interval(secs => $5),
                     throttled_count = throttled_count + $6::boolean::int,
                     finished_at = CASE WHEN $5::float8 IS NULL THEN now() END,
                     outcome = $7, http_status = $8, error = $9, response_body = $10
                 WHERE project_id = $1 AND id = $2 AND attempt_count = $3 AND state = 'Processing'
                     AND COALESCE(resent_at, created_at) = $11",
                event.project.as_uuid(),
                event.id.as_uuid(),
                i16::try_from(event.attempt).unwrap_or(i16::MAX),
                state,
                after,
                is_throttled,
                ended.outcome,
                ended.http_status.map(|status| i16::try_from(status).unwrap_or(i16::MAX)),
                crate::event_log::without_nul(&ended.error),
                ended.response_body,
                event.created_at.to_utc(),
            )
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(sort);
            connection.end(done)
        })
        .await
    }

    /// Forgets meta events that are over and older than `kept`, alerts long told, and failing endpoints that are gone;
    /// some thousand rows at a time. Returns whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_notices(&self, kept: Duration) -> Result<bool, StoreError> {
        const MOST: i64 = 5_000;
        let dropped = sqlx::query!(
            "DELETE FROM meta_events WHERE ctid = ANY (ARRAY (
                 SELECT ctid FROM meta_events
                 WHERE created_at < now() - make_interval(secs => $1) AND next_attempt_at IS NULL LIMIT $2
             ))",
            kept.as_secs_f64(),
            MOST,
        )
        .execute(self.pool())
        .await
        .map_err(sort)?;
        sqlx::query!("DELETE FROM alerts WHERE pending <= 0 AND due_at < now() - interval '1 day'")
            .execute(self.pool())
            .await
            .map_err(sort)?;
        sqlx::query!(
            "DELETE FROM failing_endpoints f WHERE NOT EXISTS (SELECT FROM endpoints e WHERE e.id = f.endpoint_id)"
        )
        .execute(self.pool())
        .await
        .map_err(sort)?;
        Ok(i64::try_from(dropped.rows_affected()).is_ok_and(|dropped| dropped >= MOST))
    }
}
