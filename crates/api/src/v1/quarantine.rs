//! Quarantine: messages that could not become events, looked at, replayed, discarded.
//!
//! Invariants: a message is named together with its project; a message becomes one event at most, however often it is
//! replayed; what is done to many is done in the background ([`work`]), and can be watched.

mod select;
mod view;
mod work;

use axum::body::HttpBody;
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::IntoResponse;
use longshore_core::{OperationId, ProjectId, QuarantineId};
use longshore_store::control::{OperationKind, quarantine_cursor};
use longshore_store::{QuarantineEntry, QuarantineFilter};
use serde::Deserialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::select::{BulkBody, ReplayBody};
use self::view::{OperationView, QuarantineDetail, QuarantineView, ReplayView};
use super::access::{InProject, ReadQuarantine, WriteQuarantine};
use super::body::JsonBody;
use super::control::Control;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Done, Envelope, Paged, Reply};

pub use work::advance_operations;

/// The routes of quarantine.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_quarantine))
        .routes(routes!(get_quarantined, discard_quarantined))
        .routes(routes!(replay_quarantined))
        .routes(routes!(replay_many))
        .routes(routes!(discard_many))
        .routes(routes!(get_operation))
}

/// Which messages a list shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct QuarantineQuery {
    /// Of this source.
    #[serde(rename = "sourceId", alias = "source_id")]
    source_id: Option<String>,
    /// For this reason: `undecodable`, `invalid_field`, …
    reason: Option<String>,
    /// Received at this time or later.
    #[serde(rename = "startDate", alias = "start_date")]
    start_date: Option<String>,
    /// Received before this time.
    #[serde(rename = "endDate", alias = "end_date")]
    end_date: Option<String>,
    /// `true` shows those too that became events meanwhile.
    #[param(value_type = Option<bool>)]
    with_replayed: Option<String>,
}

impl QuarantineQuery {
    fn parse(&self) -> Result<QuarantineFilter, Problem> {
        let Self { source_id, reason, start_date, end_date, with_replayed } = self;
        let names = ["sourceId", "startDate", "endDate"];
        let filter = select::filter(
            names,
            source_id.as_ref(),
            reason.as_ref(),
            start_date.as_ref(),
            end_date.as_ref(),
        )?;
        let with_replayed = match with_replayed.as_deref() {
            None | Some("" | "false") => false,
            Some("true") => true,
            Some(_) => return Err(Problem::invalid("with_replayed", "write `true` or `false`")),
        };
        Ok(QuarantineFilter { with_replayed, ..filter })
    }
}

fn not_found() -> Problem {
    Problem::not_found("quarantined message")
}

async fn entry(control: &Control, project: ProjectId, id: &str) -> Result<QuarantineEntry, Problem> {
    let id: QuarantineId = id.parse().map_err(|_| not_found())?;
    let found = control.store().quarantine_entry(id).await?;
    found.filter(|entry| entry.item.project == project).ok_or_else(not_found)
}

/// List quarantined messages, newest first.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/quarantine",
    operation_id = "GetQuarantine",
    tag = "Quarantine",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, QuarantineQuery),
    responses((status = 200, description = "A page of messages", body = Envelope<Paged<QuarantineView>>)),
)]
async fn list_quarantine(
    access: InProject<ReadQuarantine>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<QuarantineQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (request, filter) = (page.parse()?, query.parse()?);
    let found = control.store().quarantine_page(access.id(), &filter, &request).await?;
    let paged = Paged::new(found, request.limit, |item| quarantine_cursor(item).to_string());
    let Paged { content, pagination } = paged;
    let content: Vec<QuarantineView> = content.iter().map(QuarantineView::from).collect();
    Ok(Reply::ok("Quarantined messages fetched successfully", Paged { content, pagination }))
}

/// Get a quarantined message with its headers and raw bytes.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/quarantine/{message_id}",
    operation_id = "GetQuarantinedMessage",
    tag = "Quarantine",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("message_id" = String, Path, description = "The message's id"),
    ),
    responses((status = 200, description = "The message", body = Envelope<QuarantineDetail>)),
)]
async fn get_quarantined(
    access: InProject<ReadQuarantine>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let entry = entry(&control, access.id(), &id).await?;
    Ok(Reply::ok("Quarantined message fetched successfully", QuarantineDetail::from(entry)))
}

