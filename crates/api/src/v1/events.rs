//! Events: listed, searched, shown, delivered anew.
//!
//! Invariants: an event is named together with its project; a replay makes new deliveries, by the subscriptions of today,
//! and leaves the old ones alone.

mod query;
mod view;

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::{Clock, EndpointId, EventId, ProjectId, SystemClock};
use longshore_store::control::{Direction, EventFilter, EventRecord, Page, PageRequest};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::query::EventsQuery;
use self::view::EventView;
use super::access::{InProject, InSight, ReadEvents, Seeing, WriteEvents};
use super::control::Control;
use super::filters::Pairs;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Envelope, Paged, Reply};

pub(crate) use view::{EndpointMetadata, SourceMetadata, body, headers};

/// Events that one request may replay.
const MOST_REPLAYED: u32 = 10_000;
/// Events that are replayed in one step.
const STEP: u32 = 250;

/// How many there are.
#[derive(Serialize, ToSchema)]
pub(crate) struct CountView {
    /// So many.
    num: u64,
}

/// The routes of events that nobody else serves.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(get_event))
        .routes(routes!(replay_event))
        .routes(routes!(replay_events))
        .routes(routes!(count_events))
}

/// The route whose path takes events in too.
pub(crate) fn shared_routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(list_events))
}

/// List events, newest first.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/events",
    operation_id = "GetEventsPaged",
    tag = "Events",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, EventsQuery),
    responses((status = 200, description = "A page of events", body = Envelope<Paged<EventView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn list_events(
    access: InSight<ReadEvents>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let request = page.parse()?;
    let found = match query::filter(&Pairs(pairs))? {
        Some(filter) => control.store().events_page(&access.sight(), &filter, &request).await?,
        None => Page { items: Vec::new(), has_next: false, has_previous: false },
    };
    let endpoints: Vec<EndpointId> =
        found.items.iter().flat_map(|item| item.record.endpoints.iter().copied()).collect();
    let endpoints = control.store().endpoint_briefs(&access.sight(), &endpoints).await?;
    let Paged { content, pagination } = Paged::new(found, request.limit, |item| item.cursor.to_string());
    let content: Vec<EventView> =
        content.into_iter().map(|item| EventView::new(item.record, &endpoints)).collect();
    Ok(Reply::ok("Events fetched successfully", Paged { content, pagination }))
}

async fn found(control: &Control, access: &impl Seeing, id: EventId) -> Result<EventView, Problem> {
    let sight = access.sight();
    let record = control.store().event(&sight, id).await?;
    let record: EventRecord = record.ok_or_else(|| Problem::not_found("event"))?;
    let endpoints: HashMap<_, _> = control.store().endpoint_briefs(&sight, &record.endpoints).await?;
    Ok(EventView::new(record, &endpoints))
}

/// Get an event.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/events/{event_id}",
    operation_id = "GetEndpointEvent",
    tag = "Events",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_id" = String, Path, description = "The event's id"),
    ),
    responses((status = 200, description = "The event", body = Envelope<EventView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_event(
    access: InSight<ReadEvents>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let view = found(&control, &access, query::id(&id)?).await?;
    Ok(Reply::ok("Endpoint event fetched successfully", view))
}

/// Replay an event: deliver it anew, to the subscriptions that match it now.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/events/{event_id}/replay",
    operation_id = "ReplayEndpointEvent",
    tag = "Events",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_id" = String, Path, description = "The event's id"),
    ),
    responses((status = 200, description = "The event", body = Envelope<EventView>)),
)]
async fn replay_event(
    access: InProject<WriteEvents>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = query::id(&id)?;
    let outcomes = control.replays().replay_events(access.id(), &[id]).await?;
    let deliveries = match outcomes.into_iter().find(|(of, _)| *of == id) {
        Some((_, Some(deliveries))) => deliveries,
        _ => return Err(Problem::not_found("event")),
    };
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    change.audit(&access.entry("event.replayed", id, json!({"deliveries": deliveries}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Endpoint event replayed successfully", found(&control, &access, id).await?))
}

/// Count the events that a replay of many would take.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/events/countbatchreplayevents",
    operation_id = "CountAffectedEvents",
    tag = "Events",
    params(("project_id" = String, Path, description = "The project's id"), EventsQuery),
    responses((status = 200, description = "How many, counted up to 10,001", body = Envelope<CountView>)),
)]
async fn count_events(
    access: InProject<ReadEvents>,
    State(control): State<Control>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let num = match query::filter(&Pairs(pairs))? {
        Some(filter) => control.store().count_events(access.id(), &filter, MOST_REPLAYED).await?,
        None => 0,
    };
    Ok(Reply::ok("Events count fetched successfully", CountView { num }))
}

/// Replay the events that fit, oldest first, 10,000 at most.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/events/batchreplay",
    operation_id = "BatchReplayEvents",
    tag = "Events",
    params(("project_id" = String, Path, description = "The project's id"), EventsQuery),
    responses((status = 200, description = "How many, in words: the message, and `data` too", body = Envelope<String>)),
)]
async fn replay_events(
    access: InProject<WriteEvents>,
    State(control): State<Control>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let (mut successful, mut failed) = (0_u64, 0_u64);
    if let Some(filter) = query::filter(&Pairs(pairs))? {
        let count = control.store().count_events(access.id(), &filter, MOST_REPLAYED).await?;
        if count > u64::from(MOST_REPLAYED) {
            let message = format!(
                "that is more than {MOST_REPLAYED} events: narrow it down by `startDate` and `endDate`, and replay them in parts"
            );
            return Err(Problem::new(http::StatusCode::BAD_REQUEST, message));
        }
        (successful, failed) = replay_all(&control, access.id(), filter).await?;
    }
    let message = format!("{successful} successful, {failed} failed");
    let detail = json!({"successful": successful, "failed": failed});
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    change.audit(&access.entry("event.batch_replayed", "", detail)).await?;
    change.commit().await?;
    // The contract's document has a text in `data`, and clients that are made from it insist on that.
    Ok(Reply::ok(message.clone(), message))
}

/// Replays what there is now, in steps.
async fn replay_all(
    control: &Control,
    project: ProjectId,
    mut filter: EventFilter,
) -> Result<(u64, u64), Problem> {
    let now = SystemClock.now();
    // Ids may lie an hour ahead: their producers' clocks say so.
    if filter.until.is_none() && !filter.endpoints.is_empty() {
        filter.until = Some(now);
    }
    let (mut successful, mut failed, mut cursor) = (0, 0, None);
    loop {
        let request = PageRequest { limit: STEP, cursor, direction: Direction::Next, is_ascending: true };
        let found = control.store().event_ids(project, &filter, &request).await?;
        let Some((last, _)) = found.last() else { return Ok((successful, failed)) };
        cursor = Some(last.as_uuid());
        let ids: Vec<EventId> = found.into_iter().map(|(_, id)| id).collect();
        for (_, outcome) in control.replays().replay_events(project, &ids).await? {
            *(if outcome.is_some() { &mut successful } else { &mut failed }) += 1;
        }
        if successful + failed >= u64::from(MOST_REPLAYED) {
            return Ok((successful, failed));
        }
    }
}
