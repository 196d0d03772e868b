//! Quarantined messages of one project, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::{EventId, ProjectId, QuarantineId, SourceId, Timestamp};
use uuid::Uuid;

use super::changing::Changing;
use super::page::{Page, PageRequest};
use crate::connect::Store;
use crate::error::sort;
use crate::quarantine::{QuarantineFilter, QuarantineItem};

/// Where a message stands in the list, as the cursor of a page: when it was received, then the latter half of its id.
#[must_use]
pub fn quarantine_cursor(item: &QuarantineItem) -> EventId {
    let micros = u64::try_from(item.received_at.as_micros()).unwrap_or(0);
    EventId::from_u128((u128::from(micros) << 64) | (item.id.as_u128() & u128::from(u64::MAX)))
}

struct Row {
    id: Uuid,
    source_id: Option<Uuid>,
    reason: String,
    detail: String,
    position: String,
    received_at: time::OffsetDateTime,
    bytes: i64,
    replayed_at: Option<time::OffsetDateTime>,
    event_id: Option<Uuid>,
}

/// The two parts of a cursor.
fn parts(cursor: Uuid) -> (time::OffsetDateTime, Vec<u8>) {
    let bits = cursor.as_u128();
    // The shift leaves 64 bits, of which a cursor of ours uses the lower 63.
    let micros = i64::try_from(bits >> 64).unwrap_or(i64::MAX);
    let at = Timestamp::from_micros(micros);
    let at = if at.has_date() { at } else { Timestamp::EPOCH };
    (at.to_utc(), bits.to_be_bytes()[8..].to_vec())
}

impl Store {
    /// A page of a project's quarantined messages, newest first or oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine_page(
        &self,
        project: ProjectId,
        filter: &QuarantineFilter,
        request: &PageRequest,
    ) -> Result<Page<QuarantineItem>, StoreError> {
        let (after, before) = request.bounds();
        let (after, before) = (after.map(parts), before.map(parts));
        /// The two orders are two statements, so that each follows the index.
        macro_rules! rows {
            ($order:tt) => {
                sqlx::query_as!(
                    Row,
                    r#"SELECT id, source_id, reason, detail, position, received_at,
                           octet_length(body)::bigint AS "bytes!", replayed_at, event_id
                       FROM quarantine
                       WHERE project_id = $1 AND ($2::uuid IS NULL OR source_id = $2)
                           AND ($3::text IS NULL OR reason = $3)
                           AND received_at >= COALESCE($4::timestamptz, '-infinity')
                           AND received_at < COALESCE($5::timestamptz, 'infinity')
                           AND ($6::boolean OR replayed_at IS NULL)
                           AND received_at >= COALESCE($7::timestamptz, '-infinity')
                           AND received_at <= COALESCE($9::timestamptz, 'infinity')
                           AND ($7 IS NULL OR (received_at, substr(uuid_send(id), 9)) > ($7, $8::bytea))
                           AND ($9 IS NULL OR (received_at, substr(uuid_send(id), 9)) < ($9, $10::bytea))
                       ORDER BY "# + $order + " LIMIT $11",
                    project.as_uuid(),
                    filter.source.map(|id| id.as_uuid()),
                    filter.reason,
                    filter.from.map(Timestamp::to_utc),
                    filter.until.map(Timestamp::to_utc),
                    filter.with_replayed,
                    after.as_ref().map(|(at, _)| *at),
                    after.as_ref().map(|(_, id)| &id[..]),
                    before.as_ref().map(|(at, _)| *at),
                    before.as_ref().map(|(_, id)| &id[..]),
                    request.rows(),
                )
                .fetch_all(self.pool())
                .await
            };
        }
        let rows = if request.reads_ascending() {
            rows!("received_at, substr(uuid_send(id), 9)")
        } else {
            rows!("received_at DESC, substr(uuid_send(id), 9) DESC")
        };
        let rows = rows.map_err(sort)?;
        Ok(request.page(rows).map(|row| QuarantineItem {
            id: QuarantineId::from_uuid(row.id),
            project,
            source: row.source_id.map(SourceId::from_uuid),
            reason: row.reason,
            detail: row.detail,
            position: row.position,
            received_at: Timestamp::from_utc(row.received_at),
            bytes: u64::try_from(row.bytes).unwrap_or(0),
            replayed_at: row.replayed_at.map(Timestamp::from_utc),
            event: row.event_id.map(EventId::from_uuid),
        }))
    }
}

impl Changing {
    /// Deletes messages of a project; how many were there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn discard_quarantined_of(
        &mut self,
        project: ProjectId,
        ids: &[QuarantineId],
    ) -> Result<u64, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let deleted = sqlx::query!(
            "DELETE FROM quarantine WHERE project_id = $1 AND id = ANY ($2)",
            project.as_uuid(),
            &ids
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(deleted.rows_affected())
    }
}
