//! Deliveries: listed, shown, tried again.
//!
//! Invariants: a delivery is named together with its project; what is tried again keeps its id and the attempts that were
//! made; many are tried again in the background ([`work`]), and that can be watched.

mod query;
mod view;
mod work;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use longshore_core::delivery::DeliveryState;
use longshore_core::{DeliveryId, OperationId};
use longshore_store::control::DeliveryRecord;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::query::{DeliveriesQuery, IdsBody};
use self::view::{DeliveryView, RetriesView};
use super::access::{InProject, InSight, ReadDeliveries, Seeing, WriteDeliveries};
use super::body::JsonBody;
use super::control::Control;
use super::filters::Pairs;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Done, Envelope, Paged, Reply};

pub use work::advance_retries;

/// What may be tried again without being forced.
const UNSUCCESSFUL: [DeliveryState; 4] =
    [DeliveryState::Failure, DeliveryState::Discarded, DeliveryState::Scheduled, DeliveryState::Retry];
/// What may be tried again at all.
const ANY: [DeliveryState; 5] = [
    DeliveryState::Failure,
    DeliveryState::Discarded,
    DeliveryState::Scheduled,
    DeliveryState::Retry,
    DeliveryState::Success,
];

/// The routes of deliveries.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_deliveries))
        .routes(routes!(get_delivery))
        .routes(routes!(resend_delivery))
        .routes(routes!(force_resend))
        .routes(routes!(retry_deliveries))
        .routes(routes!(get_retries))
}

fn not_found() -> Problem {
    Problem::not_found("event delivery")
}

async fn found(control: &Control, access: &impl Seeing, id: &str) -> Result<DeliveryRecord, Problem> {
    let id: DeliveryId = id.parse().map_err(|_| not_found())?;
    control.store().delivery(&access.sight(), id).await?.ok_or_else(not_found)
}

/// List deliveries, newest first.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/eventdeliveries",
    operation_id = "GetEventDeliveriesPaged",
    tag = "Event Deliveries",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, DeliveriesQuery),
    responses((status = 200, description = "A page of deliveries", body = Envelope<Paged<DeliveryView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn list_deliveries(
    access: InSight<ReadDeliveries>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let (request, filter) = (page.parse()?, query::filter(&Pairs(pairs))?);
    let found = control.store().deliveries_page(&access.sight(), &filter, &request).await?;
    let Paged { content, pagination } = Paged::new(found, request.limit, |item| item.id.to_string());
    let schedule = access.retry_schedule();
    let content: Vec<DeliveryView> =
        content.into_iter().map(|record| DeliveryView::new(record, schedule)).collect();
    Ok(Reply::ok("Event deliveries fetched successfully", Paged { content, pagination }))
}

/// Get a delivery.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/eventdeliveries/{event_delivery_id}",
    operation_id = "GetEventDelivery",
    tag = "Event Deliveries",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_delivery_id" = String, Path, description = "The delivery's id"),
    ),
    responses((status = 200, description = "The delivery", body = Envelope<DeliveryView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_delivery(
    access: InSight<ReadDeliveries>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let record = found(&control, &access, &id).await?;
    let view = DeliveryView::new(record, access.retry_schedule());
    Ok(Reply::ok("Event delivery fetched successfully", view))
}

/// Why a delivery cannot be tried again.
fn refusal(record: &DeliveryRecord) -> String {
    let problem = match (record.state, &record.endpoint_brief) {
        (DeliveryState::Success, _) => "it was delivered; `forceresend` sends it again all the same",
        (DeliveryState::Processing, _) => "it is on its way",
        (_, None) => "its endpoint is gone",
        (_, Some(endpoint)) if endpoint.status == "inactive" => "its endpoint is inactive: activate it first",
        _ if record.event_type.is_none() => "its event is kept no longer",
        _ => "it waits for its turn in order",
    };
    format!("the delivery cannot be resent: {problem}")
}

/// Resend a delivery that failed, was discarded or waits.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/eventdeliveries/{event_delivery_id}/resend",
    operation_id = "ResendEventDelivery",
    tag = "Event Deliveries",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_delivery_id" = String, Path, description = "The delivery's id"),
    ),
    responses((status = 200, description = "The delivery", body = Envelope<DeliveryView>)),
)]
async fn resend_delivery(
    access: InProject<WriteDeliveries>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let record = found(&control, &access, &id).await?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if change.deliver_again(access.id(), &[record.id], &UNSUCCESSFUL).await?.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, refusal(&record)));
    }
    let detail = json!({"was": record.state.as_str()});
    change.audit(&access.entry("eventdelivery.resent", record.id, detail)).await?;
    change.commit().await?;
    let record = found(&control, &access, &id).await?;
    let view = DeliveryView::new(record, &access.project.project.settings.retry);
    Ok(Reply::ok("App event processed for retry successfully", view))
}

