//! Subscriptions with their filters, for the public API.
//!
//! Invariant: a filter's event type is there once in a subscription; what is written has been parsed before.

use longshore_core::ports::StoreError;
use longshore_core::subscription::Ordered;
use longshore_core::{
    EndpointId, FilterId, ProjectId, RetrySchedule, SourceId, SubscriptionId, Timestamp, TypePattern,
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::changing::Changing;
use super::page::{Page, PageRequest};
use super::sight::Sight;
use crate::connect::Store;
use crate::error::{misconfigured, sort};
use crate::rows::StoredFilter;

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRecord {
    /// Its id.
    pub id: SubscriptionId,
    /// For people.
    pub name: String,
    /// Where matching events go.
    pub endpoint: EndpointId,
    /// The only source whose events it takes; `None` for all.
    pub source: Option<SourceId>,
    /// An event matches when any of these does.
    pub event_types: Vec<TypePattern>,
    /// By event type; the one for `*` is that of the subscription as a whole.
    pub filters: Vec<FilterRecord>,
    /// Beats the project's schedule.
    pub retry: Option<RetrySchedule>,
    /// Whether its deliveries go out in order, and by what.
    pub ordered: Option<Ordered>,
    /// What the contract has and nothing acts on: a JSON object.
    pub contract_settings: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it or one of its filters was changed last.
    pub updated_at: Timestamp,
}

/// A filter of a subscription for some event types.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterRecord {
    /// Its id.
    pub id: FilterId,
    /// Which event types it is for.
    pub event_type: TypePattern,
    /// Over the body.
    pub body: Option<Value>,
    /// Over the headers.
    pub headers: Option<Value>,
    /// Since when it is asked; `None` while it rests.
    pub enabled_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What is shown of a subscription's endpoint beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedEndpoint {
    /// For people.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// Whose it is.
    pub owner_id: Option<String>,
    /// `active`, `paused` or `inactive`.
    pub status: String,
    /// Whether its signatures have the contract's advanced form.
    pub advanced_signatures: bool,
    /// How long a request may take, in milliseconds.
    pub http_timeout_ms: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What is shown of a subscription's source beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBrief {
    /// For people.
    pub name: String,
    /// The broker, or [`HTTP`](super::HTTP).
    pub kind: String,
    /// Whose webhooks it receives.
    pub provider: String,
    /// The end of its URL.
    pub mask_id: Option<String>,
    /// Whether it rests.
    pub is_disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A subscription with what is shown beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSubscription {
    /// The subscription.
    pub record: SubscriptionRecord,
    /// Its endpoint.
    pub endpoint: SubscribedEndpoint,
    /// Its source, if it has one and that is still there.
    pub source: Option<SourceBrief>,
}

/// Which subscriptions are asked for; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionFilter {
    /// Of these endpoints; of any when empty.
    pub endpoints: Vec<EndpointId>,
    /// With this in their name, whatever its case.
    pub name: Option<String>,
}

struct Row {
    id: Uuid,
    name: String,
    endpoint_id: Uuid,
    source_id: Option<Uuid>,
    event_types: Vec<String>,
    filters: Value,
    retry: Option<Value>,
    ordered: Option<Value>,
    contract_settings: Value,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    endpoint_name: String,
    endpoint_url: String,
    endpoint_owner: Option<String>,
    endpoint_status: String,
    endpoint_advanced: bool,
    endpoint_timeout: i32,
    endpoint_created_at: OffsetDateTime,
    endpoint_updated_at: OffsetDateTime,
    source_name: Option<String>,
    source_kind: Option<String>,
    source_provider: Option<String>,
    source_mask: Option<String>,
    source_disabled: Option<bool>,
    source_created_at: Option<OffsetDateTime>,
    source_updated_at: Option<OffsetDateTime>,
}

