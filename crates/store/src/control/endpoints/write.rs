//! Changing endpoints.

use std::time::Duration;

use longshore_core::endpoint::{EndpointCredentials, EndpointStatus};
use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::{EndpointId, ProjectId, Secret, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::{Contacts, StoredEndpoint, read};
use crate::control::changing::Changing;
use crate::control::sight::Sight;
use crate::endpoints::Rolled;
use crate::error::{misconfigured, sort};
use crate::notices::endpoint_data;

impl Changing {
    /// An endpoint of a project, or of an owner in it; nobody else changes it until this change ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint(
        &mut self,
        sight: &Sight,
        id: EndpointId,
    ) -> Result<Option<StoredEndpoint>, StoreError> {
        let (store, connection) = self.parts();
        read::find(connection, store.keys(), sight, id).await
    }

    /// Writes an endpoint, new or changed, but for its secrets, its status when it is there, and its times. Returns when
    /// it was made, and changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_endpoint(
        &mut self,
        stored: &StoredEndpoint,
    ) -> Result<(Timestamp, Timestamp), StoreError> {
        let endpoint = &stored.endpoint;
        let (project, id) = (endpoint.project, endpoint.id.as_uuid());
        let credentials = &endpoint.credentials;
        let sealed_credentials =
            self.sealed(credentials, *credentials == EndpointCredentials::default(), id)?;
        let sealed_contacts = self.sealed(&stored.contacts, stored.contacts == Contacts::default(), id)?;
        let settings = serde_json::to_value(&endpoint.settings).map_err(misconfigured)?;
        let row = sqlx::query!(
            r#"INSERT INTO endpoints AS e (project_id, id, name, description, url, owner_id, status, advanced_signatures,
                 http_timeout_ms, max_concurrency, settings, sealed_credentials, sealed_contacts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (project_id, id) DO UPDATE SET name = excluded.name, description = excluded.description,
                 url = excluded.url, owner_id = excluded.owner_id, advanced_signatures = excluded.advanced_signatures,
                 http_timeout_ms = excluded.http_timeout_ms, max_concurrency = excluded.max_concurrency,
                 settings = excluded.settings, sealed_credentials = excluded.sealed_credentials,
                 sealed_contacts = excluded.sealed_contacts, updated_at = clock_timestamp()
             RETURNING created_at, updated_at, (xmax = 0) AS "is_new!""#,
            project.as_uuid(),
            id,
            endpoint.name,
            stored.description,
            endpoint.url.as_str(),
            endpoint.owner_id,
            endpoint.status.as_str(),
            endpoint.advanced_signatures,
            i32::try_from(endpoint.http_timeout.as_millis()).unwrap_or(i32::MAX),
            i32::from(endpoint.max_concurrency),
            settings,
            sealed_credentials,
            sealed_contacts,
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        let kind = if row.is_new { NoticeKind::EndpointCreated } else { NoticeKind::EndpointUpdated };
        self.note_endpoint(project, endpoint.id, kind).await?;
        Ok((Timestamp::from_utc(row.created_at), Timestamp::from_utc(row.updated_at)))
    }

    /// Gives an endpoint that secret and no other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replace_endpoint_secret(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        secret: &Secret<String>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM endpoint_secrets WHERE project_id = $1 AND endpoint_id = $2",
            project.as_uuid(),
            endpoint.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        let id = Uuid::from_u128(self.next_id());
        let sealed = self.seal(secret.expose().as_bytes(), id)?;
        sqlx::query!(
            "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed) VALUES ($1, $2, $3, $4)",
            project.as_uuid(),
            endpoint.as_uuid(),
            id,
            sealed,
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// As [`Store::roll_secret`](crate::Store::roll_secret).
    ///
    /// # Errors
    /// As there.
    pub async fn roll_endpoint_secret(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        secret: &Secret<String>,
        overlap: Duration,
    ) -> Result<Option<Rolled>, StoreError> {
        let (store, connection) = self.parts();
        store.roll_within(connection, project, endpoint, secret, overlap).await
    }

    /// As [`Store::set_endpoint_status`](crate::Store::set_endpoint_status).
    ///
    /// # Errors
    /// As there.
    pub async fn set_endpoint_status(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        status: EndpointStatus,
    ) -> Result<Option<EndpointStatus>, StoreError> {
        let (store, connection) = self.parts();
        store.set_status_within(connection, project, endpoint, status).await
    }

    /// Deletes an endpoint with its subscriptions; whether it was there. Its deliveries stay on record, and those that
    /// wait are discarded.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_endpoint(&mut self, project: ProjectId, id: EndpointId) -> Result<bool, StoreError> {
        let data = endpoint_data(self.connection(), id.as_uuid()).await?;
        sqlx::query!(
            "DELETE FROM subscriptions WHERE project_id = $1 AND endpoint_id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        let done = sqlx::query!(
            "DELETE FROM endpoints WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        let is_gone = done.rows_affected() == 1;
        if is_gone {
            let kind = NoticeKind::EndpointDeleted;
            self.note(Notice { project, kind, subject: id.as_u128(), data });
        }
        Ok(is_gone)
    }

    async fn note_endpoint(
        &mut self,
        project: ProjectId,
        endpoint: EndpointId,
        kind: NoticeKind,
    ) -> Result<(), StoreError> {
        let data = endpoint_data(self.connection(), endpoint.as_uuid()).await?;
        self.note(Notice { project, kind, subject: endpoint.as_u128(), data });
        Ok(())
    }

    /// What is stored of a value that says something.
    fn sealed(
        &mut self,
        value: &impl Serialize,
        is_empty: bool,
        id: Uuid,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if is_empty {
            return Ok(None);
        }
        let text = serde_json::to_vec(value).map_err(misconfigured)?;
        self.seal(&text, id).map(Some)
    }
}
