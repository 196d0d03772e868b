//! Events, for the public API: listed, searched, shown.
//!
//! Invariants: a list follows an index whatever its filters are, or is given up in time; the bodies of one page take no
//! more than [`MOST_BODIES`] of memory. An event's time in a list is that of its id.

mod find;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use longshore_core::event::{Event, Headers};
use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, EventId, ProjectId, SourceId, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::listing::{Sql, keys, refused};
use super::page::{Direction, Page, PageRequest};
use super::sight::Sight;
use crate::claimed::{bad_row, target};
use crate::connect::Store;
use crate::error::sort;

/// Bytes of bodies in one page; what comes after that many is listed without its body.
const MOST_BODIES: usize = 16 * 1024 * 1024;

/// Which events are meant; what is empty does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventFilter {
    /// Of one of these sources.
    pub sources: Vec<SourceId>,
    /// Delivered to one of these endpoints; the list is in the order of those deliveries then.
    pub endpoints: Vec<EndpointId>,
    /// With this idempotency key.
    pub idempotency_key: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
    /// Not earlier.
    pub from: Option<Timestamp>,
    /// Earlier than this.
    pub until: Option<Timestamp>,
    /// `true`: no delivery was made of them, although they are no duplicates; `false`: the others.
    pub is_unmatched: Option<bool>,
    /// With this in the id, the idempotency key, the type, the source's name, or as words in the body.
    pub text: Option<String>,
    /// The body contains each of these.
    pub parts: Vec<Value>,
}

/// An event as it is shown.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The event; its body is empty when `has_body` says so.
    pub event: Event,
    /// Whether the body is there: the last ones of a page of very large events have none.
    pub has_body: bool,
    /// Whether there was one with that idempotency key before.
    pub is_duplicate: bool,
    /// The source's name, while there is one.
    pub source_name: Option<String>,
    /// The endpoints it was or is delivered to.
    pub endpoints: Vec<EndpointId>,
}

/// An event of a list.
#[derive(Clone, Debug)]
pub struct ListedEvent {
    /// Where it stands: the cursor.
    pub cursor: EventId,
    /// The event.
    pub record: EventRecord,
}

impl EventRecord {
    /// What is shown of it to whom these endpoints belong: not to whom else it went, nor where it came in. `None` for all.
    fn seen_by(mut self, endpoints: Option<&[EndpointId]>) -> Self {
        if let Some(endpoints) = endpoints {
            self.endpoints.retain(|id| endpoints.contains(id));
            (self.event.source, self.source_name) = (None, None);
        }
        self
    }
}

impl Store {
    /// A page of events in sight; to an owner they are shown as they came to his endpoints.
    ///
    /// # Errors
    /// [`StoreError`]; rejected when it would look at too much.
    pub async fn events_page(
        &self,
        sight: &Sight,
        filter: &EventFilter,
        request: &PageRequest,
    ) -> Result<Page<ListedEvent>, StoreError> {
        let Some(endpoints) = self.in_sight(sight, &filter.endpoints).await? else {
            return Ok(Page::empty());
        };
        let seen = sight.owner_id().map(|_| endpoints.clone());
        let (project, filter) = (sight.project_id(), &EventFilter { endpoints, ..filter.clone() });
        let mut transaction = self.listing().await?;
        let page = request.page(keys(&mut transaction, statement(project, filter, request)).await?);
        let ids: Vec<Uuid> = page.items.iter().map(|key| key.id).collect();
        let mut records = load(&mut transaction, project, &ids).await?;
        transaction.commit().await.map_err(sort)?;
        let Page { items, has_next, has_previous } = page;
        let items = items.into_iter().filter_map(|key| {
            let record = records.remove(&key.id)?.seen_by(seen.as_deref());
            Some(ListedEvent { cursor: EventId::from_uuid(key.cursor), record })
        });
        Ok(Page { items: items.collect(), has_next, has_previous })
    }

