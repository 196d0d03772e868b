//! Projects.

use axum::response::IntoResponse;
use longshore_core::ProjectId;
use longshore_store::control::ProjectRecord;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{InProject, ReadProjects};
use super::control::Control;
use super::reply::{Envelope, Reply};

/// The routes of projects.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_project))
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectView {
    /// Its id.
    #[schema(value_type = String)]
    uid: ProjectId,
    /// For people.
    name: String,
    /// `outgoing` or `incoming`.
    r#type: String,
}

impl From<ProjectRecord> for ProjectView {
    fn from(record: ProjectRecord) -> Self {
        Self { uid: record.project.id, name: record.project.name, r#type: record.kind }
    }
}

/// Get a project.
#[utoipa::path(
    get,
    path = "/projects/{project_id}",
    operation_id = "GetProject",
    tag = "Projects",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "The project", body = Envelope<ProjectView>)),
)]
async fn get_project(access: InProject<ReadProjects>) -> impl IntoResponse {
    let updated_at = access.project.updated_at;
    Reply::ok("Project fetched successfully", ProjectView::from(access.project)).tagged(updated_at)
}
