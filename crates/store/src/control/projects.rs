//! Projects, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::{OrganisationId, Project, ProjectId, Timestamp};
use time::Date;

use crate::connect::Store;
use crate::error::sort;
use crate::rows;

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
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

impl Store {
    /// A project.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] when the row does not parse or open.
    pub async fn project_record(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError> {
        let row = sqlx::query!(
            "SELECT name, settings, sealed_credentials, organisation_id, kind, logo_url, api_version, created_at,
                 updated_at
             FROM projects WHERE id = $1",
            id.as_uuid()
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(ProjectRecord {
            project: rows::project(
                id.as_uuid(),
                row.name,
                row.settings,
                row.sealed_credentials.as_deref(),
                self.keys(),
            )?,
            organisation: OrganisationId::from_uuid(row.organisation_id),
            kind: row.kind,
            logo_url: row.logo_url,
            api_version: row.api_version,
            created_at: Timestamp::from_utc(row.created_at),
            updated_at: Timestamp::from_utc(row.updated_at),
        }))
    }
}
