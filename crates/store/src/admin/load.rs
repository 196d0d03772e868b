//! What is managed now.

use std::collections::HashMap;

use longshore_core::ports::StoreError;
use longshore_core::{ApiKeyId, EndpointId, Secret, SourceId, SubscriptionId, Timestamp, TypePattern};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::resource::{
    ApiKeySpec, EndpointSecret, EndpointSpec, FilterSpec, Managed, ManagedEndpoint, ManagedProject,
    SourceSpec, SubscriptionSpec,
};
use crate::control::DEFAULT_ORGANISATION;
use crate::error::sort;
use crate::rows::{self, StoredFilter};
use crate::seal::Keys;

/// A stored value that does not parse: the row is named, its content is not shown.
fn bad(table: &str, id: Uuid, problem: impl std::fmt::Display) -> StoreError {
    StoreError::Misconfigured(format!("{table} row {id}: {problem}"))
}

/// See [`super::ApplySession::load`].
pub(super) async fn project(
    connection: &mut PgConnection,
    keys: &Keys,
    name: &str,
) -> Result<Option<ManagedProject>, StoreError> {
    let row = sqlx::query!(
        "SELECT id, settings, sealed_credentials FROM projects WHERE organisation_id = $1 AND name = $2",
        DEFAULT_ORGANISATION.as_uuid(),
        name
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(sort)?;
    let Some(row) = row else { return Ok(None) };
    let project =
        rows::project(row.id, name.to_owned(), row.settings, row.sealed_credentials.as_deref(), keys)?;
    Ok(Some(ManagedProject {
        project,
        endpoints: endpoints(connection, keys, row.id).await?,
        subscriptions: subscriptions(connection, row.id).await?,
        sources: sources(connection, keys, row.id).await?,
        api_keys: api_keys(connection, row.id).await?,
    }))
}

async fn endpoints(
    connection: &mut PgConnection,
    keys: &Keys,
    project: Uuid,
) -> Result<Vec<ManagedEndpoint>, StoreError> {
    let mut secrets = secrets(connection, keys, project).await?;
    let managed = sqlx::query!(
        r#"SELECT id, resource_name AS "resource_name!" FROM endpoints
           WHERE project_id = $1 AND resource_name IS NOT NULL
           ORDER BY resource_name"#,
        project
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    let found = rows::endpoints(connection, keys).await?;
    let mut found: HashMap<Uuid, _> =
        found.into_iter().map(|endpoint| (endpoint.id.as_uuid(), endpoint)).collect();
    let managed = managed.into_iter().filter_map(|row| {
        let endpoint = found.remove(&row.id)?;
        let spec = EndpointSpec {
            name: row.resource_name,
            url: endpoint.url,
            owner_id: endpoint.owner_id,
            status: endpoint.status,
            advanced_signatures: endpoint.advanced_signatures,
            http_timeout: endpoint.http_timeout,
            max_concurrency: endpoint.max_concurrency,
            settings: endpoint.settings,
            credentials: endpoint.credentials,
        };
        Some(ManagedEndpoint { id: endpoint.id, spec, secrets: secrets.remove(&row.id).unwrap_or_default() })
    });
    Ok(managed.collect())
}

/// The secrets' texts by endpoint, oldest first.
async fn secrets(
    connection: &mut PgConnection,
    keys: &Keys,
    project: Uuid,
) -> Result<HashMap<Uuid, Vec<EndpointSecret>>, StoreError> {
    let rows = sqlx::query!(
        "SELECT s.endpoint_id, s.id, s.sealed, s.expires_at
         FROM endpoint_secrets s JOIN endpoints e ON e.project_id = s.project_id AND e.id = s.endpoint_id
         WHERE s.project_id = $1 AND e.resource_name IS NOT NULL
         ORDER BY s.endpoint_id, s.created_at, s.id",
        project
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    let mut secrets: HashMap<Uuid, Vec<EndpointSecret>> = HashMap::new();
    for row in rows {
        let text =
            open_text(keys, &row.sealed, row.id).map_err(|error| bad("endpoint_secrets", row.id, error))?;
        let expires_at = row.expires_at.map(Timestamp::from_utc);
        secrets
            .entry(row.endpoint_id)
            .or_default()
            .push(EndpointSecret { text: Secret::new(text), expires_at });
    }
    Ok(secrets)
}

async fn subscriptions(
    connection: &mut PgConnection,
    project: Uuid,
) -> Result<Vec<Managed<SubscriptionId, SubscriptionSpec>>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, endpoint_id, resource_name AS "resource_name!", event_types, filters, retry,
               ordered
           FROM subscriptions WHERE project_id = $1 AND resource_name IS NOT NULL ORDER BY resource_name"#,
        project
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
            let retry = row.retry.map(serde_json::from_value).transpose();
            let ordered = row.ordered.map(serde_json::from_value).transpose();
            let spec = SubscriptionSpec {
                name: row.resource_name,
                endpoint: EndpointId::from_uuid(row.endpoint_id),
                event_types: event_types.map_err(|error| fault(error.to_string()))?,
                // One that rests is not what the file declares, which puts it to work again.
                filters: filters
                    .into_iter()
                    .filter(|stored| !stored.is_disabled)
                    .map(|stored| FilterSpec {
                        event_type: stored.event_type,
                        body: stored.body,
                        headers: stored.headers,
                    })
                    .collect(),
                retry: retry.map_err(|error| fault(error.to_string()))?,
                ordered: ordered.map_err(|error| fault(error.to_string()))?,
            };
            Ok(Managed { id: SubscriptionId::from_uuid(row.id), spec })
        })
        .collect()
}

async fn sources(
    connection: &mut PgConnection,
    keys: &Keys,
    project: Uuid,
) -> Result<Vec<Managed<SourceId, SourceSpec>>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, resource_name AS "resource_name!", kind, workers, is_disabled, sealed_config,
               mapping::text AS "mapping!"
           FROM sources WHERE project_id = $1 AND resource_name IS NOT NULL ORDER BY resource_name"#,
        project
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    rows.into_iter()
        .map(|row| {
            let text =
                open_text(keys, &row.sealed_config, row.id).map_err(|error| bad("sources", row.id, error))?;
            // The parser's own words could quote a credential.
            let settings: Value = serde_json::from_str(&text)
                .map_err(|_| bad("sources", row.id, "the sealed settings are no JSON"))?;
            let spec = SourceSpec {
                name: row.resource_name,
                kind: row.kind,
                workers: u16::try_from(row.workers).unwrap_or(1),
                is_disabled: row.is_disabled,
                settings: Secret::new(settings),
                mapping: row.mapping,
            };
            Ok(Managed { id: SourceId::from_uuid(row.id), spec })
        })
        .collect()
}

async fn api_keys(
    connection: &mut PgConnection,
    project: Uuid,
) -> Result<Vec<Managed<ApiKeyId, ApiKeySpec>>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, resource_name AS "resource_name!", hash, expires_at
           FROM api_keys WHERE project_id = $1 AND resource_name IS NOT NULL ORDER BY resource_name"#,
        project
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    let managed = rows.into_iter().map(|row| Managed {
        id: ApiKeyId::from_uuid(row.id),
        spec: ApiKeySpec {
            name: row.resource_name,
            hash: row.hash,
            expires_at: row.expires_at.map(Timestamp::from_utc),
        },
    });
    Ok(managed.collect())
}

fn open_text(keys: &Keys, sealed: &[u8], id: Uuid) -> Result<String, String> {
    let plain = keys.open(sealed, id.as_bytes()).map_err(|error| error.to_string())?;
    String::from_utf8(plain).map_err(|_| "not text".to_owned())
}
