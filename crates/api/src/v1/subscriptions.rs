//! Subscriptions: which events of a project go to which endpoint.
//!
//! Invariant: what is written was parsed as matching parses it, so that no stored filter or schedule is ever refused later.

mod body;
mod change;
mod filter_body;
mod filters;
mod trial;
mod view;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::{EndpointId, SubscriptionId, Timestamp};
use longshore_store::control::{Changing, ListedSubscription, SubscriptionFilter, SubscriptionRecord};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::SubscriptionBody;
use self::view::SubscriptionView;
use super::access::{InProject, InSight, ReadSubscriptions, Seeing, WriteSubscriptions};
use super::body::JsonBody;
use super::control::Control;
use super::etag::IfMatch;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Done, Envelope, Paged, Reply};

/// The routes of subscriptions and their filters.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(get_subscriptions, create_subscription))
        .routes(routes!(get_subscription, update_subscription, delete_subscription))
        .routes(routes!(toggle_subscription_status))
        .merge(trial::routes())
        .merge(filters::routes())
}

/// Which subscriptions a list shows.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the query is read as pairs, since a name may be there several times")]
struct SubscriptionQuery {
    /// Of these endpoints: given several times, or with commas.
    #[param(rename = "endpointId")]
    endpoint_id: Option<Vec<String>>,
    /// With this in their name, whatever its case.
    name: Option<String>,
}

impl SubscriptionQuery {
    fn parse(pairs: &[(String, String)]) -> Result<SubscriptionFilter, Problem> {
        let mut filter = SubscriptionFilter::default();
        for (name, value) in pairs {
            match name.as_str() {
                "endpointId" | "endpointId[]" => {
                    for text in value.split(',').filter(|text| !text.is_empty()) {
                        let id: Result<EndpointId, _> = text.parse();
                        filter
                            .endpoints
                            .push(id.map_err(|_| Problem::invalid("endpointId", "is no id of an endpoint"))?);
                    }
                }
                "name" => filter.name = Some(value.clone()).filter(|text| !text.is_empty()),
                _ => {}
            }
        }
        Ok(filter)
    }
}

/// The id in a path; what is none names nothing.
fn subscription_id(text: &str) -> Result<SubscriptionId, Problem> {
    text.parse().map_err(|_| Problem::not_found("subscription"))
}

/// List subscriptions.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/subscriptions",
    operation_id = "GetSubscriptions",
    tag = "Subscriptions",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, SubscriptionQuery),
    responses((status = 200, description = "A page of subscriptions", body = Envelope<Paged<SubscriptionView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_subscriptions(
    access: InSight<ReadSubscriptions>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let request = page.parse()?;
    let filter = SubscriptionQuery::parse(&query)?;
    let found = control.store().subscriptions_page(&access.sight(), &filter, &request).await?;
    let views = found.map(|listed| SubscriptionView::of(&access.project_uid(), shown_to(&access, listed)));
    let paged = Paged::new(views, request.limit, |view| view.uid.clone());
    Ok(Reply::ok("Subscriptions fetched successfully", paged))
}

/// Create a subscription.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/subscriptions",
    operation_id = "CreateSubscription",
    tag = "Subscriptions",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = SubscriptionBody,
    responses((status = 201, description = "The subscription", body = Envelope<SubscriptionView>)),
)]
async fn create_subscription(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<SubscriptionBody>,
) -> Result<impl IntoResponse, Problem> {
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let blank = body::blank(SubscriptionId::from_u128(change.next_id()));
    let record = body.over(blank, &mut change, true)?;
    check_references(&access, &mut change, &record, None).await?;
    change.put_subscription(access.id(), &record).await?;
    change.audit(&access.entry("subscription.created", record.id, told(&record))).await?;
    let stored = found(&access, &mut change, record.id).await?;
    change.commit().await?;
    Ok(replied(&access, stored, Reply::created, "Subscription created successfully"))
}

