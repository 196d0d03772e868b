//! Meta events: what a project's own webhook was told; listed, shown, sent again.

mod view;

use axum::extract::{Path, State};
use longshore_core::{MetaEventId, ProjectId};
use longshore_store::control::{MetaEventFilter, MetaEventRecord, Requeued};
use serde::Deserialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::view::MetaEventView;
use super::access::{InProject, ReadMetaEvents, WriteMetaEvents};
use super::audit_log::instant;
use super::control::Control;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Envelope, Paged, Reply};

/// The routes of meta events.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_meta_events))
        .routes(routes!(get_meta_event))
        .routes(routes!(resend_meta_event))
}

/// Which meta events a list shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct MetaEventQuery {
    /// Happened at this time or later; `2006-01-02T15:04:05` (UTC) or RFC 3339.
    #[serde(rename = "startDate")]
    start_date: Option<String>,
    /// Happened before this time.
    #[serde(rename = "endDate")]
    end_date: Option<String>,
}

impl MetaEventQuery {
    fn parse(self) -> Result<MetaEventFilter, Problem> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(MetaEventFilter {
            from: instant("startDate", given(self.start_date))?,
            until: instant("endDate", given(self.end_date))?,
        })
    }
}

fn not_found() -> Problem {
    Problem::not_found("meta event")
}

async fn record(control: &Control, project: ProjectId, id: MetaEventId) -> Result<MetaEventRecord, Problem> {
    control.store().meta_event(project, id).await?.ok_or_else(not_found)
}

/// List a project's meta events, newest first.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/meta-events",
    operation_id = "GetMetaEventsPaged",
    tag = "Meta Events",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, MetaEventQuery),
    responses((status = 200, description = "A page of meta events", body = Envelope<Paged<MetaEventView>>)),
)]
async fn list_meta_events(
    access: InProject<ReadMetaEvents>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<MetaEventQuery>,
) -> Result<Reply<Paged<MetaEventView>>, Problem> {
    let (request, filter) = (page.parse()?, query.parse()?);
    let found = control.store().meta_events_page(access.id(), &filter, &request).await?;
    let views = found.map(|record| MetaEventView::new(record, &access.project.project));
    let paged = Paged::new(views, request.limit, |view| view.uid.clone());
    Ok(Reply::ok("Meta events fetched successfully", paged))
}

/// A meta event.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/meta-events/{meta_event_id}",
    operation_id = "GetMetaEvent",
    tag = "Meta Events",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("meta_event_id" = String, Path, description = "The meta event's id"),
    ),
    responses((status = 200, description = "The meta event", body = Envelope<MetaEventView>)),
)]
async fn get_meta_event(
    access: InProject<ReadMetaEvents>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<MetaEventView>, Problem> {
    let id: MetaEventId = id.parse().map_err(|_| not_found())?;
    let found = record(&control, access.id(), id).await?;
    let view = MetaEventView::new(found, &access.project.project);
    Ok(Reply::ok("Meta event fetched successfully", view))
}

/// Send a meta event again: it is queued with all attempts of the project's schedule.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/meta-events/{meta_event_id}/resend",
    operation_id = "ResendMetaEvent",
    tag = "Meta Events",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("meta_event_id" = String, Path, description = "The meta event's id"),
    ),
    responses((status = 200, description = "The meta event, queued", body = Envelope<MetaEventView>)),
)]
async fn resend_meta_event(
    access: InProject<WriteMetaEvents>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<MetaEventView>, Problem> {
    let id: MetaEventId = id.parse().map_err(|_| not_found())?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    match change.requeue_meta_event(access.id(), id).await? {
        Requeued::Done => {}
        Requeued::Absent => return Err(not_found()),
        Requeued::Busy => {
            return Err(Problem::conflict(
                "this meta event is being sent at this moment; see what becomes of it",
            ));
        }
    }
    change.audit(&access.entry("meta_event.resent", id, json!({}))).await?;
    change.commit().await?;
    let found = record(&control, access.id(), id).await?;
    let view = MetaEventView::new(found, &access.project.project);
    Ok(Reply::ok("Meta event processed successfully", view))
}
