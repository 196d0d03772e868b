//! Quarantined messages, for people: list, show, count, discard; and what a replay needs.
//!
//! None of this is on the hot path. Invariant: a body is read only for the one message that is asked for, or to be
//! replayed.

use bytes::Bytes;
use longshore_core::event::Headers;
use longshore_core::ports::{Replayable, StoreError};
use longshore_core::quarantine::MessageFacts;
use longshore_core::{EventId, ProjectId, QuarantineId, SourceId, Timestamp};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// Which quarantined messages are asked for; all that were not replayed by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this source.
    pub source: Option<SourceId>,
    /// For this reason, as stored.
    pub reason: Option<String>,
    /// Received at this time or later.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub until: Option<Timestamp>,
    /// Also those that became events meanwhile.
    pub with_replayed: bool,
}

/// Where a page ended; the next one starts after it.
pub type QuarantineKey = (Timestamp, QuarantineId);

/// A quarantined message without its headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineItem {
    /// Its id.
    pub id: QuarantineId,
    /// The tenant.
    pub project: ProjectId,
    /// Where it came from.
    pub source: Option<SourceId>,
    /// The class of the fault, as [`longshore_core::quarantine::Reason`] spells it.
    pub reason: String,
    /// A sentence for people.
    pub detail: String,
    /// The position at the broker, for people.
    pub position: String,
    /// When we received it.
    pub received_at: Timestamp,
    /// The length of its body.
    pub bytes: u64,
    /// When it became an event after all.
    pub replayed_at: Option<Timestamp>,
    /// That event; before it is replayed, the id that an unfinished replay chose.
    pub event: Option<EventId>,
}

/// Some quarantined messages, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantinePage {
    /// The messages.
    pub items: Vec<QuarantineItem>,
    /// Where to go on; `None` when there are no more.
    pub next: Option<QuarantineKey>,
}

/// A quarantined message, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineEntry {
    /// What the list says.
    pub item: QuarantineItem,
    /// The broker's headers.
    pub headers: Headers,
    /// What the broker said besides; `None` for rows of a version that did not keep it.
    pub facts: Option<MessageFacts>,
    /// The raw bytes.
    pub body: Bytes,
}

/// How many messages wait in quarantine, by what people look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineCount {
    /// The tenant.
    pub project: ProjectId,
    /// Where they came from.
    pub source: Option<SourceId>,
    /// The class of the fault.
    pub reason: String,
    /// How many.
    pub count: u64,
}

impl Store {
    /// A page of at most `limit` messages, newest first, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantined(
        &self,
        filter: &QuarantineFilter,
        after: Option<QuarantineKey>,
        limit: u32,
    ) -> Result<QuarantinePage, StoreError> {
        let rows = sqlx::query_file!(
            "queries/list_quarantine.sql",
            filter.project.map(|id| id.as_uuid()),
            filter.source.map(|id| id.as_uuid()),
            filter.reason,
            filter.from.map(Timestamp::to_utc),
            filter.until.map(Timestamp::to_utc),
            filter.with_replayed,
            after.map(|(at, _)| at.to_utc()),
            after.map(|(_, id)| id.as_uuid()),
            i64::from(limit) + 1,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let mut items: Vec<QuarantineItem> = rows
            .into_iter()
            .map(|row| QuarantineItem {
                id: QuarantineId::from_uuid(row.id),
                project: ProjectId::from_uuid(row.project_id),
                source: row.source_id.map(SourceId::from_uuid),
                reason: row.reason,
                detail: row.detail,
                position: row.position,
                received_at: Timestamp::from_utc(row.received_at),
                bytes: u64::try_from(row.bytes).unwrap_or(0),
                replayed_at: row.replayed_at.map(Timestamp::from_utc),
                event: row.event_id.map(EventId::from_uuid),
            })
            .collect();
        // One more than asked for tells whether there is a next page.
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| has_more).map(|last| (last.received_at, last.id));
        Ok(QuarantinePage { items, next })
    }

    /// One message with its headers and raw bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine_entry(&self, id: QuarantineId) -> Result<Option<QuarantineEntry>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT project_id, id, source_id, reason, detail, position, received_at, replayed_at, event_id, body,
                   headers::text AS "headers!", message::text AS facts
               FROM quarantine WHERE id = $1"#,
            id.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        let facts = row.facts.as_deref().map(MessageFacts::from_json).transpose();
        Ok(Some(QuarantineEntry {
            item: QuarantineItem {
                id,
                project: ProjectId::from_uuid(row.project_id),
                source: row.source_id.map(SourceId::from_uuid),
                reason: row.reason,
                detail: row.detail,
                position: row.position,
                received_at: Timestamp::from_utc(row.received_at),
                bytes: row.body.len() as u64,
                replayed_at: row.replayed_at.map(Timestamp::from_utc),
                event: row.event_id.map(EventId::from_uuid),
            },
            headers: Headers::from_json(&row.headers).map_err(|_| bad_row(id, "headers"))?,
            facts: facts.map_err(|_| bad_row(id, "message"))?,
            body: row.body.into(),
        }))
    }

    /// What a replay of these messages needs, in their order. Left out is what is gone, was replayed, or is of a
    /// version that did not keep enough of it to decode it again as it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replayable(&self, ids: &[QuarantineId]) -> Result<Vec<Replayable>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"SELECT q.project_id, q.id, q.source_id AS "source_id!", q.body, q.headers::text AS "headers!",
                   q.message::text AS "facts!"
               FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, place)
               JOIN quarantine q ON q.id = wanted.id
               WHERE q.replayed_at IS NULL AND q.source_id IS NOT NULL AND q.message IS NOT NULL
               ORDER BY wanted.place"#,
            &ids
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter()
            .map(|row| {
                let id = QuarantineId::from_uuid(row.id);
                Ok(Replayable {
                    id,
                    project: ProjectId::from_uuid(row.project_id),
                    source: SourceId::from_uuid(row.source_id),
                    facts: MessageFacts::from_json(&row.facts).map_err(|_| bad_row(id, "message"))?,
                    headers: Headers::from_json(&row.headers).map_err(|_| bad_row(id, "headers"))?,
                    body: row.body.into(),
                })
            })
            .collect()
    }

    /// Deletes messages; how many were there.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was deleted.
    pub async fn discard_quarantined(&self, ids: &[QuarantineId]) -> Result<u64, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let deleted = sqlx::query!("DELETE FROM quarantine WHERE id = ANY ($1)", &ids)
            .execute(self.pool())
            .await
            .map_err(sort)?;
        Ok(deleted.rows_affected())
    }

    /// How many messages there are, by project, source and reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_quarantined(
        &self,
        filter: &QuarantineFilter,
    ) -> Result<Vec<QuarantineCount>, StoreError> {
        let rows = sqlx::query_file!(
            "queries/count_quarantine.sql",
            filter.project.map(|id| id.as_uuid()),
            filter.source.map(|id| id.as_uuid()),
            filter.reason,
            filter.from.map(Timestamp::to_utc),
            filter.until.map(Timestamp::to_utc),
            filter.with_replayed,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let counts = rows.into_iter().map(|row| QuarantineCount {
            project: ProjectId::from_uuid(row.project_id),
            source: row.source_id.map(SourceId::from_uuid),
            reason: row.reason,
            count: u64::try_from(row.count).unwrap_or(0),
        });
        Ok(counts.collect())
    }
}

fn bad_row(id: QuarantineId, column: &str) -> StoreError {
    StoreError::Misconfigured(format!("quarantine row {id}: unexpected value in `{column}`"))
}
