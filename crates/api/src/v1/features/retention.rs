//! What retention does to a project: how long its events are kept, and how far back they go.

use axum::extract::State;
use longshore_core::duration;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::v1::access::{InProject, ReadProjects};
use crate::v1::control::Control;
use crate::v1::problem::Problem;
use crate::v1::reply::{Envelope, Reply};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_retention))
}

/// What retention does to a project.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetentionView {
    /// How long events are kept: what the project says, within what the installation does.
    kept_for: String,
    /// How long the installation keeps them.
    installation: String,
    /// What the project says.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// When the oldest event that is still there was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    oldest_event: Option<String>,
}

/// Get what retention does to a project.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/retention",
    operation_id = "GetRetention",
    tag = "Features",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "What is kept", body = Envelope<RetentionView>)),
    extensions(("x-longshore-feature" = json!("retention_report"))),
)]
async fn get_retention(
    access: InProject<ReadProjects>,
    State(control): State<Control>,
) -> Result<Reply<RetentionView>, Problem> {
    let own = access.project.project.settings.retention.map(|kept| kept.get());
    let installation = control.settings().events_kept;
    let reach = control.store().reach(access.id()).await?;
    let view = RetentionView {
        kept_for: duration::format(own.map_or(installation, |own| own.min(installation))),
        installation: duration::format(installation),
        project: own.map(duration::format),
        oldest_event: reach.oldest_event.map(|at| at.to_string()),
    };
    Ok(Reply::ok("Retention fetched successfully", view))
}
