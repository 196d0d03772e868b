//! Sources, for the public API.
//!
//! Invariant: what a source connects with, or verifies by, is sealed as a whole, and is in no line of the audit log.

use longshore_core::ports::StoreError;
use longshore_core::{ProjectId, Secret, SourceId, Timestamp};
use time::OffsetDateTime;

use super::changing::Changing;
use super::page::{Page, PageRequest};
use crate::connect::Store;
use crate::error::sort;
use crate::seal::Keys;

/// The `kind` of a source that receives webhooks.
pub const HTTP: &str = "http";

/// A source as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSource {
    /// Its id.
    pub id: SourceId,
    /// For people.
    pub name: String,
    /// The broker, or [`HTTP`].
    pub kind: String,
    /// Whose webhooks it receives; empty for nobody in particular.
    pub provider: String,
    /// The end of the URL that it receives at; `None` when it came from a resource file.
    pub mask_id: Option<String>,
    /// Consumers per process.
    pub workers: u16,
    /// Whether it is switched off.
    pub is_disabled: bool,
    /// The broker's settings, or a [`longshore_core::inbound::HttpSource`], as JSON; they hold credentials.
    pub config: Secret<String>,
    /// How its messages become events: a JSON object, `{}` for the envelope.
    pub mapping: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// Which sources are asked for; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceFilter {
    /// HTTP sources, or brokers.
    pub is_http: Option<bool>,
    /// Of this provider.
    pub provider: Option<String>,
}

/// A row, before its settings are opened.
struct Row {
    id: uuid::Uuid,
    name: String,
    kind: String,
    provider: String,
    mask_id: Option<String>,
    workers: i32,
    is_disabled: bool,
    sealed_config: Vec<u8>,
    mapping: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Row {
    fn open(self, keys: &Keys) -> Result<StoredSource, StoreError> {
        let fault =
            |problem: String| StoreError::Misconfigured(format!("sources row {}: {problem}", self.id));
        let config =
            keys.open(&self.sealed_config, self.id.as_bytes()).map_err(|error| fault(error.to_string()))?;
        let config = String::from_utf8(config).map_err(|_| fault("its settings are not text".to_owned()))?;
        Ok(StoredSource {
            id: SourceId::from_uuid(self.id),
            name: self.name,
            kind: self.kind,
            provider: self.provider,
            mask_id: self.mask_id,
            workers: u16::try_from(self.workers).unwrap_or(1),
            is_disabled: self.is_disabled,
            config: Secret::new(config),
            mapping: self.mapping,
            created_at: Timestamp::from_utc(self.created_at),
            updated_at: Timestamp::from_utc(self.updated_at),
        })
    }
}

impl Store {
    /// A page of a project's sources.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sources_page(
        &self,
        project: ProjectId,
        filter: &SourceFilter,
        request: &PageRequest,
    ) -> Result<Page<StoredSource>, StoreError> {
        let (after, before) = request.bounds();
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT id, name, kind, provider, mask_id, workers, is_disabled, sealed_config,
                   mapping::text AS "mapping!", created_at, updated_at
               FROM sources
               WHERE project_id = $1 AND ($2::boolean IS NULL OR (kind = 'http') = $2)
                   AND ($3::text IS NULL OR provider = $3)
                   AND ($4::uuid IS NULL OR id > $4) AND ($5::uuid IS NULL OR id < $5)
               ORDER BY CASE WHEN $6 THEN id END, CASE WHEN NOT $6 THEN id END DESC
               LIMIT $7"#,
            project.as_uuid(),
            filter.is_http,
            filter.provider,
            after,
            before,
            request.reads_ascending(),
            request.rows(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        request.page(rows).try_map(|row| row.open(self.keys()))
    }

    /// A source of a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn source(&self, project: ProjectId, id: SourceId) -> Result<Option<StoredSource>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT id, name, kind, provider, mask_id, workers, is_disabled, sealed_config,
                   mapping::text AS "mapping!", created_at, updated_at
               FROM sources WHERE project_id = $1 AND id = $2"#,
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        row.map(|row| row.open(self.keys())).transpose()
    }
}

impl Changing {
    /// When a source was changed last; `None` when there is none. Nobody else changes it until this change ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn source_changed_at(
        &mut self,
        project: ProjectId,
        id: SourceId,
    ) -> Result<Option<Timestamp>, StoreError> {
        let at = sqlx::query_scalar!(
            "SELECT updated_at FROM sources WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.connection())
        .await
        .map_err(sort)?;
        Ok(at.map(Timestamp::from_utc))
    }

    /// Writes a source, new or changed, but for its times, which are those of the change. Returns when it was changed,
    /// and made.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_source(
        &mut self,
        project: ProjectId,
        source: &StoredSource,
    ) -> Result<(Timestamp, Timestamp), StoreError> {
        let id = source.id.as_uuid();
        let sealed = self.seal(source.config.expose().as_bytes(), id)?;
        let row = sqlx::query!(
            "INSERT INTO sources (project_id, id, name, kind, provider, mask_id, workers, is_disabled, sealed_config,
                 mapping)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::json)
             ON CONFLICT (project_id, id) DO UPDATE SET name = excluded.name, kind = excluded.kind,
                 provider = excluded.provider, mask_id = excluded.mask_id, workers = excluded.workers,
                 is_disabled = excluded.is_disabled, sealed_config = excluded.sealed_config,
                 mapping = excluded.mapping, updated_at = clock_timestamp()
             RETURNING created_at, updated_at",
            project.as_uuid(),
            id,
            source.name,
            source.kind,
            source.provider,
            source.mask_id,
            i32::from(source.workers),
            source.is_disabled,
            sealed,
            source.mapping,
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        Ok((Timestamp::from_utc(row.created_at), Timestamp::from_utc(row.updated_at)))
    }

    /// Deletes a source; whether it was there. Its events stay, and so do its subscriptions, which match nothing more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_source(&mut self, project: ProjectId, id: SourceId) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "DELETE FROM sources WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .execute(self.connection())
        .await
        .map_err(sort)?;
        Ok(done.rows_affected() == 1)
    }
}
