//! Reading endpoints.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::endpoint::EndpointCredentials;
use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, Endpoint, EndpointId, ProjectId, Secret, Timestamp};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{BreakerRecord, Contacts, EndpointFilter, EndpointOutcomes, SecretRecord, StoredEndpoint};
use crate::breakers::BreakerEvent;
use crate::connect::Store;
use crate::control::page::{Page, PageRequest};
use crate::control::sight::Sight;
use crate::error::{misconfigured, sort};
use crate::rows::open_endpoint;
use crate::seal::Keys;

/// A row, before it is opened.
pub(super) struct Row {
    project_id: Uuid,
    id: Uuid,
    name: String,
    description: String,
    url: String,
    owner_id: Option<String>,
    status: String,
    advanced_signatures: bool,
    http_timeout_ms: i32,
    max_concurrency: i32,
    settings: Value,
    sealed_credentials: Option<Vec<u8>>,
    sealed_contacts: Option<Vec<u8>>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    breaker_state: Option<String>,
    trips: Option<i32>,
    until_at: Option<OffsetDateTime>,
    changed_at: Option<OffsetDateTime>,
    requests: i64,
    failures: i64,
    deliveries: i64,
}

impl Row {
    fn open(self, keys: &Keys, secrets: Vec<SecretRecord>) -> Result<StoredEndpoint, StoreError> {
        let bad =
            |problem: &dyn std::fmt::Display| misconfigured(format!("endpoints row {}: {problem}", self.id));
        let credentials = match &self.sealed_credentials {
            Some(sealed) => open_endpoint(keys, sealed, self.id).map_err(|error| bad(&error))?,
            None => EndpointCredentials::default(),
        };
        let contacts = match &self.sealed_contacts {
            Some(sealed) => {
                let plain = keys.open(sealed, self.id.as_bytes()).map_err(|error| bad(&error))?;
                // The parser's own words could quote a secret.
                serde_json::from_slice(&plain).map_err(|_| bad(&"the sealed contacts are no JSON"))?
            }
            None => Contacts::default(),
        };
        let breaker = match (&self.breaker_state, self.changed_at) {
            (Some(state), Some(changed_at)) => Some(BreakerRecord {
                state: crate::breakers::state(state)?,
                trips: self.trips.and_then(|trips| u32::try_from(trips).ok()).unwrap_or(0),
                until: self.until_at.map(Timestamp::from_utc),
                changed_at: Timestamp::from_utc(changed_at),
                requests: u64::try_from(self.requests).unwrap_or(0),
                failures: u64::try_from(self.failures).unwrap_or(0),
            }),
            _ => None,
        };
        Ok(StoredEndpoint {
            endpoint: Endpoint {
                id: EndpointId::from_uuid(self.id),
                project: ProjectId::from_uuid(self.project_id),
                url: self.url.parse().map_err(|error| bad(&error))?,
                status: self.status.parse().map_err(|error| bad(&error))?,
                settings: serde_json::from_value(self.settings.clone()).map_err(|error| bad(&error))?,
                name: self.name,
                owner_id: self.owner_id,
                keys: Vec::new(),
                advanced_signatures: self.advanced_signatures,
                http_timeout: Duration::from_millis(u64::try_from(self.http_timeout_ms).unwrap_or(0)),
                max_concurrency: u16::try_from(self.max_concurrency).unwrap_or(1),
                credentials,
            },
            description: self.description,
            contacts,
            secrets,
            breaker,
            deliveries: u64::try_from(self.deliveries).unwrap_or(0),
            created_at: Timestamp::from_utc(self.created_at),
            updated_at: Timestamp::from_utc(self.updated_at),
        })
    }
}

