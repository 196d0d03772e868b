//! The audit log: what was changed by whom, newest first.

use axum::extract::State;
use longshore_core::{ApiKeyId, OrganisationId, ProjectId, Timestamp};
use longshore_store::control::{AuditFilter, AuditLine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{InOrganisation, InProject, ReadAuditLog};
use super::control::Control;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Envelope, Paged, Reply};

/// The routes of the audit log.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_project_audit_log)).routes(routes!(get_organisation_audit_log))
}

/// A change.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditLineView {
    /// Its id.
    uid: String,
    /// In which project; absent for the organisation's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    /// What was done: `endpoint.updated`, …
    action: String,
    /// To what.
    resource_id: String,
    /// Who did it.
    actor: AuditActorView,
    /// What changed; nothing secret is in it.
    #[schema(value_type = Object)]
    detail: Value,
    /// The `X-Request-ID` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// When.
    created_at: String,
}

/// Who changed something.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditActorView {
    /// `project_key`, `personal_key`, `portal_link`, `cli` or `installation`.
    r#type: String,
    /// The key's or the link's.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The key's name, the person's address.
    name: String,
}

/// Which lines are meant.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Done this: `endpoint.updated`, …
    action: Option<String>,
    /// By whom: the name or the id of the key, the person's address.
    actor: Option<String>,
    /// To what: its id.
    resource: Option<String>,
    /// Not earlier; `2006-01-02T15:04:05` (UTC) or RFC 3339.
    #[serde(rename = "startDate")]
    start_date: Option<String>,
    /// Not later.
    #[serde(rename = "endDate")]
    end_date: Option<String>,
}

impl AuditQuery {
    fn parse(self, project: Option<ProjectId>) -> Result<AuditFilter, Problem> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let actor = given(self.actor);
        let actor_id = actor.as_deref().and_then(|text| text.parse().ok()).map(ApiKeyId::as_uuid);
        Ok(AuditFilter {
            project,
            action: given(self.action),
            actor: actor.filter(|_| actor_id.is_none()),
            actor_id,
            resource: given(self.resource),
            from: instant("startDate", given(self.start_date))?,
            until: instant("endDate", given(self.end_date))?,
        })
    }
}

/// A time with or without an offset; without one it is UTC.
pub(crate) fn instant(field: &str, text: Option<String>) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse().or_else(|_| format!("{text}Z").parse());
    parsed.map(Some).map_err(|error: longshore_core::clock::NotRfc3339| Problem::invalid(field, error))
}

impl From<AuditLine> for AuditLineView {
    fn from(line: AuditLine) -> Self {
        Self {
            uid: line.id.to_string(),
            project_id: line.project.map(|id| id.to_string()),
            action: line.action,
            resource_id: line.resource,
            actor: AuditActorView {
                r#type: line.actor_kind,
                id: line.actor_id.map(|id| ApiKeyId::from_uuid(id).to_string()),
                name: line.actor_name,
            },
            detail: line.detail,
            request_id: line.request_id,
            created_at: line.occurred_at.to_string(),
        }
    }
}

/// What was changed in a project by whom.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/audit-log",
    operation_id = "GetProjectAuditLog",
    tag = "Audit Log",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, AuditQuery),
    responses((status = 200, description = "A page of it", body = Envelope<Paged<AuditLineView>>)),
)]
async fn get_project_audit_log(
    access: InProject<ReadAuditLog>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<AuditQuery>,
) -> Result<Reply<Paged<AuditLineView>>, Problem> {
    let filter = query.parse(Some(access.id()))?;
    lines(&control, access.project.organisation, &filter, &page).await
}

/// What was changed in an organisation and its projects by whom.
#[utoipa::path(
    get,
    path = "/organisations/{organisation_id}/audit-log",
    operation_id = "GetOrganisationAuditLog",
    tag = "Audit Log",
    params(("organisation_id" = String, Path, description = "The organisation's id"), PageQuery, AuditQuery),
    responses((status = 200, description = "A page of it", body = Envelope<Paged<AuditLineView>>)),
)]
async fn get_organisation_audit_log(
    access: InOrganisation<ReadAuditLog>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<AuditQuery>,
) -> Result<Reply<Paged<AuditLineView>>, Problem> {
    lines(&control, access.id, &query.parse(None)?, &page).await
}

async fn lines(
    control: &Control,
    organisation: OrganisationId,
    filter: &AuditFilter,
    page: &PageQuery,
) -> Result<Reply<Paged<AuditLineView>>, Problem> {
    let request = page.parse()?;
    let found = control.store().audit_lines(organisation, filter, &request).await?;
    let views = found.map(AuditLineView::from);
    let paged = Paged::new(views, request.limit, |view| view.uid.clone());
    Ok(Reply::ok("Audit log fetched successfully", paged))
}
