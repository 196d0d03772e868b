//! Filters under subscriptions: one per event type.
//!
//! Invariants: an event type has one filter in a subscription; a change of several filters is made whole or not at all.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::{FilterId, SubscriptionId, TypePattern};
use longshore_store::control::{Changing, FilterRecord, SubscriptionRecord};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::new_filter;
use super::change;
use super::filter_body::{BulkFilterBody, FILTERS_MOST, FilterBody, NewFilterBody, member};
use super::view::FilterView;
use super::{found, read, subscription_id};
use crate::v1::access::{InProject, InSight, ReadSubscriptions, WriteSubscriptions};
use crate::v1::body::JsonBody;
use crate::v1::control::Control;
use crate::v1::etag::IfMatch;
use crate::v1::problem::Problem;
use crate::v1::reply::{Done, Envelope, Reply};

/// The routes of filters.
pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(get_filters, create_filter))
        .routes(routes!(bulk_create_filters))
        .routes(routes!(bulk_update_filters, bulk_update_filters_by_post))
        .routes(routes!(get_filter, update_filter, delete_filter))
}

/// List the filters of a subscription.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters",
    operation_id = "GetFilters",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    responses((status = 200, description = "The filters, oldest first", body = Envelope<Vec<FilterView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_filters(
    access: InSight<ReadSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let record = read(&access, &control, &id).await?.record;
    let views: Vec<FilterView> = record.filters.iter().map(|it| FilterView::of(record.id, it)).collect();
    Ok(Reply::ok("Filters retrieved successfully", views))
}

/// Create a filter.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters",
    operation_id = "CreateFilter",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    request_body = NewFilterBody,
    responses((status = 201, description = "The filter", body = Envelope<FilterView>)),
)]
async fn create_filter(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<NewFilterBody>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &id).await?;
    let filter = add(&change, &mut record, body, "")?;
    write(&access, &mut change, &record, "filter.created", std::slice::from_ref(&filter)).await?;
    change.commit().await?;
    let view = FilterView::of(record.id, &filter);
    Ok(Reply::created("Filter created successfully", view).tagged(filter.updated_at))
}

/// Create several filters: all of them or none.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/bulk",
    operation_id = "BulkCreateFilters",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    request_body = Vec<NewFilterBody>,
    responses((status = 201, description = "The filters, in the order given", body = Envelope<Vec<FilterView>>)),
)]
async fn bulk_create_filters(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(bodies): JsonBody<Vec<NewFilterBody>>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &id).await?;
    let mut made = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.into_iter().enumerate() {
        made.push(add(&change, &mut record, body, &format!("[{at}]"))?);
    }
    write(&access, &mut change, &record, "filter.created", &made).await?;
    change.commit().await?;
    let views: Vec<FilterView> = made.iter().map(|filter| FilterView::of(record.id, filter)).collect();
    Ok(Reply::created("Filters created successfully", views))
}

/// Update several filters: all of them or none.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/bulk_update",
    operation_id = "BulkUpdateFilters",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    request_body = Vec<BulkFilterBody>,
    responses((status = 200, description = "The filters, in the order given", body = Envelope<Vec<FilterView>>)),
)]
async fn bulk_update_filters(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(bodies): JsonBody<Vec<BulkFilterBody>>,
) -> Result<impl IntoResponse, Problem> {
    bulk_update(&access, &control, &id, bodies).await
}

/// Update several filters: the same as by `PUT`.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/bulk_update",
    operation_id = "BulkUpdateFiltersByPost",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    request_body = Vec<BulkFilterBody>,
    responses((status = 200, description = "The filters, in the order given", body = Envelope<Vec<FilterView>>)),
)]
async fn bulk_update_filters_by_post(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(bodies): JsonBody<Vec<BulkFilterBody>>,
) -> Result<impl IntoResponse, Problem> {
    bulk_update(&access, &control, &id, bodies).await
}

async fn bulk_update(
    access: &InProject<WriteSubscriptions>,
    control: &Control,
    id: &str,
    bodies: Vec<BulkFilterBody>,
) -> Result<Reply<Vec<FilterView>>, Problem> {
    let (mut change, mut record) = begin(access, control, id).await?;
    let mut ids = Vec::with_capacity(bodies.len());
    for (at, body) in bodies.into_iter().enumerate() {
        let field = format!("[{at}]");
        let (id, body) = body.split(&field)?;
        let filter = record.filters.iter_mut().find(|filter| filter.id == id);
        let filter = filter.ok_or_else(|| Problem::not_found(&format!("`{field}.uid`: filter")))?;
        body.apply(&field, filter, change::now())?;
        ids.push(id);
    }
    // Looked at once all are changed: two may swap their event types.
    check_unique(&record.filters)?;
    let changed: Vec<FilterRecord> =
        ids.iter().filter_map(|id| record.filters.iter().find(|it| it.id == *id)).cloned().collect();
    write(access, &mut change, &record, "filter.updated", &changed).await?;
    change.commit().await?;
    let views = changed.iter().map(|filter| FilterView::of(record.id, filter)).collect();
    Ok(Reply::ok("Filters updated successfully", views))
}

