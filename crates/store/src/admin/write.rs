//! Changes as SQL. Order matters to the caller only: what is referred to comes first, deletions last.

use longshore_core::endpoint::EndpointCredentials;
use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::project::{Project, ProjectCredentials};
use longshore_core::{
    ApiKeyId, Clock, EndpointId, EndpointStatus, IdGenerator, ProjectId, SourceId, SubscriptionId,
    SystemClock,
};
use rand::rngs::StdRng;
use sqlx::PgConnection;
use uuid::Uuid;

use super::resource::{
    ApiKeySpec, EndpointSecret, EndpointSpec, FilterSpec, Managed, SourceSpec, SubscriptionSpec,
};
use crate::error::sort;
use crate::notices::endpoint_data;
use crate::rows::StoredFilter;
use crate::seal::Keys;

/// One change of one resource. A `Put…` creates it or overwrites it.
#[derive(Clone, Debug)]
pub enum Change {
    /// A project. Its name never changes.
    PutProject(Box<Project>),
    /// An endpoint of a project.
    PutEndpoint(ProjectId, Box<Managed<EndpointId, EndpointSpec>>),
    /// All of an endpoint's secrets at once, oldest first.
    ReplaceSecrets(ProjectId, EndpointId, Vec<EndpointSecret>),
    /// A subscription of a project.
    PutSubscription(ProjectId, Managed<SubscriptionId, SubscriptionSpec>),
    /// A source of a project.
    PutSource(ProjectId, Managed<SourceId, SourceSpec>),
    /// An API key of a project.
    PutApiKey(ProjectId, Managed<ApiKeyId, ApiKeySpec>),
    /// A managed resource by its name. Deleting an endpoint deletes its subscriptions.
    Delete(ProjectId, Kind, String),
}

/// The kinds of resources a project holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Endpoints.
    Endpoint,
    /// Subscriptions.
    Subscription,
    /// Sources.
    Source,
    /// API keys.
    ApiKey,
}

pub(super) struct Writer<'a> {
    pub(super) connection: &'a mut PgConnection,
    pub(super) keys: &'a Keys,
    pub(super) ids: &'a IdGenerator,
    pub(super) rng: &'a mut StdRng,
    /// What there is to tell when the session ends.
    pub(super) notices: &'a mut Vec<Notice>,
}

