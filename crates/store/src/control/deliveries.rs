//! Deliveries, for the public API: listed, shown, tried again.
//!
//! Invariants: a list follows an index whatever its filters are, or is given up in time; a delivery is tried again from
//! an end, by one statement that also puts it into the schedule, so that it is either ended or somebody's to claim.

mod again;
mod find;
mod operations;

use std::collections::HashMap;

use longshore_core::delivery::DeliveryState;
use longshore_core::event::Headers;
use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, EndpointId, EventId, ProjectId, SourceId, SubscriptionId, Timestamp};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::listing::{Sql, keys, refused};
use super::page::{Page, PageRequest};
use super::sight::Sight;
use crate::claimed::bad_row;
use crate::connect::Store;
use crate::error::{misconfigured, sort};

pub use operations::{ClaimedRetries, Retries, RetriesState};

/// Which deliveries are meant; what is empty does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryFilter {
    /// To one of these endpoints.
    pub endpoints: Vec<EndpointId>,
    /// Of this event.
    pub event: Option<EventId>,
    /// By this subscription.
    pub subscription: Option<SubscriptionId>,
    /// In one of these states, in the contract's words.
    pub states: Vec<String>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// Of events with this idempotency key.
    pub idempotency_key: Option<String>,
    /// Made at this time, in microseconds, or later.
    pub from_us: Option<i64>,
    /// Made before this time, in microseconds.
    pub until_us: Option<i64>,
}

/// What there is to say of an endpoint in a list.
#[derive(Clone, Debug)]
pub struct EndpointBrief {
    /// Its id.
    pub id: EndpointId,
    /// For people.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// `active`, `paused`, `inactive`.
    pub status: String,
}

/// A delivery as it is shown.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    /// Its id.
    pub id: DeliveryId,
    /// The tenant.
    pub project: ProjectId,
    /// Of which event.
    pub event: EventId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// Why.
    pub subscription: Option<SubscriptionId>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts since it was made, or tried again by hand.
    pub attempts: u16,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When its next attempt is due.
    pub due_at: Option<Timestamp>,
    /// The event's type; `None` when it is kept no longer, like the following.
    pub event_type: Option<String>,
    /// The event's idempotency key.
    pub idempotency_key: Option<String>,
    /// The query that the event's source was asked with.
    pub url_query: Option<String>,
    /// The event's headers.
    pub headers: Headers,
    /// When the event was received.
    pub received_at: Option<Timestamp>,
    /// Whether the event is a duplicate.
    pub is_duplicate: bool,
    /// The event's source.
    pub source: Option<(SourceId, String)>,
    /// The event's body, where it was asked for.
    pub body: Option<Vec<u8>>,
    /// The endpoint, while there is one.
    pub endpoint_brief: Option<EndpointBrief>,
}

impl DeliveryRecord {
    /// An owner is not shown where the event came in.
    fn seen_in(self, sight: &Sight) -> Self {
        let source = self.source.filter(|_| sight.owner_id().is_none());
        Self { source, ..self }
    }
}

impl Store {
    /// A page of deliveries in sight, without the bodies of their events.
    ///
    /// # Errors
    /// [`StoreError`]; rejected when it would look at too much.
    pub async fn deliveries_page(
        &self,
        sight: &Sight,
        filter: &DeliveryFilter,
        request: &PageRequest,
    ) -> Result<Page<DeliveryRecord>, StoreError> {
        let Some(endpoints) = self.in_sight(sight, &filter.endpoints).await? else {
            return Ok(Page::empty());
        };
        let (project, filter) = (sight.project_id(), &DeliveryFilter { endpoints, ..filter.clone() });
        let mut transaction = self.listing().await?;
        let mut sql = Sql::new("");
        find::append(&mut sql, project, filter, request);
        let page = request.page(keys(&mut transaction, sql).await?);
        let ids: Vec<Uuid> = page.items.iter().map(|key| key.id).collect();
        let mut records = load(&mut transaction, project, &ids, false).await?;
        transaction.commit().await.map_err(sort)?;
        let Page { items, has_next, has_previous } = page;
        let items = items.into_iter().filter_map(|key| records.remove(&key.id));
        let items = items.map(|record| record.seen_in(sight)).collect();
        Ok(Page { items, has_next, has_previous })
    }