/// Discard a quarantined message.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/quarantine/{message_id}",
    operation_id = "DiscardQuarantinedMessage",
    tag = "Quarantine",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("message_id" = String, Path, description = "The message's id"),
    ),
    responses((status = 200, description = "It is gone", body = Done)),
)]
async fn discard_quarantined(
    access: InProject<WriteQuarantine>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id: QuarantineId = id.parse().map_err(|_| not_found())?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if change.discard_quarantined_of(access.id(), &[id]).await? == 0 {
        return Err(not_found());
    }
    change.audit(&access.entry("quarantine.discarded", id, json!({}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Quarantined message discarded", None::<()>))
}

/// Replay a quarantined message: decode it again, with the source's mapping of today or the one given.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/quarantine/{message_id}/replay",
    operation_id = "ReplayQuarantinedMessage",
    tag = "Quarantine",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("message_id" = String, Path, description = "The message's id"),
    ),
    request_body = Option<ReplayBody>,
    responses((status = 200, description = "What became of it", body = Envelope<ReplayView>)),
)]
async fn replay_quarantined(
    access: InProject<WriteQuarantine>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    request: Request,
) -> Result<impl IntoResponse, Problem> {
    let body = match request.body().size_hint().exact() {
        Some(0) => ReplayBody::default(),
        _ => JsonBody::<ReplayBody>::from_request(request, &control).await?.0,
    };
    let mapping = select::mapping(body.mapping.as_ref())?;
    let id = entry(&control, access.id(), &id).await?.item.id;
    let outcomes = control.replays().replay(access.id(), &[id], mapping.as_ref()).await?;
    let outcome = outcomes.into_iter().find(|(of, _)| *of == id).ok_or_else(not_found)?.1;
    let view = ReplayView::new(id, outcome);
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let detail = json!({"with_mapping": mapping.is_some()});
    change.audit(&access.entry("quarantine.replayed", id, detail)).await?;
    change.commit().await?;
    Ok(Reply::ok("Quarantined message replayed", view))
}

/// Replay many quarantined messages in the background.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/quarantine/replay",
    operation_id = "ReplayQuarantine",
    tag = "Quarantine",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = BulkBody,
    responses((status = 202, description = "What was begun", body = Envelope<OperationView>)),
)]
async fn replay_many(
    access: InProject<WriteQuarantine>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<BulkBody>,
) -> Result<impl IntoResponse, Problem> {
    begin(&access, &control, OperationKind::Replay, &body).await
}

/// Discard many quarantined messages in the background.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/quarantine/discard",
    operation_id = "DiscardQuarantine",
    tag = "Quarantine",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = BulkBody,
    responses((status = 202, description = "What was begun", body = Envelope<OperationView>)),
)]
async fn discard_many(
    access: InProject<WriteQuarantine>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<BulkBody>,
) -> Result<impl IntoResponse, Problem> {
    if body.mapping.is_some() {
        return Err(Problem::invalid("mapping", "is for a replay; leave it out"));
    }
    begin(&access, &control, OperationKind::Discard, &body).await
}

async fn begin(
    access: &InProject<WriteQuarantine>,
    control: &Control,
    kind: OperationKind,
    body: &BulkBody,
) -> Result<Reply<OperationView>, Problem> {
    let project = access.id();
    let selection = select::selection(body, project)?;
    let mapping = select::mapping(body.mapping.as_ref())?;
    let mapping = mapping.map(|mapping| serde_json::to_string(&mapping)).transpose();
    let mapping = mapping.map_err(|error| Problem::invalid("mapping", error))?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let (id, total) = change.ask_operation(project, kind, &selection, mapping.as_deref()).await?;
    let action = match kind {
        OperationKind::Replay => "quarantine.replay_begun",
        OperationKind::Discard => "quarantine.discard_begun",
    };
    change.audit(&access.entry(action, id, json!({"messages": total}))).await?;
    change.commit().await?;
    let operation = control.store().quarantine_operation(project, id).await?;
    let operation = operation.ok_or_else(|| Problem::not_found("operation"))?;
    Ok(Reply::accepted("Begun in the background", OperationView::from(operation)))
}

/// How bulk work on quarantined messages stands.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/quarantine/operations/{operation_id}",
    operation_id = "GetQuarantineOperation",
    tag = "Quarantine",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("operation_id" = String, Path, description = "The operation's id"),
    ),
    responses((status = 200, description = "How it stands", body = Envelope<OperationView>)),
)]
async fn get_operation(
    access: InProject<ReadQuarantine>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id: OperationId = id.parse().map_err(|_| Problem::not_found("operation"))?;
    let found = control.store().quarantine_operation(access.id(), id).await?;
    let operation = found.ok_or_else(|| Problem::not_found("operation"))?;
    Ok(Reply::ok("Operation fetched successfully", OperationView::from(operation)))
}