    /// How many events that is, counted up to `most`.
    ///
    /// # Errors
    /// [`StoreError`]; rejected when it would look at too much.
    pub async fn count_events(
        &self,
        project: ProjectId,
        filter: &EventFilter,
        most: u32,
    ) -> Result<u64, StoreError> {
        let request =
            PageRequest { limit: most, cursor: None, direction: Direction::Next, is_ascending: false };
        let mut transaction = self.listing().await?;
        let mut sql = Sql::new("SELECT count(*) FROM (");
        find::append(&mut sql, project, filter, &request);
        sql.push(") AS found (position, id)");
        let count: i64 =
            sql.build_query_scalar().persistent(false).fetch_one(&mut *transaction).await.map_err(refused)?;
        transaction.commit().await.map_err(sort)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The ids of a page of events, without anything else.
    ///
    /// # Errors
    /// [`StoreError`]; rejected when it would look at too much.
    pub async fn event_ids(
        &self,
        project: ProjectId,
        filter: &EventFilter,
        request: &PageRequest,
    ) -> Result<Vec<(EventId, EventId)>, StoreError> {
        let mut transaction = self.listing().await?;
        let found = keys(&mut transaction, statement(project, filter, request)).await?;
        transaction.commit().await.map_err(sort)?;
        let page = request.page(found);
        Ok(page
            .items
            .into_iter()
            .map(|key| (EventId::from_uuid(key.cursor), EventId::from_uuid(key.id)))
            .collect())
    }

    /// An event in sight; to an owner it is shown as it came to his endpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event(&self, sight: &Sight, id: EventId) -> Result<Option<EventRecord>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let found = load(&mut connection, sight.project_id(), &[id.as_uuid()]).await?.remove(&id.as_uuid());
        drop(connection);
        let Some(found) = found else { return Ok(None) };
        if sight.owner_id().is_none() {
            return Ok(Some(found));
        }
        let seen = match found.endpoints.is_empty() {
            true => None,
            false => self.in_sight(sight, &found.endpoints).await?,
        };
        Ok(seen.map(|seen| found.seen_by(Some(&seen))))
    }

    /// Events of a project as they came, without those that are gone, in no order; and those that are left for another
    /// call because their bodies would take too much memory at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn whole_events(
        &self,
        project: ProjectId,
        ids: &[EventId],
    ) -> Result<(Vec<Arc<Event>>, Vec<EventId>), StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let found = load(&mut connection, project, &ids).await?;
        let (whole, rest): (Vec<_>, Vec<_>) = found.into_values().partition(|record| record.has_body);
        let whole = whole.into_iter().map(|record| Arc::new(record.event)).collect();
        Ok((whole, rest.into_iter().map(|record| record.event.id).collect()))
    }
}

fn statement(project: ProjectId, filter: &EventFilter, request: &PageRequest) -> Sql {
    let mut sql = Sql::new("");
    find::append(&mut sql, project, filter, request);
    sql
}

/// The rows of those ids.
async fn load(
    connection: &mut PgConnection,
    project: ProjectId,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, EventRecord>, StoreError> {
    let mut rows = sqlx::query!(
        r#"SELECT e.id, e.source_id, e.kind, e.endpoint_id, e.owner_id, e.event_type, e.idempotency_key, e.is_duplicate,
               e.headers::text AS "headers!", e.body, e.received_at, e.ordering_key, e.occurred_at, e.content_type,
               e.attributes::text AS attributes, e.url_query, s.name AS "source_name?",
               ARRAY(SELECT DISTINCT d.endpoint_id FROM deliveries d
                     WHERE d.project_id = e.project_id AND d.event_id = e.id ORDER BY 1) AS "endpoints!"
           FROM events e
           LEFT JOIN sources s ON s.project_id = e.project_id AND s.id = e.source_id
           WHERE e.project_id = $1 AND e.id = ANY ($2)"#,
        project.as_uuid(),
        ids,
    )
    .fetch(connection);
    let (mut found, mut bytes) = (HashMap::with_capacity(ids.len()), 0);
    while let Some(row) = rows.try_next().await.map_err(refused)? {
        bytes += row.body.len();
        // A single one is always whole.
        let has_body = bytes <= MOST_BODIES || found.is_empty();
        let event = Event {
            id: EventId::from_uuid(row.id),
            project,
            source: row.source_id.map(SourceId::from_uuid),
            target: target(&row.kind, row.endpoint_id, row.owner_id)?,
            event_type: row.event_type,
            body: if has_body { row.body.into() } else { Bytes::new() },
            headers: Headers::from_json(&row.headers).map_err(|_| bad_row("headers"))?,
            idempotency_key: row.idempotency_key,
            received_at: Timestamp::from_utc(row.received_at),
            ordering_key: row.ordering_key,
            occurred_at: row.occurred_at.map(Timestamp::from_utc),
            content_type: row.content_type,
            attributes: row.attributes,
            url_query: row.url_query,
        };
        let record = EventRecord {
            event,
            has_body,
            is_duplicate: row.is_duplicate,
            source_name: row.source_name,
            endpoints: row.endpoints.into_iter().map(EndpointId::from_uuid).collect(),
        };
        found.insert(row.id, record);
    }
    Ok(found)
}