    /// A delivery in sight, with its event's body.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delivery(
        &self,
        sight: &Sight,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let found =
            load(&mut connection, sight.project_id(), &[id.as_uuid()], true).await?.remove(&id.as_uuid());
        drop(connection);
        let Some(found) = found else { return Ok(None) };
        Ok(self.in_sight(sight, &[found.endpoint]).await?.map(|_| found.seen_in(sight)))
    }

    /// Endpoints in sight, by their ids.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_briefs(
        &self,
        sight: &Sight,
        ids: &[EndpointId],
    ) -> Result<HashMap<EndpointId, EndpointBrief>, StoreError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            "SELECT id, name, url, owner_id, status FROM endpoints
             WHERE project_id = $1 AND id = ANY ($2) AND ($3::text IS NULL OR owner_id = $3)",
            sight.project_id().as_uuid(),
            &ids,
            sight.owner_id(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let summary = |id, name, url, owner, status| {
            let id = EndpointId::from_uuid(id);
            (id, EndpointBrief { id, name, url, owner, status })
        };
        Ok(rows.into_iter().map(|row| summary(row.id, row.name, row.url, row.owner_id, row.status)).collect())
    }
}

struct Row {
    id: Uuid,
    event_id: Uuid,
    endpoint_id: Uuid,
    subscription_id: Option<Uuid>,
    state: String,
    attempt_count: i16,
    finished_at: Option<OffsetDateTime>,
    due_at: Option<OffsetDateTime>,
    event_type: Option<String>,
    idempotency_key: Option<String>,
    url_query: Option<String>,
    headers: Option<String>,
    received_at: Option<OffsetDateTime>,
    is_duplicate: Option<bool>,
    source_id: Option<Uuid>,
    source_name: Option<String>,
    body: Option<Vec<u8>>,
    endpoint_name: Option<String>,
    url: Option<String>,
    owner_id: Option<String>,
    endpoint_status: Option<String>,
}

impl Row {
    fn into_record(self, project: ProjectId) -> Result<DeliveryRecord, StoreError> {
        let endpoint = EndpointId::from_uuid(self.endpoint_id);
        let headers = self.headers.map(|text| Headers::from_json(&text)).transpose();
        let source = self.source_id.map(|id| (SourceId::from_uuid(id), self.source_name.unwrap_or_default()));
        let owner = self.owner_id;
        let named = self.endpoint_name.zip(self.url).zip(self.endpoint_status);
        Ok(DeliveryRecord {
            id: DeliveryId::from_uuid(self.id),
            project,
            event: EventId::from_uuid(self.event_id),
            endpoint,
            subscription: self.subscription_id.map(SubscriptionId::from_uuid),
            state: self.state.parse().map_err(misconfigured)?,
            attempts: u16::try_from(self.attempt_count).unwrap_or(0),
            finished_at: self.finished_at.map(Timestamp::from_utc),
            due_at: self.due_at.map(Timestamp::from_utc),
            event_type: self.event_type,
            idempotency_key: self.idempotency_key,
            url_query: self.url_query,
            headers: headers.map_err(|_| bad_row("headers"))?.unwrap_or_default(),
            received_at: self.received_at.map(Timestamp::from_utc),
            is_duplicate: self.is_duplicate.unwrap_or(false),
            source,
            body: self.body,
            endpoint_brief: named.map(|((name, url), status)| EndpointBrief {
                id: endpoint,
                name,
                url,
                owner,
                status,
            }),
        })
    }
}

/// The rows of those ids.
async fn load(
    connection: &mut sqlx::PgConnection,
    project: ProjectId,
    ids: &[Uuid],
    with_body: bool,
) -> Result<HashMap<Uuid, DeliveryRecord>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT d.id, d.event_id, d.endpoint_id, d.subscription_id, d.state, d.attempt_count, d.finished_at,
               NULLIF(w.due_at, 'infinity') AS due_at, e.event_type AS "event_type?", e.idempotency_key,
               e.url_query, e.headers::text AS headers, e.received_at AS "received_at?", e.is_duplicate AS "is_duplicate?",
               e.source_id, s.name AS "source_name?", CASE WHEN $3 THEN e.body END AS body,
               p.name AS "endpoint_name?", p.url AS "url?", p.owner_id, p.status AS "endpoint_status?"
           FROM deliveries d
           LEFT JOIN schedule w ON w.delivery_id = d.id
           LEFT JOIN endpoints p ON p.project_id = d.project_id AND p.id = d.endpoint_id
           -- OFFSET keeps it a look-up by key in each partition.
           LEFT JOIN LATERAL (
               SELECT * FROM events WHERE project_id = d.project_id AND id = d.event_id OFFSET 0
           ) e ON true
           LEFT JOIN sources s ON s.project_id = e.project_id AND s.id = e.source_id
           WHERE d.project_id = $1 AND d.id = ANY ($2)"#,
        project.as_uuid(),
        ids,
        with_body,
    )
    .fetch_all(connection)
    .await
    .map_err(refused)?;
    rows.into_iter().map(|row| Ok((row.id, row.into_record(project)?))).collect()
}