/// Resend deliveries whatever became of them, those that were delivered too.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/eventdeliveries/forceresend",
    operation_id = "ForceResendEventDeliveries",
    tag = "Event Deliveries",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = IdsBody,
    responses((status = 200, description = "The message says how many", body = Done)),
)]
async fn force_resend(
    access: InProject<WriteDeliveries>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<IdsBody>,
) -> Result<impl IntoResponse, Problem> {
    let (ids, wrong) = body.parse()?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let successful = change.deliver_again(access.id(), &ids, &ANY).await?.len();
    let failed = wrong + u64::try_from(ids.len().saturating_sub(successful)).unwrap_or(0);
    let detail = json!({"successful": successful, "failed": failed});
    change.audit(&access.entry("eventdelivery.force_resent", "", detail)).await?;
    change.commit().await?;
    Ok(Reply::ok(format!("{successful} successful, {failed} failed"), None::<()>))
}

/// Retry the deliveries that fit, in the background: those that failed or were discarded, unless `status` says otherwise.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/eventdeliveries/batchretry",
    operation_id = "BatchRetryEventDelivery",
    tag = "Event Deliveries",
    params(("project_id" = String, Path, description = "The project's id"), DeliveriesQuery),
    responses((status = 200, description = "What was begun", body = Envelope<RetriesView>)),
)]
async fn retry_deliveries(
    access: InProject<WriteDeliveries>,
    State(control): State<Control>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<impl IntoResponse, Problem> {
    let mut filter = query::filter(&Pairs(pairs))?;
    if filter.states.is_empty() {
        let states = [DeliveryState::Failure, DeliveryState::Discarded];
        filter.states = states.map(|state| state.as_str().to_owned()).to_vec();
    }
    if filter.states.iter().any(|state| state == DeliveryState::Processing.as_str()) {
        return Err(Problem::invalid("status", "what is `Processing` is on its way; leave it out"));
    }
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let id = change.ask_retries(access.id(), &filter).await?;
    let detail = json!({"statuses": filter.states});
    change.audit(&access.entry("eventdelivery.batch_retry_begun", id, detail)).await?;
    change.commit().await?;
    let retries = control.store().retries(access.id(), id).await?;
    let retries = retries.ok_or_else(|| Problem::not_found("operation"))?;
    Ok(Reply::ok("Batch retry processing", RetriesView::from(retries)))
}

/// How a batch of retries stands.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/eventdeliveries/operations/{operation_id}",
    operation_id = "GetEventDeliveryOperation",
    tag = "Event Deliveries",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("operation_id" = String, Path, description = "The operation's id, of the answer to `batchretry`"),
    ),
    responses((status = 200, description = "How it stands", body = Envelope<RetriesView>)),
)]
async fn get_retries(
    access: InProject<ReadDeliveries>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id: OperationId = id.parse().map_err(|_| Problem::not_found("operation"))?;
    let found = control.store().retries(access.id(), id).await?;
    let retries = found.ok_or_else(|| Problem::not_found("operation"))?;
    Ok(Reply::ok("Operation fetched successfully", RetriesView::from(retries)))
}
