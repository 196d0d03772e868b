//! A project's catalogue of event types.
//!
//! Invariant: a schema that is stored compiles, so whoever holds events against it need not doubt it.

mod body;
mod export;
mod import;
mod references;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::catalogue::Schema;
use longshore_core::{Clock, EventTypeId, SystemClock, Timestamp};
use longshore_store::control::{Changing, EventTypeRecord};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{EventTypeBody, EventTypeView, ImportBody, NewEventTypeBody};
use super::access::{InProject, ReadEventTypes, WriteEventTypes};
use super::body::JsonBody;
use super::control::Control;
use super::etag::IfMatch;
use super::page::Params;
use super::problem::Problem;
use super::reply::{Envelope, Reply};

/// Event types of one project at most: the catalogue is listed and exported as a whole.
const TYPES_MOST: usize = 10_000;

/// The routes of event types.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(get_event_types, create_event_type))
        .routes(routes!(import_event_types))
        .routes(routes!(export_event_types))
        .routes(routes!(get_event_type, update_event_type))
        .routes(routes!(deprecate_event_type))
}

/// What form the catalogue is wanted in.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `openapi` (3.1, the default) or `asyncapi` (3.0).
    #[param(pattern = "^(openapi|asyncapi)$")]
    format: Option<String>,
}

/// List the event types.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/event-types",
    operation_id = "GetEventTypes",
    tag = "EventTypes",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "The event types, by name", body = Envelope<Vec<EventTypeView>>)),
)]
async fn get_event_types(
    access: InProject<ReadEventTypes>,
    State(control): State<Control>,
) -> Result<impl IntoResponse, Problem> {
    let records = control.store().event_types(access.id()).await?;
    let views: Vec<EventTypeView> = records.into_iter().map(EventTypeView::from).collect();
    Ok(Reply::ok("Event types fetched successfully", views))
}

/// Create an event type.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/event-types",
    operation_id = "CreateEventType",
    tag = "EventTypes",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = NewEventTypeBody,
    responses((status = 201, description = "The event type", body = Envelope<EventTypeView>)),
)]
async fn create_event_type(
    access: InProject<WriteEventTypes>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewEventTypeBody>,
) -> Result<impl IntoResponse, Problem> {
    let (name, body) = body.split()?;
    let mut record = blank(name);
    body.apply(&mut record)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let known = change.event_types(access.id()).await?;
    if known.iter().any(|other| other.name == record.name) {
        let message =
            format!("`name`: the project has an event type `{}` already; update that one", record.name);
        return Err(Problem::conflict(message));
    }
    check_count(known.len() + 1, "name")?;
    record.id = EventTypeId::from_u128(change.next_id());
    write(&access, &mut change, &mut record, "event_type.created").await?;
    change.commit().await?;
    let updated_at = record.updated_at;
    Ok(Reply::created("Event type created successfully", EventTypeView::from(record)).tagged(updated_at))
}

/// Get an event type.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/event-types/{event_type_id}",
    operation_id = "GetEventType",
    tag = "EventTypes",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_type_id" = String, Path, description = "The event type's id"),
    ),
    responses((status = 200, description = "The event type", body = Envelope<EventTypeView>)),
)]
async fn get_event_type(
    access: InProject<ReadEventTypes>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let found = control.store().event_type(access.id(), event_type_id(&id)?).await?;
    let record = found.ok_or_else(|| Problem::not_found("event type"))?;
    let updated_at = record.updated_at;
    Ok(Reply::ok("Event type fetched successfully", EventTypeView::from(record)).tagged(updated_at))
}

/// Update an event type: what is left out stays as it is. Its name does not change: events have it.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/event-types/{event_type_id}",
    operation_id = "UpdateEventType",
    tag = "EventTypes",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_type_id" = String, Path, description = "The event type's id"),
    ),
    request_body = EventTypeBody,
    responses((status = 201, description = "The event type", body = Envelope<EventTypeView>)),
)]
async fn update_event_type(
    access: InProject<WriteEventTypes>,
    State(control): State<Control>,
    if_match: IfMatch,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<EventTypeBody>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &id).await?;
    if_match.check(record.updated_at)?;
    body.apply(&mut record)?;
    write(&access, &mut change, &mut record, "event_type.updated").await?;
    change.commit().await?;
    let updated_at = record.updated_at;
    Ok(Reply::created("Event type updated successfully", EventTypeView::from(record)).tagged(updated_at))
}

/// Deprecate an event type: it is shown as one that should no longer be used. Its events are taken in as before.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/event-types/{event_type_id}/deprecate",
    operation_id = "DeprecateEventType",
    tag = "EventTypes",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_type_id" = String, Path, description = "The event type's id"),
    ),
    responses((status = 201, description = "The event type", body = Envelope<EventTypeView>)),
)]
async fn deprecate_event_type(
    access: InProject<WriteEventTypes>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &id).await?;
    // Whoever says it again changes nothing.
    if record.deprecated_at.is_none() {
        record.deprecated_at = Some(SystemClock.now());
        write(&access, &mut change, &mut record, "event_type.deprecated").await?;
        change.commit().await?;
    }
    let updated_at = record.updated_at;
    Ok(Reply::created("Event type deprecated successfully", EventTypeView::from(record)).tagged(updated_at))
}

