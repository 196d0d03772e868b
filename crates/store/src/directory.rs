//! The names of projects and sources, for people. Needs no key: nothing sealed is read.

use longshore_core::ports::StoreError;
use longshore_core::{ProjectId, SourceId};

use crate::connect::Store;
use crate::error::sort;

/// The names of everything that messages are counted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Projects by name.
    pub projects: Vec<(ProjectId, String)>,
    /// Sources declared in the database.
    pub sources: Vec<NamedSource>,
}

/// A source without its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSource {
    /// Its id.
    pub id: SourceId,
    /// The tenant.
    pub project: ProjectId,
    /// For people.
    pub name: String,
    /// The broker.
    pub kind: String,
    /// How its messages become events: a JSON object, `{}` for the envelope.
    pub mapping: String,
}

impl Store {
    /// The names of all projects and of the sources declared in the database, disabled ones included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn directory(&self) -> Result<Directory, StoreError> {
        let projects = sqlx::query!("SELECT id, name FROM projects ORDER BY name")
            .fetch_all(self.pool())
            .await
            .map_err(sort)?;
        let sources = sqlx::query!(
            r#"SELECT project_id, id, name, kind, mapping::text AS "mapping!" FROM sources ORDER BY project_id, name"#
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let sources = sources.into_iter().map(|row| NamedSource {
            id: SourceId::from_uuid(row.id),
            project: ProjectId::from_uuid(row.project_id),
            name: row.name,
            kind: row.kind,
            mapping: row.mapping,
        });
        Ok(Directory {
            projects: projects.into_iter().map(|row| (ProjectId::from_uuid(row.id), row.name)).collect(),
            sources: sources.collect(),
        })
    }
}
