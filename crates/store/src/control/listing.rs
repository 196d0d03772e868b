//! What the lists of events and deliveries have in common: statements made of the filters that are there, within bounds.
//!
//! Invariant: a list looks at what it may for [`LIMIT`] and no longer; what would take more is refused with a sentence
//! that says what to narrow down.

use longshore_core::ports::StoreError;
use longshore_core::{EventId, ProjectId, Timestamp};
use sqlx::{Postgres, QueryBuilder, Row as _, Transaction};
use uuid::Uuid;

use super::page::PageRequest;
use crate::connect::Store;
use crate::error::sort;

/// How long a statement of a list may take.
const LIMIT: &str = "SET LOCAL statement_timeout = '5s'";
/// What Postgres calls a statement that took longer.
const CANCELLED: &str = "57014";

/// A statement that grows by its filters.
pub(super) type Sql = QueryBuilder<Postgres>;

/// The ids of a page: of the rows, and where they stand in the list.
pub(super) struct Key {
    pub(super) cursor: Uuid,
    pub(super) id: Uuid,
}

/// Rows of `id` within the page and the times, which are those of the ids.
pub(super) fn within(
    sql: &mut Sql,
    id: &str,
    request: &PageRequest,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
) {
    let (after, before) = request.bounds();
    let floor = |at: Option<Timestamp>| at.map(|at| EventId::floor(at.max(Timestamp::EPOCH)).as_uuid());
    for (operator, bound) in [(" > ", after), (" < ", before), (" >= ", floor(from)), (" < ", floor(until))] {
        if let Some(bound) = bound {
            sql.push(" AND ").push(id).push(operator).push_bind(bound);
        }
    }
}

/// In the order that the page is read in, and no more than it wants.
pub(super) fn ordered(sql: &mut Sql, id: &str, request: &PageRequest) {
    sql.push(" ORDER BY ").push(id).push(if request.reads_ascending() { "" } else { " DESC" });
    sql.push(" LIMIT ").push_bind(request.rows());
}

/// The ids of the events of an idempotency key.
pub(super) fn of_key(sql: &mut Sql, column: &str, project: ProjectId, key: &str) {
    sql.push(" AND ")
        .push(column)
        .push(" = ANY (ARRAY(SELECT event_id FROM idempotency_keys WHERE project_id = ");
    sql.push_bind(project.as_uuid()).push(" AND key = ").push_bind(key.to_owned());
    sql.push(" UNION ALL SELECT id FROM events WHERE is_duplicate AND project_id = ");
    sql.push_bind(project.as_uuid()).push(" AND idempotency_key = ").push_bind(key.to_owned()).push("))");
}

/// What went wrong with a statement of a list.
pub(super) fn refused(error: sqlx::Error) -> StoreError {
    let is_cancelled =
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == CANCELLED);
    if is_cancelled {
        let problem =
            "this would look at too much: narrow it down by `startDate` and `endDate`, or by `endpointId`";
        return StoreError::Rejected(problem.to_owned());
    }
    sort(error)
}

impl Store {
    /// A transaction whose statements take no longer than a list may.
    pub(super) async fn listing(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        sqlx::query(LIMIT).execute(&mut *transaction).await.map_err(sort)?;
        Ok(transaction)
    }
}

/// The keys that a statement finds: its columns are the cursor and the id.
pub(super) async fn keys(
    transaction: &mut Transaction<'static, Postgres>,
    mut sql: Sql,
) -> Result<Vec<Key>, StoreError> {
    // Made of the filters that are there, it is another one each time: not worth being kept.
    let rows = sql.build().persistent(false).fetch_all(&mut **transaction).await.map_err(refused)?;
    rows.into_iter()
        .map(|row| Ok(Key { cursor: row.try_get(0)?, id: row.try_get(1)? }))
        .collect::<Result<_, sqlx::Error>>()
        .map_err(sort)
}