impl Row {
    fn parse(self) -> Result<ListedSubscription, StoreError> {
        let id = self.id;
        let fault = |problem: String| StoreError::Misconfigured(format!("subscriptions row {id}: {problem}"));
        let created_at = Timestamp::from_utc(self.created_at);
        let event_types: Result<_, _> = self.event_types.iter().map(|text| text.parse()).collect();
        let filters: Vec<StoredFilter> =
            serde_json::from_value(self.filters).map_err(|error| fault(error.to_string()))?;
        let id = SubscriptionId::from_uuid(id);
        let retry = self.retry.map(serde_json::from_value).transpose();
        let ordered = self.ordered.map(serde_json::from_value).transpose();
        let record = SubscriptionRecord {
            id,
            name: self.name,
            endpoint: EndpointId::from_uuid(self.endpoint_id),
            source: self.source_id.map(SourceId::from_uuid),
            event_types: event_types
                .map_err(|error: longshore_core::subscription::PatternError| fault(error.to_string()))?,
            filters: filters.into_iter().map(|stored| FilterRecord::of(stored, id, created_at)).collect(),
            retry: retry.map_err(|error| fault(error.to_string()))?,
            ordered: ordered.map_err(|error| fault(error.to_string()))?,
            contract_settings: self.contract_settings,
            created_at,
            updated_at: Timestamp::from_utc(self.updated_at),
        };
        let endpoint = SubscribedEndpoint {
            name: self.endpoint_name,
            url: self.endpoint_url,
            owner_id: self.endpoint_owner,
            status: self.endpoint_status,
            advanced_signatures: self.endpoint_advanced,
            http_timeout_ms: self.endpoint_timeout,
            created_at: Timestamp::from_utc(self.endpoint_created_at),
            updated_at: Timestamp::from_utc(self.endpoint_updated_at),
        };
        let times = self.source_created_at.zip(self.source_updated_at);
        let source = times.map(|(created_at, updated_at)| SourceBrief {
            name: self.source_name.unwrap_or_default(),
            kind: self.source_kind.unwrap_or_default(),
            provider: self.source_provider.unwrap_or_default(),
            mask_id: self.source_mask,
            is_disabled: self.source_disabled.unwrap_or_default(),
            created_at: Timestamp::from_utc(created_at),
            updated_at: Timestamp::from_utc(updated_at),
        });
        Ok(ListedSubscription { record, endpoint, source })
    }
}

impl FilterRecord {
    /// What a resource file declared has its subscription's times.
    fn of(stored: StoredFilter, subscription: SubscriptionId, made: Timestamp) -> Self {
        let at = |micros: Option<i64>| micros.map_or(made, Timestamp::from_micros);
        let derived = || FilterId::derive(subscription, &stored.event_type.to_string());
        Self {
            id: stored.id.unwrap_or_else(derived),
            enabled_at: (!stored.is_disabled).then(|| at(stored.enabled_at)),
            created_at: at(stored.created_at),
            updated_at: at(stored.updated_at),
            event_type: stored.event_type,
            body: stored.body,
            headers: stored.headers,
        }
    }

    fn stored(&self) -> StoredFilter {
        StoredFilter {
            event_type: self.event_type.clone(),
            body: self.body.clone(),
            headers: self.headers.clone(),
            id: Some(self.id),
            is_disabled: self.enabled_at.is_none(),
            enabled_at: self.enabled_at.map(Timestamp::as_micros),
            created_at: Some(self.created_at.as_micros()),
            updated_at: Some(self.updated_at.as_micros()),
        }
    }
}

/// Several subscriptions, one, and what one change sees differ in their `WHERE` alone.
macro_rules! select {
    ($rest:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT s.id, s.name, s.endpoint_id, s.source_id, s.event_types, s.filters, s.retry, s.ordered,
                   s.contract_settings, s.created_at, s.updated_at,
                   e.name AS endpoint_name, e.url AS endpoint_url, e.owner_id AS endpoint_owner,
                   e.status AS endpoint_status, e.advanced_signatures AS endpoint_advanced,
                   e.http_timeout_ms AS endpoint_timeout, e.created_at AS endpoint_created_at,
                   e.updated_at AS endpoint_updated_at,
                   f.name AS "source_name?", f.kind AS "source_kind?", f.provider AS "source_provider?",
                   f.mask_id AS "source_mask?", f.is_disabled AS "source_disabled?",
                   f.created_at AS "source_created_at?", f.updated_at AS "source_updated_at?"
               FROM subscriptions s
               JOIN endpoints e ON e.project_id = s.project_id AND e.id = s.endpoint_id
               LEFT JOIN sources f ON f.project_id = s.project_id AND f.id = s.source_id
               WHERE s.project_id = $1 "#
                + $rest,
            $($argument),+
        )
    };
}

