//! The audit log: who changed what.

use longshore_core::ports::StoreError;
use longshore_core::{OrganisationId, ProjectId};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::sort;

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// In what way it came.
    pub kind: ActorKind,
    /// Its id: of the key, of the portal link; `None` from the command line.
    pub id: Option<Uuid>,
    /// For people: the key's name, the person's address.
    pub name: String,
    /// The request it was asked by.
    pub request_id: Option<String>,
}

/// In what way somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// With a key of a project.
    ProjectKey,
    /// With a key of a person.
    PersonalKey,
    /// With a token of a portal link.
    PortalLink,
    /// From the command line.
    CommandLine,
    /// Nobody: the installation by itself.
    Installation,
}

/// One change, to be written with it.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Where.
    pub organisation: OrganisationId,
    /// In which project, if in one.
    pub project: Option<ProjectId>,
    /// What was done: `endpoint.updated`, …
    pub action: &'static str,
    /// To what.
    pub resource: String,
    /// What changed, without anything secret: a JSON object.
    pub detail: Value,
}

impl ActorKind {
    /// The word used in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProjectKey => "project_key",
            Self::PersonalKey => "personal_key",
            Self::PortalLink => "portal_link",
            Self::CommandLine => "cli",
            Self::Installation => "installation",
        }
    }
}

impl Actor {
    /// The command line.
    #[must_use]
    pub fn command_line() -> Self {
        Self { kind: ActorKind::CommandLine, id: None, name: "command line".to_owned(), request_id: None }
    }
}

/// Writes a line, in the transaction of the change.
pub(super) async fn write(
    connection: &mut PgConnection,
    id: Uuid,
    actor: &Actor,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO audit_log (id, organisation_id, project_id, actor_kind, actor_id, actor_name, action, resource_id,
             detail, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10)",
        id,
        entry.organisation.as_uuid(),
        entry.project.map(|id| id.as_uuid()),
        actor.kind.as_str(),
        actor.id,
        actor.name,
        entry.action,
        entry.resource,
        entry.detail.to_string(),
        actor.request_id,
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(sort)
}