/// Get a filter.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/{filter_id}",
    operation_id = "GetFilter",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
        ("filter_id" = String, Path, description = "The filter's id"),
    ),
    responses((status = 200, description = "The filter", body = Envelope<FilterView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_filter(
    access: InSight<ReadSubscriptions>,
    State(control): State<Control>,
    Path((_, subscription, id)): Path<(String, String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let record = read(&access, &control, &subscription).await?.record;
    let filter = &record.filters[place(&record, &id)?];
    let view = FilterView::of(record.id, filter);
    Ok(Reply::ok("Filter retrieved successfully", view).tagged(filter.updated_at))
}

/// Update a filter: what is left out stays as it is.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/{filter_id}",
    operation_id = "UpdateFilter",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
        ("filter_id" = String, Path, description = "The filter's id"),
    ),
    request_body = FilterBody,
    responses((status = 200, description = "The filter", body = Envelope<FilterView>)),
)]
async fn update_filter(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    if_match: IfMatch,
    Path((_, subscription, id)): Path<(String, String, String)>,
    JsonBody(body): JsonBody<FilterBody>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &subscription).await?;
    let at = place(&record, &id)?;
    if_match.check(record.filters[at].updated_at)?;
    body.apply("", &mut record.filters[at], change::now())?;
    check_unique(&record.filters)?;
    let filter = record.filters[at].clone();
    write(&access, &mut change, &record, "filter.updated", std::slice::from_ref(&filter)).await?;
    change.commit().await?;
    let view = FilterView::of(record.id, &filter);
    Ok(Reply::ok("Filter updated successfully", view).tagged(filter.updated_at))
}

/// Delete a filter.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/filters/{filter_id}",
    operation_id = "DeleteFilter",
    tag = "Filters",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
        ("filter_id" = String, Path, description = "The filter's id"),
    ),
    responses((status = 200, description = "It is gone", body = Done)),
)]
async fn delete_filter(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, subscription, id)): Path<(String, String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let (mut change, mut record) = begin(&access, &control, &subscription).await?;
    let filter = record.filters.remove(place(&record, &id)?);
    write(&access, &mut change, &record, "filter.deleted", &[filter]).await?;
    change.commit().await?;
    Ok(Reply::ok("Filter deleted successfully", None::<()>))
}

/// Begins a change of a subscription's filters.
async fn begin(
    access: &InProject<WriteSubscriptions>,
    control: &Control,
    id: &str,
) -> Result<(Changing, SubscriptionRecord), Problem> {
    let id = subscription_id(id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let record = found(access, &mut change, id).await?.record;
    Ok((change, record))
}

/// Writes the subscription, with a line of the audit log for each filter.
async fn write(
    access: &InProject<WriteSubscriptions>,
    change: &mut Changing,
    record: &SubscriptionRecord,
    action: &'static str,
    filters: &[FilterRecord],
) -> Result<(), Problem> {
    change.put_subscription(access.id(), record).await?;
    for filter in filters {
        change.audit(&access.entry(action, filter.id, told(record.id, filter))).await?;
    }
    Ok(())
}

/// What the audit log is told of a filter.
fn told(subscription: SubscriptionId, filter: &FilterRecord) -> Value {
    json!({
        "subscription_id": subscription,
        "event_type": filter.event_type,
        "is_enabled": filter.enabled_at.is_some(),
    })
}

/// Where in a subscription a filter is.
fn place(record: &SubscriptionRecord, id: &str) -> Result<usize, Problem> {
    let id = id.parse::<FilterId>().ok();
    let place = record.filters.iter().position(|filter| Some(filter.id) == id);
    place.ok_or_else(|| Problem::not_found("filter"))
}

/// Adds a filter to a subscription.
fn add(
    change: &Changing,
    record: &mut SubscriptionRecord,
    body: NewFilterBody,
    field: &str,
) -> Result<FilterRecord, Problem> {
    if record.filters.len() >= FILTERS_MOST {
        let problem = format!("the subscription has {FILTERS_MOST} filters already, the most it may have");
        return Err(Problem::invalid(&member(field, "event_type"), problem));
    }
    let mut filter = new_filter(change, TypePattern::Any);
    body.apply(field, &mut filter, change::now())?;
    if record.filters.iter().any(|other| other.event_type == filter.event_type) {
        return Err(taken(&member(field, "event_type"), &filter.event_type));
    }
    record.filters.push(filter.clone());
    Ok(filter)
}

fn check_unique(filters: &[FilterRecord]) -> Result<(), Problem> {
    let mut seen = std::collections::HashSet::new();
    match filters.iter().find(|filter| !seen.insert(&filter.event_type)) {
        Some(twice) => Err(taken("event_type", &twice.event_type)),
        None => Ok(()),
    }
}

fn taken(field: &str, event_type: &TypePattern) -> Problem {
    Problem::conflict(format!(
        "`{field}`: the subscription has a filter for `{event_type}` already; update that one"
    ))
}
