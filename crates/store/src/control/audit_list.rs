//! Reading the audit log, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::{AuditId, OrganisationId, ProjectId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::page::{Page, PageRequest};
use crate::connect::Store;
use crate::error::sort;

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditLine {
    /// Its id.
    pub id: AuditId,
    /// In which project, if in one.
    pub project: Option<ProjectId>,
    /// In what way the actor came.
    pub actor_kind: String,
    /// The actor's key or link.
    pub actor_id: Option<Uuid>,
    /// For people.
    pub actor_name: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub resource: String,
    /// What changed: a JSON object.
    pub detail: Value,
    /// The request it was asked by.
    pub request_id: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

/// Which lines are meant; what is `None` does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this project only.
    pub project: Option<ProjectId>,
    /// Done this.
    pub action: Option<String>,
    /// By the actor of this name.
    pub actor: Option<String>,
    /// By the actor of this id.
    pub actor_id: Option<Uuid>,
    /// To this.
    pub resource: Option<String>,
    /// Not earlier.
    pub from: Option<Timestamp>,
    /// Earlier than this.
    pub until: Option<Timestamp>,
}

impl Store {
    /// A page of an organisation's audit log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit_lines(
        &self,
        organisation: OrganisationId,
        filter: &AuditFilter,
        request: &PageRequest,
    ) -> Result<Page<AuditLine>, StoreError> {
        let (after, before) = request.bounds();
        // One half of it is ruled out before it begins; the other one follows the index.
        let rows = sqlx::query!(
            r#"WITH found AS (
                   SELECT * FROM audit_log
                   WHERE organisation_id = $1 AND ($2::uuid IS NULL OR project_id = $2)
                       AND ($3::uuid IS NULL OR id > $3) AND ($4::uuid IS NULL OR id < $4)
                       AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR actor_name = $6)
                       AND ($7::uuid IS NULL OR actor_id = $7) AND ($8::text IS NULL OR resource_id = $8)
                       AND ($9::timestamptz IS NULL OR occurred_at >= $9)
                       AND ($10::timestamptz IS NULL OR occurred_at < $10))
               SELECT id AS "id!", project_id, actor_kind AS "actor_kind!", actor_id, actor_name AS "actor_name!",
                   action AS "action!", resource_id AS "resource_id!", detail AS "detail!", request_id,
                   occurred_at AS "occurred_at!"
               FROM ((SELECT * FROM found WHERE $11 ORDER BY id LIMIT $12)
                     UNION ALL
                     (SELECT * FROM found WHERE NOT $11 ORDER BY id DESC LIMIT $12)) AS lines"#,
            organisation.as_uuid(),
            filter.project.map(ProjectId::as_uuid),
            after,
            before,
            filter.action,
            filter.actor,
            filter.actor_id,
            filter.resource,
            filter.from.map(Timestamp::to_utc),
            filter.until.map(Timestamp::to_utc),
            request.reads_ascending(),
            request.rows(),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let lines = rows.into_iter().map(|row| AuditLine {
            id: AuditId::from_uuid(row.id),
            project: row.project_id.map(ProjectId::from_uuid),
            actor_kind: row.actor_kind,
            actor_id: row.actor_id,
            actor_name: row.actor_name,
            action: row.action,
            resource: row.resource_id,
            detail: row.detail,
            request_id: row.request_id,
            occurred_at: Timestamp::from_utc(row.occurred_at),
        });
        let mut lines: Vec<AuditLine> = lines.collect();
        lines.sort_by_key(|line| line.id);
        if !request.reads_ascending() {
            lines.reverse();
        }
        Ok(request.page(lines))
    }
}
