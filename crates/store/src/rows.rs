//! Rows of the configuration tables as domain values.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::catalogue::{Catalogue, EventTypePolicy, Schema};
use longshore_core::endpoint::{
    Authentication, Endpoint, EndpointCredentials, EndpointKey, EndpointSettings,
};
use longshore_core::filter::{Filter, FilterError, FilterSet};
use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::{DynamicEndpoint, StoreError};
use longshore_core::project::{Project, ProjectCredentials, ProjectSettings};
use longshore_core::retry::RetrySchedule;
use longshore_core::signature::SigningKey;
use longshore_core::subscription::{Ordered, Subscription, TypePattern};
use longshore_core::{EndpointId, FilterId, ProjectId, Secret, SourceId, SubscriptionId, Timestamp};
use rand::TryRngCore;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;
use crate::seal::Keys;

/// How a filter of a subscription is kept. Instants are microseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredFilter {
    pub(crate) event_type: TypePattern,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<Value>,
    /// Absent in those of resource files: see [`FilterId::derive`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<FilterId>,
    /// Whether it rests: then it is as if it were not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_disabled: bool,
    /// Absent: as long as its subscription, as the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enabled_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<i64>,
}

impl StoredFilter {
    /// One that a resource file declares.
    pub(crate) const fn declared(
        event_type: TypePattern,
        body: Option<Value>,
        headers: Option<Value>,
    ) -> Self {
        Self {
            event_type,
            body,
            headers,
            id: None,
            is_disabled: false,
            enabled_at: None,
            created_at: None,
            updated_at: None,
        }
    }
}

/// A stored value that does not parse: the row is named, its content is not shown.
fn bad(table: &str, id: Uuid, problem: impl std::fmt::Display) -> StoreError {
    StoreError::Misconfigured(format!("{table} row {id}: {problem}"))
}

pub(crate) async fn projects(connection: &mut PgConnection, keys: &Keys) -> Result<Vec<Project>, StoreError> {
    let rows = sqlx::query!("SELECT id, name, settings, sealed_credentials FROM projects")
        .fetch_all(connection)
        .await
        .map_err(sort)?;
    rows.into_iter()
        .map(|row| project(row.id, row.name, row.settings, row.sealed_credentials.as_deref(), keys))
        .collect()
}

/// One project from its columns.
pub(crate) fn project(
    id: Uuid,
    name: String,
    settings: Value,
    sealed: Option<&[u8]>,
    keys: &Keys,
) -> Result<Project, StoreError> {
    let settings: ProjectSettings =
        serde_json::from_value(settings).map_err(|error| bad("projects", id, error))?;
    let credentials = match sealed {
        Some(sealed) => open_project(keys, sealed, id).map_err(|error| bad("projects", id, error))?,
        None => ProjectCredentials::default(),
    };
    Ok(Project { id: ProjectId::from_uuid(id), name, settings, credentials })
}