impl Store {
    /// A page of a project's subscriptions; of an owner, those of his endpoints.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscriptions_page(
        &self,
        sight: &Sight,
        filter: &SubscriptionFilter,
        request: &PageRequest,
    ) -> Result<Page<ListedSubscription>, StoreError> {
        let (after, before) = request.bounds();
        let endpoints: Vec<Uuid> = filter.endpoints.iter().map(|id| id.as_uuid()).collect();
        let rows = select!(
            r#"AND (cardinality($2::uuid[]) = 0 OR s.endpoint_id = ANY($2))
               AND ($3::text IS NULL OR position(lower($3) IN lower(s.name)) > 0)
               AND ($4::uuid IS NULL OR s.id > $4) AND ($5::uuid IS NULL OR s.id < $5)
               AND ($8::text IS NULL OR e.owner_id = $8)
               ORDER BY CASE WHEN $6 THEN s.id END, CASE WHEN NOT $6 THEN s.id END DESC
               LIMIT $7"#,
            sight.project_id().as_uuid(),
            &endpoints,
            filter.name,
            after,
            before,
            request.reads_ascending(),
            request.rows(),
            sight.owner_id(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        request.page(rows).try_map(Row::parse)
    }

    /// A subscription of a project; of an owner, one of his endpoints'.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscription(
        &self,
        sight: &Sight,
        id: SubscriptionId,
    ) -> Result<Option<ListedSubscription>, StoreError> {
        let row = select!(
            "AND s.id = $2 AND ($3::text IS NULL OR e.owner_id = $3)",
            sight.project_id().as_uuid(),
            id.as_uuid(),
            sight.owner_id(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        row.map(Row::parse).transpose()
    }
}

impl Changing {
    /// A subscription as it is now; it stays so until the change ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn subscription(
        &mut self,
        project: ProjectId,
        id: SubscriptionId,
    ) -> Result<Option<ListedSubscription>, StoreError> {
        let row = select!("AND s.id = $2", project.as_uuid(), id.as_uuid())
            .fetch_optional(self.connection())
            .await
            .map_err(sort)?;
        row.map(Row::parse).transpose()
    }

    /// Whether a project has that endpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_endpoint(&mut self, project: ProjectId, id: EndpointId) -> Result<bool, StoreError> {
        sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM endpoints WHERE project_id = $1 AND id = $2) AS "is_there!""#,
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)
    }

    /// Whether a project has that source.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_source(&mut self, project: ProjectId, id: SourceId) -> Result<bool, StoreError> {
        let at = self.source_changed_at(project, id).await?;
        Ok(at.is_some())
    }

    /// Writes a subscription, new or changed, but for its times, which are those of the change. Its endpoint is of the
    /// project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_subscription(
        &mut self,
        project: ProjectId,
        subscription: &SubscriptionRecord,
    ) -> Result<(), StoreError> {
        let event_types: Vec<String> = subscription.event_types.iter().map(ToString::to_string).collect();
        let filters: Vec<StoredFilter> = subscription.filters.iter().map(FilterRecord::stored).collect();
        let retry = subscription.retry.as_ref().map(serde_json::to_value).transpose();
        let ordered = subscription.ordered.as_ref().map(serde_json::to_value).transpose();
        sqlx::query!(
            "INSERT INTO subscriptions (project_id, id, endpoint_id, name, event_types, filters, retry, ordered, source_id,
                 contract_settings)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             ON CONFLICT (project_id, id) DO UPDATE SET endpoint_id = excluded.endpoint_id, name = excluded.name,
                 event_types = excluded.event_types, filters = excluded.filters, retry = excluded.retry,
                 ordered = excluded.ordered, source_id = excluded.source_id,
                 contract_settings = excluded.contract_settings, updated_at = clock_timestamp()",
            project.as_uuid(),
            subscription.id.as_uuid(),
            subscription.endpoint.as_uuid(),
            subscription.name,
            &event_types,
            serde_json::to_value(&filters).map_err(misconfigured)?,
            retry.map_err(misconfigured)?,
            ordered.map_err(misconfigured)?,
            subscription.source.map(|id| id.as_uuid()),
            subscription.contract_settings,
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// Deletes a subscription; whether it was there. Deliveries that it made go on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_subscription(
        &mut self,
        project: ProjectId,
        id: SubscriptionId,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "DELETE FROM subscriptions WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(done.rows_affected() == 1)
    }
}
