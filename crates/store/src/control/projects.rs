//! Projects, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::project::{ProjectCredentials, ProjectSettings};
use longshore_core::{OrganisationId, Project, ProjectId, Timestamp};
use serde_json::Value;
use time::Date;
use uuid::Uuid;

use super::changing::Changing;
use crate::connect::Store;
use crate::error::{misconfigured, sort};
use crate::rows;
use crate::seal::Keys;

/// A project as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectRecord {
    /// The project with its settings and credentials.
    pub project: Project,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// `outgoing` or `incoming`.
    pub kind: String,
    /// A picture for people; empty for none.
    pub logo_url: String,
    /// The version of the API that its requests get when they name none; `None` for the newest.
    pub api_version: Option<Date>,
    /// What the contract has and nothing acts on: a JSON object.
    pub contract_settings: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// What a project has at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectStatistics {
    /// Endpoints.
    pub has_endpoints: bool,
    /// Subscriptions.
    pub has_subscriptions: bool,
    /// Sources.
    pub has_sources: bool,
    /// Events.
    pub has_events: bool,
}

/// What there is to say of a project when it is created or changed.
#[derive(Clone, Debug)]
pub struct ProjectDraft {
    /// For people; unique in the organisation.
    pub name: String,
    /// A picture for people; empty for none.
    pub logo_url: String,
    /// What its deliveries share.
    pub settings: ProjectSettings,
    /// What is kept sealed.
    pub credentials: ProjectCredentials,
    /// What the contract has and nothing acts on: a JSON object.
    pub contract_settings: Value,
}

struct Row {
    id: Uuid,
    name: String,
    settings: Value,
    sealed_credentials: Option<Vec<u8>>,
    organisation_id: Uuid,
    kind: String,
    logo_url: String,
    api_version: Option<Date>,
    contract_settings: Value,
    created_at: time::OffsetDateTime,
    updated_at: time::OffsetDateTime,
}

impl Row {
    fn into_record(self, keys: &Keys) -> Result<ProjectRecord, StoreError> {
        Ok(ProjectRecord {
            project: rows::project(
                self.id,
                self.name,
                self.settings,
                self.sealed_credentials.as_deref(),
                keys,
            )?,
            organisation: OrganisationId::from_uuid(self.organisation_id),
            kind: self.kind,
            logo_url: self.logo_url,
            api_version: self.api_version,
            contract_settings: self.contract_settings,
            created_at: Timestamp::from_utc(self.created_at),
            updated_at: Timestamp::from_utc(self.updated_at),
        })
    }
}

impl Store {
    /// A project.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] when the row does not parse or open.
    pub async fn project_record(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT id, name, settings, sealed_credentials, organisation_id, kind, logo_url, api_version,
                 contract_settings, created_at, updated_at
             FROM projects WHERE id = $1",
            id.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        row.map(|row| row.into_record(self.keys())).transpose()
    }

    /// The projects of an organisation, by name.
    ///
    /// # Errors
    /// As [`Self::project_record`].
    pub async fn projects_of(&self, organisation: OrganisationId) -> Result<Vec<ProjectRecord>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, name, settings, sealed_credentials, organisation_id, kind, logo_url, api_version,
                 contract_settings, created_at, updated_at
             FROM projects WHERE organisation_id = $1 ORDER BY name",
            organisation.as_uuid()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter().map(|row| row.into_record(self.keys())).collect()
    }

    /// The projects of that name, in whatever organisation, or the one of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn projects_called(&self, text: &str) -> Result<Vec<(ProjectId, OrganisationId)>, StoreError> {
        let id = text.parse::<ProjectId>().ok().map(ProjectId::as_uuid);
        let rows =
            sqlx::query!("SELECT id, organisation_id FROM projects WHERE name = $1 OR id = $2", text, id)
                .fetch_all(self.pool())
                .await
                .map_err(sort)?;
        let ids = rows
            .into_iter()
            .map(|row| (ProjectId::from_uuid(row.id), OrganisationId::from_uuid(row.organisation_id)));
        Ok(ids.collect())
    }

    /// What a project has at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn project_statistics(&self, id: ProjectId) -> Result<ProjectStatistics, StoreError> {
        let row = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM endpoints WHERE project_id = $1) AS "endpoints!",
                   EXISTS (SELECT FROM subscriptions WHERE project_id = $1) AS "subscriptions!",
                   EXISTS (SELECT FROM sources WHERE project_id = $1) AS "sources!",
                   EXISTS (SELECT FROM events WHERE project_id = $1) AS "events!""#,
            id.as_uuid()
        )
        .fetch_one(self.pool())
        .await
        .map_err(sort)?;
        Ok(ProjectStatistics {
            has_endpoints: row.endpoints,
            has_subscriptions: row.subscriptions,
            has_sources: row.sources,
            has_events: row.events,
        })
    }
}