/// Every endpoint with its keys.
pub(crate) async fn endpoints(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<Endpoint>, StoreError> {
    let mut secrets: HashMap<Uuid, Vec<EndpointKey>> = HashMap::new();
    let rows = sqlx::query!(
        "SELECT endpoint_id, id, sealed, expires_at FROM endpoint_secrets
         ORDER BY endpoint_id, created_at, id"
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    for row in rows {
        let text =
            open_text(keys, &row.sealed, row.id).map_err(|error| bad("endpoint_secrets", row.id, error))?;
        let key = SigningKey::parse(&text).map_err(|error| bad("endpoint_secrets", row.id, error))?;
        let expires_at = row.expires_at.map(Timestamp::from_utc);
        secrets.entry(row.endpoint_id).or_default().push(EndpointKey { key, expires_at });
    }
    let rows = sqlx::query!(
        "SELECT project_id, id, name, url, owner_id, status, advanced_signatures, http_timeout_ms, max_concurrency,
             settings, sealed_credentials
         FROM endpoints"
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    rows.into_iter()
        .map(|row| {
            let credentials = match &row.sealed_credentials {
                Some(sealed) => {
                    open_endpoint(keys, sealed, row.id).map_err(|error| bad("endpoints", row.id, error))?
                }
                None => EndpointCredentials::default(),
            };
            let settings: EndpointSettings =
                serde_json::from_value(row.settings).map_err(|error| bad("endpoints", row.id, error))?;
            Ok(Endpoint {
                id: EndpointId::from_uuid(row.id),
                project: ProjectId::from_uuid(row.project_id),
                name: row.name,
                url: row.url.parse().map_err(|error| bad("endpoints", row.id, error))?,
                owner_id: row.owner_id,
                status: row.status.parse().map_err(|error| bad("endpoints", row.id, error))?,
                keys: secrets.remove(&row.id).unwrap_or_default(),
                advanced_signatures: row.advanced_signatures,
                http_timeout: Duration::from_millis(u64::try_from(row.http_timeout_ms).unwrap_or(0)),
                max_concurrency: u16::try_from(row.max_concurrency).unwrap_or(1),
                settings,
                credentials,
            })
        })
        .collect()
}

/// Every subscription.
pub(crate) async fn subscriptions(connection: &mut PgConnection) -> Result<Vec<Subscription>, StoreError> {
    let rows = sqlx::query!(
        "SELECT project_id, id, endpoint_id, name, event_types, filters, retry, ordered, source_id FROM subscriptions"
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    rows.into_iter()
        .map(|row| {
            let fault = |problem: String| bad("subscriptions", row.id, problem);
            let event_types: Result<Vec<TypePattern>, _> =
                row.event_types.iter().map(|text| text.parse()).collect();
            let filters: Vec<StoredFilter> =
                serde_json::from_value(row.filters).map_err(|error| fault(error.to_string()))?;
            let filters: Result<Vec<_>, FilterError> = filters
                .into_iter()
                .filter(|stored| !stored.is_disabled)
                .map(|stored| {
                    let body = stored.body.as_ref().map(Filter::parse).transpose()?;
                    let headers = stored.headers.as_ref().map(Filter::parse).transpose()?;
                    Ok((stored.event_type, FilterSet { body, headers }))
                })
                .collect();
            let retry: Option<RetrySchedule> = row
                .retry
                .map(serde_json::from_value)
                .transpose()
                .map_err(|error| fault(error.to_string()))?;
            let ordered: Option<Ordered> = row
                .ordered
                .map(serde_json::from_value)
                .transpose()
                .map_err(|error| fault(error.to_string()))?;
            Ok(Subscription {
                id: SubscriptionId::from_uuid(row.id),
                project: ProjectId::from_uuid(row.project_id),
                endpoint: EndpointId::from_uuid(row.endpoint_id),
                name: row.name,
                event_types: event_types.map_err(|error| fault(error.to_string()))?,
                filters: filters.map_err(|error| fault(error.to_string()))?,
                retry,
                ordered,
                source: row.source_id.map(SourceId::from_uuid),
            })
        })
        .collect()
}

/// The catalogues of the projects that hold their events against one; nothing is asked when there are none.
pub(crate) async fn catalogues(
    connection: &mut PgConnection,
    projects: &[Project],
) -> Result<HashMap<ProjectId, Catalogue>, StoreError> {
    let wanting: HashMap<Uuid, EventTypePolicy> = projects
        .iter()
        .map(|project| (project.id.as_uuid(), project.settings.event_types))
        .filter(|(_, policy)| *policy != EventTypePolicy::Any)
        .collect();
    if wanting.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = wanting.keys().copied().collect();
    let rows = sqlx::query!(
        "SELECT project_id, id, name, json_schema::text AS json_schema FROM event_types WHERE project_id = ANY($1)",
        &ids
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    let mut types: HashMap<Uuid, Vec<(String, Option<Schema>)>> = HashMap::new();
    for row in rows {
        let is_asked = wanting.get(&row.project_id) == Some(&EventTypePolicy::Valid);
        let schema = row.json_schema.filter(|_| is_asked).and_then(|text| {
            let document = serde_json::from_str(&text).map_err(|error| error.to_string());
            // It compiled when it was written. One that no longer does must not keep events out.
            let compiled = document.and_then(|document| Schema::compile(&document));
            compiled
                .inspect_err(|problem| {
                    tracing::error!("event_types row {}: its schema is not asked: {problem}", row.id);
                })
                .ok()
        });
        types.entry(row.project_id).or_default().push((row.name, schema));
    }
    // A project without any type has an empty catalogue, which refuses every event.
    let catalogues = wanting.keys().map(|id| {
        let types = types.remove(id).unwrap_or_default();
        (ProjectId::from_uuid(*id), Catalogue::new(types))
    });
    Ok(catalogues.collect())
}

/// See [`longshore_core::ports::EventLog::register_dynamic`].
pub(crate) async fn register_dynamic(store: &Store, wanted: &[DynamicEndpoint]) -> Result<(), StoreError> {
    let keys = store.keys();
    let mut random = rand::rngs::OsRng.unwrap_err();
    let mut transaction = store.pool().begin().await.map_err(sort)?;
    let mut notices = Vec::new();
    let mut sorted: Vec<&DynamicEndpoint> = wanted.iter().collect();
    sorted.sort_unstable_by_key(|endpoint| endpoint.id);
    for endpoint in sorted {
        let subscription = SubscriptionId::derive(endpoint.id);
        let made = sqlx::query!(
            "INSERT INTO endpoints (project_id, id, name, url) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            endpoint.project.as_uuid(),
            endpoint.id.as_uuid(),
            endpoint.url.host_str().unwrap_or("dynamic"),
            endpoint.url.as_str(),
        )
        .execute(&mut *transaction)
        .await
        .map_err(sort)?;
        if made.rows_affected() == 1 {
            let secret = match &endpoint.secret {
                Some(secret) => secret.clone(),
                None => Secret::new(SigningKey::generate(&mut random)),
            };
            let sealed = keys
                .seal(secret.expose().as_bytes(), endpoint.id.as_uuid().as_bytes(), &mut random)
                .map_err(|error| StoreError::Misconfigured(error.to_string()))?;
            // The endpoint's first secret has the endpoint's own id.
            sqlx::query!(
                "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed) VALUES ($1, $2, $2, $3)
                 ON CONFLICT DO NOTHING",
                endpoint.project.as_uuid(),
                endpoint.id.as_uuid(),
                sealed,
            )
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
            notices.push(Notice {
                project: endpoint.project,
                kind: NoticeKind::EndpointCreated,
                subject: endpoint.id.as_u128(),
                data: crate::notices::endpoint_data(&mut transaction, endpoint.id.as_uuid()).await?,
            });
        }
        let types: Vec<String> = endpoint.event_types.iter().map(ToString::to_string).collect();
        sqlx::query!(
            "INSERT INTO subscriptions (project_id, id, endpoint_id, name, event_types) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET event_types = excluded.event_types",
            endpoint.project.as_uuid(),
            subscription.as_uuid(),
            endpoint.id.as_uuid(),
            "dynamic",
            &types,
        )
        .execute(&mut *transaction)
        .await
        .map_err(sort)?;
    }
    crate::notices::tell(&mut transaction, keys, &notices).await?;
    transaction.commit().await.map_err(sort)
}

fn open_text(keys: &Keys, sealed: &[u8], id: Uuid) -> Result<String, String> {
    let plain = keys.open(sealed, id.as_bytes()).map_err(|error| error.to_string())?;
    String::from_utf8(plain).map_err(|_| "not text".to_owned())
}

pub(crate) fn open_endpoint(keys: &Keys, sealed: &[u8], id: Uuid) -> Result<EndpointCredentials, String> {
    let text = open_text(keys, sealed, id)?;
    // What the first release sealed was the authentication alone.
    if let Ok(authentication) = serde_json::from_str::<Authentication>(&text) {
        return Ok(EndpointCredentials { authentication: Some(authentication), ..Default::default() });
    }
    // The parser's own words could quote a credential.
    serde_json::from_str(&text).map_err(|_| "the sealed credentials are not understood".to_owned())
}

pub(crate) fn open_project(keys: &Keys, sealed: &[u8], id: Uuid) -> Result<ProjectCredentials, String> {
    let text = open_text(keys, sealed, id)?;
    serde_json::from_str(&text).map_err(|_| "the sealed credentials are not understood".to_owned())
}