impl Store {
    /// A page of a project's endpoints; of an owner, his.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoints_page(
        &self,
        sight: &Sight,
        filter: &EndpointFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredEndpoint>, StoreError> {
        let owner = match (sight.owner_id(), filter.owner.as_deref()) {
            (Some(own), Some(asked)) if own != asked => return Ok(request.page(Vec::new())),
            (own, asked) => own.or(asked),
        };
        let (project, (after, before)) = (sight.project_id(), request.bounds());
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let rows = sqlx::query_file_as!(
            Row,
            "queries/list_endpoints.sql",
            project.as_uuid(),
            None::<Vec<Uuid>> as Option<Vec<Uuid>>,
            filter.name.as_deref().map(escaped),
            owner,
            after,
            before,
            request.reads_ascending(),
            request.rows(),
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(sort)?;
        let page = request.page(rows);
        let ids: Vec<Uuid> = page.items.iter().map(|row| row.id).collect();
        let mut secrets = secrets(&mut connection, self.keys(), project, &ids).await?;
        page.try_map(|row| {
            let secrets = secrets.remove(&row.id).unwrap_or_default();
            row.open(self.keys(), secrets)
        })
    }

    /// An endpoint of a project; of an owner, one of his.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint(
        &self,
        sight: &Sight,
        id: EndpointId,
    ) -> Result<Option<StoredEndpoint>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        find(&mut connection, self.keys(), sight, id).await
    }

    /// How the deliveries of a project's endpoints went that were made in a span of time; of all endpoints when none is
    /// named. Endpoints without a delivery are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_outcomes(
        &self,
        project: ProjectId,
        endpoints: &[EndpointId],
        span: std::ops::Range<Timestamp>,
    ) -> Result<Vec<EndpointOutcomes>, StoreError> {
        let ids: Vec<Uuid> = endpoints.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query!(
            r#"SELECT endpoint_id,
                   count(*) FILTER (WHERE state = 'Success') AS "success!",
                   count(*) FILTER (WHERE state = 'Failure') AS "failure!",
                   count(*) FILTER (WHERE state = 'Retry') AS "retry!"
               FROM deliveries
               WHERE project_id = $1 AND id >= $2 AND id < $3 AND ($4::uuid[] = '{}' OR endpoint_id = ANY($4))
               GROUP BY endpoint_id ORDER BY endpoint_id LIMIT 1000"#,
            project.as_uuid(),
            DeliveryId::floor(span.start).as_uuid(),
            DeliveryId::floor(span.end).as_uuid(),
            &ids,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        let outcomes = rows.into_iter().map(|row| EndpointOutcomes {
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            success: count(row.success),
            failure: count(row.failure),
            retry: count(row.retry),
        });
        Ok(outcomes.collect())
    }

    /// The last changes of an endpoint's breaker, newest first, at most `max`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn breaker_history(
        &self,
        project: ProjectId,
        endpoint: EndpointId,
        max: u32,
    ) -> Result<Vec<BreakerEvent>, StoreError> {
        let rows = sqlx::query!(
            "SELECT id, from_state, to_state, trips, is_disabled, occurred_at FROM breaker_events
             WHERE project_id = $1 AND endpoint_id = $2 ORDER BY id DESC LIMIT $3",
            project.as_uuid(),
            endpoint.as_uuid(),
            i64::from(max),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter()
            .map(|row| {
                Ok(BreakerEvent {
                    id: row.id,
                    project,
                    endpoint,
                    from: crate::breakers::state(&row.from_state)?,
                    to: crate::breakers::state(&row.to_state)?,
                    trips: u32::try_from(row.trips).unwrap_or(0),
                    is_disabled: row.is_disabled,
                    occurred_at: Timestamp::from_utc(row.occurred_at),
                })
            })
            .collect()
    }
}

/// An endpoint of a project, read within a transaction or not.
pub(super) async fn find(
    connection: &mut PgConnection,
    keys: &Keys,
    sight: &Sight,
    id: EndpointId,
) -> Result<Option<StoredEndpoint>, StoreError> {
    let row = sqlx::query_file_as!(
        Row,
        "queries/list_endpoints.sql",
        sight.project_id().as_uuid(),
        Some(vec![id.as_uuid()]) as Option<Vec<Uuid>>,
        None::<String>,
        sight.owner_id(),
        None::<Uuid>,
        None::<Uuid>,
        true,
        1,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(sort)?;
    let Some(row) = row else { return Ok(None) };
    let mut secrets = secrets(connection, keys, sight.project_id(), &[row.id]).await?;
    let secrets = secrets.remove(&row.id).unwrap_or_default();
    row.open(keys, secrets).map(Some)
}

/// The secrets of endpoints, oldest first.
async fn secrets(
    connection: &mut PgConnection,
    keys: &Keys,
    project: ProjectId,
    endpoints: &[Uuid],
) -> Result<HashMap<Uuid, Vec<SecretRecord>>, StoreError> {
    let rows = sqlx::query!(
        "SELECT endpoint_id, id, sealed, created_at, expires_at FROM endpoint_secrets
         WHERE project_id = $1 AND endpoint_id = ANY($2) ORDER BY endpoint_id, created_at, id",
        project.as_uuid(),
        endpoints,
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    let mut found: HashMap<Uuid, Vec<SecretRecord>> = HashMap::new();
    for row in rows {
        let bad = |problem: String| misconfigured(format!("endpoint_secrets row {}: {problem}", row.id));
        let plain = keys.open(&row.sealed, row.id.as_bytes()).map_err(|error| bad(error.to_string()))?;
        let text = String::from_utf8(plain).map_err(|_| bad("not text".to_owned()))?;
        found.entry(row.endpoint_id).or_default().push(SecretRecord {
            id: EndpointId::from_uuid(row.id),
            text: Secret::new(text),
            created_at: Timestamp::from_utc(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_utc),
        });
    }
    Ok(found)
}

/// A text as a pattern of `LIKE` that means it and nothing else, anywhere.
fn escaped(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
