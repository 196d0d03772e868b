//! Meta events of a project, for the public API: listed, shown, queued again.

use longshore_core::ports::StoreError;
use longshore_core::{MetaEventId, ProjectId, Timestamp};
use uuid::Uuid;

use super::changing::Changing;
use super::page::{Page, PageRequest};
use crate::connect::Store;
use crate::error::sort;

/// A meta event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaEventRecord {
    /// Its id.
    pub id: MetaEventId,
    /// Its kind's word.
    pub event_type: String,
    /// The text of a JSON object.
    pub data: String,
    /// `Scheduled`, `Processing`, `Retry`, `Success`, `Failure`.
    pub state: String,
    /// Attempts so far, since it was last queued again.
    pub attempts: u16,
    /// When it is tried next; `None` while it is being sent, and once it is over.
    pub next_attempt_at: Option<Timestamp>,
    /// When it happened.
    pub created_at: Timestamp,
    /// When something became of it last.
    pub updated_at: Timestamp,
    /// What came of its last attempt, once one has ended.
    pub last: Option<LastMetaAttempt>,
}

/// The last attempt at a meta event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastMetaAttempt {
    /// The outcome's class.
    pub outcome: String,
    /// The HTTP status, if there was an answer.
    pub http_status: Option<u16>,
    /// A sentence for people; empty when there was an answer.
    pub error: String,
    /// The first bytes of the answer.
    pub response_body: Vec<u8>,
}

/// Which meta events are meant; what is `None` does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaEventFilter {
    /// Happened at this time or later.
    pub from: Option<Timestamp>,
    /// Happened before this time.
    pub until: Option<Timestamp>,
}

/// What became of queueing a meta event again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It is due now.
    Done,
    /// It is being sent at this moment.
    Busy,
    /// There is no such meta event in the project.
    Absent,
}

struct Row {
    id: Uuid,
    event_type: String,
    data: String,
    state: String,
    attempt_count: i16,
    next_attempt_at: Option<time::OffsetDateTime>,
    created_at: time::OffsetDateTime,
    updated_at: time::OffsetDateTime,
    outcome: Option<String>,
    http_status: Option<i16>,
    error: Option<String>,
    response_body: Option<Vec<u8>>,
}

impl From<Row> for MetaEventRecord {
    fn from(row: Row) -> Self {
        let (error, response_body) = (row.error.unwrap_or_default(), row.response_body.unwrap_or_default());
        let http_status = row.http_status.and_then(|status| u16::try_from(status).ok());
        Self {
            id: MetaEventId::from_uuid(row.id),
            event_type: row.event_type,
            data: row.data,
            attempts: u16::try_from(row.attempt_count).unwrap_or(0),
            // While it is being sent this is the end of a lease.
            next_attempt_at: row
                .next_attempt_at
                .filter(|_| row.state != "Processing")
                .map(Timestamp::from_utc),
            state: row.state,
            created_at: Timestamp::from_utc(row.created_at),
            updated_at: Timestamp::from_utc(row.updated_at),
            last: row.outcome.map(|outcome| LastMetaAttempt { outcome, http_status, error, response_body }),
        }
    }
}

impl Store {
    /// A page of a project's meta events.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn meta_events_page(
        &self,
        project: ProjectId,
        filter: &MetaEventFilter,
        request: &PageRequest,
    ) -> Result<Page<MetaEventRecord>, StoreError> {
        let (after, before) = request.bounds();
        /// The two orders are two statements, so that each follows the index.
        macro_rules! rows {
            ($order:tt) => {
                sqlx::query_as!(
                    Row,
                    r#"SELECT id, event_type, data::text AS "data!", state, attempt_count, next_attempt_at, created_at,
                           GREATEST(created_at, resent_at, attempted_at, finished_at) AS "updated_at!", outcome,
                           http_status, error, response_body
                       FROM meta_events
                       WHERE project_id = $1 AND ($2::uuid IS NULL OR id > $2) AND ($3::uuid IS NULL OR id < $3)
                           AND ($4::timestamptz IS NULL OR created_at >= $4)
                           AND ($5::timestamptz IS NULL OR created_at < $5)
                       ORDER BY "# + $order + " LIMIT $6",
                    project.as_uuid(),
                    after,
                    before,
                    filter.from.map(Timestamp::to_utc),
                    filter.until.map(Timestamp::to_utc),
                    request.rows(),
                )
                .fetch_all(self.pool())
                .await
            };
        }
        let rows = if request.reads_ascending() { rows!("id") } else { rows!("id DESC") };
        Ok(request.page(rows.map_err(sort)?).map(MetaEventRecord::from))
    }

    /// A meta event of a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn meta_event(
        &self,
        project: ProjectId,
        id: MetaEventId,
    ) -> Result<Option<MetaEventRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT id, event_type, data::text AS "data!", state, attempt_count, next_attempt_at, created_at,
                   GREATEST(created_at, resent_at, attempted_at, finished_at) AS "updated_at!", outcome,
                   http_status, error, response_body
               FROM meta_events WHERE project_id = $1 AND id = $2"#,
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(row.map(MetaEventRecord::from))
    }
}

impl Changing {
    /// Queues a meta event again, due now, with all attempts of the project's schedule. What comes late of an attempt made
    /// before is told by `resent_at`, and changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn requeue_meta_event(
        &mut self,
        project: ProjectId,
        id: MetaEventId,
    ) -> Result<Requeued, StoreError> {
        let state = sqlx::query_scalar!(
            "SELECT state FROM meta_events WHERE project_id = $1 AND id = $2 FOR UPDATE",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        match state.as_deref() {
            None => return Ok(Requeued::Absent),
            Some("Processing") => return Ok(Requeued::Busy),
            Some(_) => {}
        }
        sqlx::query!(
            "UPDATE meta_events
             SET state = 'Scheduled', next_attempt_at = now(), finished_at = NULL, resent_at = now(),
                 attempt_count = 0, throttled_count = 0
             WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(Requeued::Done)
    }
}
