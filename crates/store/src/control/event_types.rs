//! A project's catalogue of event types, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::{EventTypeId, ProjectId, Timestamp};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::changing::Changing;
use crate::connect::Store;
use crate::error::sort;

/// An event type of a catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct EventTypeRecord {
    /// Its id.
    pub id: EventTypeId,
    /// What events say; unique in the project.
    pub name: String,
    /// What it belongs to; empty for nothing.
    pub category: String,
    /// For people.
    pub description: String,
    /// What the data of its events look like.
    pub json_schema: Option<Value>,
    /// Since when it should no longer be used.
    pub deprecated_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

struct Row {
    id: Uuid,
    name: String,
    category: String,
    description: String,
    json_schema: Option<String>,
    deprecated_at: Option<OffsetDateTime>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl Row {
    fn parse(self) -> Result<EventTypeRecord, StoreError> {
        let fault = |error: serde_json::Error| {
            StoreError::Misconfigured(format!("event_types row {}: {error}", self.id))
        };
        let json_schema = self.json_schema.as_deref().map(serde_json::from_str).transpose().map_err(fault)?;
        Ok(EventTypeRecord {
            id: EventTypeId::from_uuid(self.id),
            name: self.name,
            category: self.category,
            description: self.description,
            json_schema,
            deprecated_at: self.deprecated_at.map(Timestamp::from_utc),
            created_at: Timestamp::from_utc(self.created_at),
            updated_at: Timestamp::from_utc(self.updated_at),
        })
    }
}

impl Store {
    /// The catalogue of a project, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_types(&self, project: ProjectId) -> Result<Vec<EventTypeRecord>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, name, category, description, json_schema::text AS json_schema, deprecated_at, created_at,
                 updated_at
             FROM event_types WHERE project_id = $1 ORDER BY name",
            project.as_uuid(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// An event type of a project.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_type(
        &self,
        project: ProjectId,
        id: EventTypeId,
    ) -> Result<Option<EventTypeRecord>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT id, name, category, description, json_schema::text AS json_schema, deprecated_at, created_at,
                 updated_at
             FROM event_types WHERE project_id = $1 AND id = $2",
            project.as_uuid(),
            id.as_uuid(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        row.map(Row::parse).transpose()
    }
}

impl Changing {
    /// The catalogue of a project as it is now, by name; it stays so until the change ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_types(&mut self, project: ProjectId) -> Result<Vec<EventTypeRecord>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT id, name, category, description, json_schema::text AS json_schema, deprecated_at, created_at,
                 updated_at
             FROM event_types WHERE project_id = $1 ORDER BY name",
            project.as_uuid(),
        )
        .fetch_all(self.connection())
        .await
        .map_err(sort)?;
        rows.into_iter().map(Row::parse).collect()
    }

    /// Writes an event type, new or changed, but for its times, which are those of the change. Its name is free, or its own.
    /// Returns when it was made, and changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_event_type(
        &mut self,
        project: ProjectId,
        event_type: &EventTypeRecord,
    ) -> Result<(Timestamp, Timestamp), StoreError> {
        let row = sqlx::query!(
            "INSERT INTO event_types (project_id, id, name, category, description, json_schema, deprecated_at)
             VALUES ($1, $2, $3, $4, $5, $6::text::json, $7)
             ON CONFLICT (project_id, id) DO UPDATE SET name = excluded.name, category = excluded.category,
                 description = excluded.description, json_schema = excluded.json_schema,
                 deprecated_at = excluded.deprecated_at, updated_at = clock_timestamp()
             RETURNING created_at, updated_at",
            project.as_uuid(),
            event_type.id.as_uuid(),
            event_type.name,
            event_type.category,
            event_type.description,
            event_type.json_schema.as_ref().map(ToString::to_string),
            event_type.deprecated_at.map(Timestamp::to_utc),
        )
        .fetch_one(self.connection())
        .await
        .map_err(sort)?;
        Ok((Timestamp::from_utc(row.created_at), Timestamp::from_utc(row.updated_at)))
    }
}