/// Get a subscription.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/subscriptions/{subscription_id}",
    operation_id = "GetSubscription",
    tag = "Subscriptions",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    responses((status = 200, description = "The subscription", body = Envelope<SubscriptionView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_subscription(
    access: InSight<ReadSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let stored = shown_to(&access, read(&access, &control, &id).await?);
    Ok(replied(&access, stored, Reply::ok, "Subscription fetched successfully"))
}

/// Update a subscription: what is left out stays as it is.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/subscriptions/{subscription_id}",
    operation_id = "UpdateSubscription",
    tag = "Subscriptions",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    request_body = SubscriptionBody,
    responses((status = 202, description = "The subscription", body = Envelope<SubscriptionView>)),
)]
async fn update_subscription(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    if_match: IfMatch,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<SubscriptionBody>,
) -> Result<impl IntoResponse, Problem> {
    let id = subscription_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let before = found(&access, &mut change, id).await?.record;
    if_match.check(before.updated_at)?;
    let record = body.over(before.clone(), &mut change, false)?;
    check_references(&access, &mut change, &record, Some(&before)).await?;
    change.put_subscription(access.id(), &record).await?;
    change.audit(&access.entry("subscription.updated", id, told(&record))).await?;
    let stored = found(&access, &mut change, id).await?;
    change.commit().await?;
    Ok(replied(&access, stored, Reply::accepted, "Subscription updated successfully"))
}

/// Delete a subscription. Deliveries that it made go on.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/subscriptions/{subscription_id}",
    operation_id = "DeleteSubscription",
    tag = "Subscriptions",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    responses((status = 200, description = "It is gone", body = Done)),
)]
async fn delete_subscription(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = subscription_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if !change.delete_subscription(access.id(), id).await? {
        return Err(Problem::not_found("subscription"));
    }
    change.audit(&access.entry("subscription.deleted", id, json!({}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Subscription deleted successfully", None::<()>))
}

/// Toggle a subscription's status. It has none, in the contract neither: nothing changes. Pause the endpoint instead.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/subscriptions/{subscription_id}/toggle_status",
    operation_id = "ToggleSubscriptionStatus",
    tag = "Subscriptions",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("subscription_id" = String, Path, description = "The subscription's id"),
    ),
    responses((status = 202, description = "Nothing changed", body = Done)),
)]
async fn toggle_subscription_status(
    access: InProject<WriteSubscriptions>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    read(&access, &control, &id).await?;
    Ok(Reply::accepted("Subscription status updated successfully", None::<()>))
}

/// A portal link's holder is not shown where events come in.
fn shown_to<P>(access: &InSight<P>, stored: ListedSubscription) -> ListedSubscription {
    match access.portal() {
        None => stored,
        Some(_) => ListedSubscription { source: None, ..stored },
    }
}

fn replied(
    access: &impl Seeing,
    stored: ListedSubscription,
    reply: impl FnOnce(&'static str, SubscriptionView) -> Reply<SubscriptionView>,
    message: &'static str,
) -> Reply<SubscriptionView> {
    let updated_at: Timestamp = stored.record.updated_at;
    reply(message, SubscriptionView::of(&access.project_uid(), stored)).tagged(updated_at)
}

/// What the audit log is told of a subscription.
fn told(record: &SubscriptionRecord) -> Value {
    json!({
        "name": record.name,
        "endpoint_id": record.endpoint,
        "source_id": record.source,
        "event_types": record.event_types,
        "filters": record.filters.len(),
        "retry": record.retry,
        "ordered": record.ordered,
    })
}

async fn read(access: &impl Seeing, control: &Control, id: &str) -> Result<ListedSubscription, Problem> {
    let found = control.store().subscription(&access.sight(), subscription_id(id)?).await?;
    found.ok_or_else(|| Problem::not_found("subscription"))
}

async fn found<P>(
    access: &InProject<P>,
    change: &mut Changing,
    id: SubscriptionId,
) -> Result<ListedSubscription, Problem> {
    change.subscription(access.id(), id).await?.ok_or_else(|| Problem::not_found("subscription"))
}

/// Whether what a subscription names is there, as far as it is new.
async fn check_references<P>(
    access: &InProject<P>,
    change: &mut Changing,
    record: &SubscriptionRecord,
    before: Option<&SubscriptionRecord>,
) -> Result<(), Problem> {
    let is_new_endpoint = before.is_none_or(|before| before.endpoint != record.endpoint);
    if is_new_endpoint && !change.has_endpoint(access.id(), record.endpoint).await? {
        return Err(Problem::invalid("endpoint_id", "endpoint not found: the project has none with this id"));
    }
    if let Some(source) = record.source
        && before.is_none_or(|before| before.source != record.source)
        && !change.has_source(access.id(), source).await?
    {
        return Err(Problem::invalid("source_id", "source not found: the project has none with this id"));
    }
    if before.is_none() && record.source.is_none() && access.project.kind == "incoming" {
        return Err(Problem::invalid(
            "source_id",
            "is required in a project that receives webhooks: the source whose events go to the endpoint",
        ));
    }
    Ok(())
}