impl Writer<'_> {
    pub(super) async fn write(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutProject(project) => self.put_project(project).await,
            Change::PutEndpoint(project, endpoint) => self.put_endpoint(*project, endpoint).await,
            Change::ReplaceSecrets(project, id, secrets) => {
                self.replace_secrets(*project, *id, secrets).await
            }
            Change::PutSubscription(project, subscription) => {
                self.put_subscription(*project, subscription).await
            }
            Change::PutSource(project, source) => self.put_source(*project, source).await,
            Change::PutApiKey(project, key) => self.put_api_key(*project, key).await,
            Change::Delete(project, kind, name) => self.delete(*project, *kind, name).await,
        }
    }

    async fn put_project(&mut self, project: &Project) -> Result<(), StoreError> {
        let has_any = project.credentials != ProjectCredentials::default();
        let sealed =
            has_any.then(|| self.seal_json(&project.credentials, project.id.as_uuid())).transpose()?;
        let done = sqlx::query!(
            "INSERT INTO projects (id, name, settings, sealed_credentials) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET settings = excluded.settings,
                 sealed_credentials = excluded.sealed_credentials, updated_at = now()
             WHERE projects.name = excluded.name",
            project.id.as_uuid(),
            project.name,
            json(&project.settings)?,
            sealed,
        )
        .execute(&mut *self.connection)
        .await
        .map_err(|error| clash(error, "project", &project.name))?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::Rejected(format!("project `{}`: its id belongs to another project", project.name)))
    }

    async fn put_endpoint(
        &mut self,
        project: ProjectId,
        endpoint: &Managed<EndpointId, EndpointSpec>,
    ) -> Result<(), StoreError> {
        let (id, spec) = (endpoint.id.as_uuid(), &endpoint.spec);
        let before = sqlx::query_scalar!(
            "SELECT status FROM endpoints WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id
        )
        .fetch_optional(&mut *self.connection)
        .await
        .map_err(sort)?;
        let has_any = spec.credentials != EndpointCredentials::default();
        let sealed = has_any.then(|| self.seal_json(&spec.credentials, id)).transpose()?;
        sqlx::query!(
            "INSERT INTO endpoints (project_id, id, resource_name, name, url, owner_id, status,
                 advanced_signatures, http_timeout_ms, max_concurrency, settings, sealed_credentials)
             VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (project_id, id) DO UPDATE SET resource_name = excluded.resource_name,
                 name = excluded.name, url = excluded.url, owner_id = excluded.owner_id, status = excluded.status,
                 advanced_signatures = excluded.advanced_signatures, http_timeout_ms = excluded.http_timeout_ms,
                 max_concurrency = excluded.max_concurrency, settings = excluded.settings,
                 sealed_credentials = excluded.sealed_credentials, updated_at = now(),
                 status_reason = CASE WHEN endpoints.status = excluded.status THEN endpoints.status_reason END,
                 status_changed_at = CASE WHEN endpoints.status = excluded.status
                     THEN endpoints.status_changed_at ELSE now() END",
            project.as_uuid(),
            id,
            spec.name,
            spec.url.as_str(),
            spec.owner_id,
            spec.status.as_str(),
            spec.advanced_signatures,
            i32::try_from(spec.http_timeout.as_millis()).unwrap_or(i32::MAX),
            i32::from(spec.max_concurrency),
            json(&spec.settings)?,
            sealed,
        )
        .execute(&mut *self.connection)
        .await
        .map_err(|error| clash(error, "endpoint", &spec.name))?;
        let kind = if before.is_some() { NoticeKind::EndpointUpdated } else { NoticeKind::EndpointCreated };
        self.note_endpoint(project, endpoint.id, kind).await?;
        if before.as_deref() == Some("inactive") && spec.status == EndpointStatus::Active {
            self.note_endpoint(project, endpoint.id, NoticeKind::EndpointEnabled).await?;
        }
        Ok(())
    }

    /// Notes what happened to an endpoint; that it was updated, only if nothing was noted of it before.
    async fn note_endpoint(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        kind: NoticeKind,
    ) -> Result<(), StoreError> {
        let subject = endpoint.as_u128();
        let is_known = self.notices.iter().any(|notice| notice.subject == subject);
        if kind != NoticeKind::EndpointUpdated || !is_known {
            let data = endpoint_data(self.connection, endpoint.as_uuid()).await?;
            self.notices.push(Notice { project, kind, subject, data });
        }
        Ok(())
    }

    async fn replace_secrets(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        secrets: &[EndpointSecret],
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM endpoint_secrets WHERE project_id = $1 AND endpoint_id = $2",
            project.as_uuid(),
            endpoint.as_uuid()
        )
        .execute(&mut *self.connection)
        .await
        .map_err(sort)?;
        for secret in secrets {
            // Ids grow, so that their order is the file's: `created_at` is the same within a transaction.
            let id = Uuid::from_u128(self.ids.next(SystemClock.now()));
            let sealed = self.seal(secret.text.expose().as_bytes(), id)?;
            sqlx::query!(
                "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed, expires_at)
                 VALUES ($1, $2, $3, $4, $5)",
                project.as_uuid(),
                endpoint.as_uuid(),
                id,
                sealed,
                secret.expires_at.map(|at| at.to_utc()),
            )
            .execute(&mut *self.connection)
            .await
            .map_err(sort)?;
        }
        self.note_endpoint(project, endpoint, NoticeKind::EndpointUpdated).await
    }

    async fn put_subscription(
        &mut self,
        project: ProjectId,
        subscription: &Managed<SubscriptionId, SubscriptionSpec>,
    ) -> Result<(), StoreError> {
        let spec = &subscription.spec;
        let event_types: Vec<String> = spec.event_types.iter().map(ToString::to_string).collect();
        let filters: Vec<StoredFilter> = spec
            .filters
            .iter()
            .map(|filter| {
                let FilterSpec { event_type, body, headers } = filter.clone();
                StoredFilter::declared(event_type, body, headers)
            })
            .collect();
        sqlx::query!(
            "INSERT INTO subscriptions (project_id, id, endpoint_id, resource_name, name, event_types, filters, retry,
                 ordered)
             VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8)
             ON CONFLICT (project_id, id) DO UPDATE SET endpoint_id = excluded.endpoint_id,
                 resource_name = excluded.resource_name, name = excluded.name,
                 event_types = excluded.event_types, filters = excluded.filters, retry = excluded.retry,
                 ordered = excluded.ordered, updated_at = now()",
            project.as_uuid(),
            subscription.id.as_uuid(),
            spec.endpoint.as_uuid(),
            spec.name,
            &event_types,
            json(&filters)?,
            spec.retry.as_ref().map(json).transpose()?,
            spec.ordered.as_ref().map(json).transpose()?,
        )
        .execute(&mut *self.connection)
        .await
        .map_err(|error| clash(error, "subscription", &spec.name))?;
        Ok(())
    }

    async fn put_source(
        &mut self,
        project: ProjectId,
        source: &Managed<SourceId, SourceSpec>,
    ) -> Result<(), StoreError> {
        let (id, spec) = (source.id.as_uuid(), &source.spec);
        let sealed = self.seal(spec.settings.expose().to_string().as_bytes(), id)?;
        sqlx::query!(
            "INSERT INTO sources (project_id, id, resource_name, name, kind, workers, is_disabled, sealed_config,
                 mapping)
             VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8::text::json)
             ON CONFLICT (project_id, id) DO UPDATE SET resource_name = excluded.resource_name,
                 name = excluded.name, kind = excluded.kind, workers = excluded.workers,
                 is_disabled = excluded.is_disabled, sealed_config = excluded.sealed_config,
                 mapping = excluded.mapping, updated_at = now()",
            project.as_uuid(),
            id,
            spec.name,
            spec.kind,
            i32::from(spec.workers),
            spec.is_disabled,
            sealed,
            spec.mapping,
        )
        .execute(&mut *self.connection)
        .await
        .map_err(|error| clash(error, "source", &spec.name))?;
        Ok(())
    }

    async fn put_api_key(
        &mut self,
        project: ProjectId,
        key: &Managed<ApiKeyId, ApiKeySpec>,
    ) -> Result<(), StoreError> {
        let spec = &key.spec;
        sqlx::query!(
            "INSERT INTO api_keys (project_id, id, resource_name, name, hash, expires_at)
             VALUES ($1, $2, $3, $3, $4, $5)
             ON CONFLICT (project_id, id) DO UPDATE SET resource_name = excluded.resource_name,
                 name = excluded.name, hash = excluded.hash, expires_at = excluded.expires_at",
            project.as_uuid(),
            key.id.as_uuid(),
            spec.name,
            spec.hash,
            spec.expires_at.map(|at| at.to_utc()),
        )
        .execute(&mut *self.connection)
        .await
        .map_err(|error| clash(error, "API key", &spec.name))?;
        Ok(())
    }

    async fn note_deletion(&mut self, project: ProjectId, name: &str) -> Result<(), StoreError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM endpoints WHERE project_id = $1 AND resource_name = $2",
            project.as_uuid(),
            name
        )
        .fetch_optional(&mut *self.connection)
        .await
        .map_err(sort)?;
        match found {
            Some(id) => {
                self.note_endpoint(project, EndpointId::from_uuid(id), NoticeKind::EndpointDeleted).await
            }
            None => Ok(()),
        }
    }

    async fn delete(&mut self, project: ProjectId, kind: Kind, name: &str) -> Result<(), StoreError> {
        if kind == Kind::Endpoint {
            self.note_deletion(project, name).await?;
        }
        let project = project.as_uuid();
        let connection = &mut *self.connection;
        let done = match kind {
            Kind::Endpoint => {
                sqlx::query!(
                    "DELETE FROM endpoints WHERE project_id = $1 AND resource_name = $2",
                    project,
                    name
                )
                .execute(connection)
                .await
            }
            Kind::Subscription => {
                sqlx::query!(
                    "DELETE FROM subscriptions WHERE project_id = $1 AND resource_name = $2",
                    project,
                    name
                )
                .execute(connection)
                .await
            }
            Kind::Source => {
                sqlx::query!(
                    "DELETE FROM sources WHERE project_id = $1 AND resource_name = $2",
                    project,
                    name
                )
                .execute(connection)
                .await
            }
            Kind::ApiKey => {
                sqlx::query!(
                    "DELETE FROM api_keys WHERE project_id = $1 AND resource_name = $2",
                    project,
                    name
                )
                .execute(connection)
                .await
            }
        };
        done.map(drop).map_err(sort)
    }

    fn seal(&mut self, plain: &[u8], id: Uuid) -> Result<Vec<u8>, StoreError> {
        let sealed = self.keys.seal(plain, id.as_bytes(), self.rng);
        sealed.map_err(|error| StoreError::Misconfigured(error.to_string()))
    }

    fn seal_json(&mut self, value: &impl serde::Serialize, id: Uuid) -> Result<Vec<u8>, StoreError> {
        let text = json(value)?.to_string();
        self.seal(text.as_bytes(), id)
    }
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Rejected(error.to_string()))
}

/// Names the resource that clashes with one that is there already.
fn clash(error: sqlx::Error, kind: &str, name: &str) -> StoreError {
    let constraint = error.as_database_error().and_then(|database| database.constraint()).unwrap_or_default();
    let problem = match constraint {
        "api_keys_hash_unique" => "the same key is stored under another name or project",
        _ if constraint.ends_with("_id_unique") => "its id belongs to another project",
        _ if constraint.ends_with("_range") => "a value is out of range",
        _ => return sort(error),
    };
    StoreError::Rejected(format!("{kind} `{name}`: {problem}"))
}