impl Changing {
    /// A project as it is now; it stays so until the change ends.
    ///
    /// # Errors
    /// As [`Store::project_record`].
    pub async fn project(&mut self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT id, name, settings, sealed_credentials, organisation_id, kind, logo_url, api_version,
                 contract_settings, created_at, updated_at
             FROM projects WHERE id = $1",
            id.as_uuid()
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        row.map(|row| row.into_record(self.keys())).transpose()
    }

    /// The project of that name in an organisation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn project_named(
        &mut self,
        organisation: OrganisationId,
        name: &str,
    ) -> Result<Option<ProjectId>, StoreError> {
        let found = sqlx::query_scalar!(
            "SELECT id FROM projects WHERE organisation_id = $1 AND name = $2",
            organisation.as_uuid(),
            name
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        Ok(found.map(ProjectId::from_uuid))
    }

    /// Adds a project; its name is free there, and `kind` is `outgoing` or `incoming`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_project(
        &mut self,
        organisation: OrganisationId,
        kind: &str,
        api_version: Option<Date>,
        draft: &ProjectDraft,
    ) -> Result<ProjectId, StoreError> {
        let id = ProjectId::from_u128(self.next_id());
        let sealed = self.seal_project(&draft.credentials, id)?;
        sqlx::query!(
            "INSERT INTO projects (id, organisation_id, name, kind, logo_url, api_version, settings,
                 sealed_credentials, contract_settings)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            id.as_uuid(),
            organisation.as_uuid(),
            draft.name,
            kind,
            draft.logo_url,
            api_version,
            serde_json::to_value(&draft.settings).map_err(misconfigured)?,
            sealed,
            draft.contract_settings,
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(id)
    }

    /// Overwrites a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_project(&mut self, id: ProjectId, draft: &ProjectDraft) -> Result<(), StoreError> {
        let sealed = self.seal_project(&draft.credentials, id)?;
        sqlx::query!(
            "UPDATE projects SET name = $2, logo_url = $3, settings = $4, sealed_credentials = $5,
                 contract_settings = $6, updated_at = clock_timestamp()
             WHERE id = $1",
            id.as_uuid(),
            draft.name,
            draft.logo_url,
            serde_json::to_value(&draft.settings).map_err(misconfigured)?,
            sealed,
            draft.contract_settings,
        )
        .execute(self.connection())
        .await
        .map(drop)
        .map_err(sort)
    }

    /// Deletes a project with everything that configures it. What it took in goes with its partitions.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_project(&mut self, id: ProjectId) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM projects WHERE id = $1", id.as_uuid())
            .execute(self.connection())
            .await
            .map(drop)
            .map_err(sort)
    }

    fn seal_project(
        &mut self,
        credentials: &ProjectCredentials,
        id: ProjectId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if *credentials == ProjectCredentials::default() {
            return Ok(None);
        }
        let text = serde_json::to_vec(credentials).map_err(misconfigured)?;
        self.seal(&text, id.as_uuid()).map(Some)
    }
}