/// Import event types from the webhooks of an OpenAPI document: all of them or none.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/event-types/import",
    operation_id = "ImportOpenApiSpec",
    tag = "EventTypes",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = ImportBody,
    responses((status = 200, description = "What was imported, by name", body = Envelope<Vec<EventTypeView>>)),
)]
async fn import_event_types(
    access: InProject<WriteEventTypes>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<ImportBody>,
) -> Result<impl IntoResponse, Problem> {
    let found = import::read(body.spec.as_deref().unwrap_or_default())?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let mut known: std::collections::HashMap<String, EventTypeRecord> = change
        .event_types(access.id())
        .await?
        .into_iter()
        .map(|record| (record.name.clone(), record))
        .collect();
    let mut imported = Vec::with_capacity(found.len());
    let (mut created, mut updated) = (Vec::new(), Vec::new());
    let before = known.len();
    for item in found {
        let name = item.name.clone();
        let was = known.remove(&name);
        let mut record = was.clone().unwrap_or_else(|| blank(name.clone()));
        item.apply(&mut record, SystemClock.now());
        if was.as_ref() != Some(&record) {
            if was.is_none() {
                record.id = EventTypeId::from_u128(change.next_id());
                check_count(before + created.len() + 1, "spec")?;
                created.push(name);
            } else {
                updated.push(name);
            }
            (record.created_at, record.updated_at) = change.put_event_type(access.id(), &record).await?;
        }
        imported.push(EventTypeView::from(record));
    }
    if !created.is_empty() || !updated.is_empty() {
        let detail = json!({"created": created, "updated": updated});
        change.audit(&access.entry("event_types.imported", access.id(), detail)).await?;
        change.commit().await?;
    }
    Ok(Reply::ok("Event types imported successfully", imported))
}

/// Export the catalogue: as the `webhooks` of an OpenAPI document, or as an AsyncAPI document.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/event-types/export",
    operation_id = "ExportEventTypes",
    tag = "EventTypes",
    params(("project_id" = String, Path, description = "The project's id"), ExportQuery),
    responses((status = 200, description = "The document itself, without an envelope", body = Object)),
)]
async fn export_event_types(
    access: InProject<ReadEventTypes>,
    State(control): State<Control>,
    Params(query): Params<ExportQuery>,
) -> Result<impl IntoResponse, Problem> {
    let records = control.store().event_types(access.id()).await?;
    let name = &access.project.project.name;
    let document: Value = match query.format.as_deref() {
        None | Some("" | "openapi") => export::openapi(name, &records),
        Some("asyncapi") => export::asyncapi(name, &records),
        Some(_) => return Err(Problem::invalid("format", "write `openapi` or `asyncapi`")),
    };
    Ok(Json(document))
}

/// An event type of which nothing is known but its name.
fn blank(name: String) -> EventTypeRecord {
    EventTypeRecord {
        id: EventTypeId::from_u128(0),
        name,
        category: String::new(),
        description: String::new(),
        json_schema: None,
        deprecated_at: None,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

/// The id in a path; what is none names nothing.
fn event_type_id(text: &str) -> Result<EventTypeId, Problem> {
    text.parse().map_err(|_| Problem::not_found("event type"))
}

async fn begin(
    access: &InProject<WriteEventTypes>,
    control: &Control,
    id: &str,
) -> Result<(Changing, EventTypeRecord), Problem> {
    let id = event_type_id(id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let known = change.event_types(access.id()).await?;
    let record = known.into_iter().find(|record| record.id == id);
    Ok((change, record.ok_or_else(|| Problem::not_found("event type"))?))
}

async fn write(
    access: &InProject<WriteEventTypes>,
    change: &mut Changing,
    record: &mut EventTypeRecord,
    action: &'static str,
) -> Result<(), Problem> {
    (record.created_at, record.updated_at) = change.put_event_type(access.id(), record).await?;
    let detail = json!({
        "name": record.name,
        "category": record.category,
        "has_schema": record.json_schema.is_some(),
        "deprecated_at": record.deprecated_at.map(|at| at.to_string()),
    });
    change.audit(&access.entry(action, record.id, detail)).await?;
    Ok(())
}

fn check_count(count: usize, field: &str) -> Result<(), Problem> {
    if count > TYPES_MOST {
        let problem = format!("the catalogue would have more than {TYPES_MOST} event types");
        return Err(Problem::invalid(field, problem));
    }
    Ok(())
}

/// A schema that is worth keeping: one that compiles and asks something.
///
/// # Errors
/// `400` names the field and what is wrong.
fn schema(field: &str, given: Value) -> Result<Option<Value>, Problem> {
    if given.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    Schema::compile(&given).map_err(|problem| Problem::invalid(field, problem))?;
    Ok(Some(given))
}
