//! Whether endpoints take deliveries, and how theirs went.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::response::IntoResponse;
use longshore_core::{Clock, EndpointStatus, SystemClock, Timestamp};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::view::{BreakerView, EndpointView, OutcomesView};
use super::{endpoint_id, found};
use crate::v1::access::{InProject, InSight, ReadEndpoints, Seeing, WriteEndpoints};
use crate::v1::audit_log::instant;
use crate::v1::control::Control;
use crate::v1::problem::Problem;
use crate::v1::reply::{Envelope, Reply};
use crate::v1::version::Shape;

/// What is looked at when the request does not say from when on.
const PERIOD: Duration = Duration::from_secs(7 * 86_400);
/// Endpoints in one request.
const MOST_ENDPOINTS: usize = 100;
/// Changes of a breaker in an answer.
const MOST_TRANSITIONS: u32 = 100;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(pause_endpoint))
        .routes(routes!(activate_endpoint))
        .routes(routes!(get_failure_rates))
        .routes(routes!(get_breaker))
}

/// Pause an endpoint, or go on with a paused one. Deliveries wait meanwhile.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/endpoints/{endpoint_id}/pause",
    operation_id = "PauseEndpoint",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    responses((status = 202, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn pause_endpoint(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    set_status(&access, &control, &id, |status| match status {
        EndpointStatus::Active => Ok(EndpointStatus::Paused),
        EndpointStatus::Paused => Ok(EndpointStatus::Active),
        EndpointStatus::Inactive => {
            Err(Problem::new(http::StatusCode::BAD_REQUEST, "this endpoint is inactive; activate it first"))
        }
    })
    .await
}

/// Activate an endpoint. Its circuit breaker begins anew.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/endpoints/{endpoint_id}/activate",
    operation_id = "ActivateEndpoint",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    responses((status = 202, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn activate_endpoint(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    set_status(&access, &control, &id, |_| Ok(EndpointStatus::Active)).await
}

async fn set_status(
    access: &InSight<WriteEndpoints>,
    control: &Control,
    id: &str,
    next: impl FnOnce(EndpointStatus) -> Result<EndpointStatus, Problem> + Send,
) -> Result<Reply<EndpointView>, Problem> {
    let id = endpoint_id(id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let stored = found(change.endpoint(&access.sight(), id).await?)?;
    let (project, before) = (stored.endpoint.project, stored.endpoint.status);
    let status = next(before)?;
    change.set_endpoint_status(project, id, status).await?;
    let detail = json!({"from": before, "to": status});
    change.audit(&access.entry("endpoint.status_changed", id, detail)).await?;
    let stored = found(change.endpoint(&access.sight(), id).await?)?;
    change.commit().await?;
    let reply = Reply::accepted("endpoint status successfully updated", EndpointView::of(&stored));
    Ok(reply.tagged(stored.updated_at).shaped(Shape::Endpoint))
}

/// How the deliveries of endpoints went that were made in a span of time. Endpoints without one are left out.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/endpoints/period-failure-rates",
    operation_id = "GetEndpointPeriodFailureRates",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpointId" = Option<Vec<String>>, Query, description = "These endpoints, at most 100; all when left out"),
        ("startDate" = Option<String>, Query, description = "From then on; a week ago when left out"),
        ("endDate" = Option<String>, Query, description = "Until then; now when left out"),
    ),
    responses((status = 200, description = "How they went", body = Envelope<Vec<OutcomesView>>)),
)]
async fn get_failure_rates(
    access: InProject<ReadEndpoints>,
    State(control): State<Control>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Problem> {
    let (mut ids, mut from, mut until) = (HashSet::new(), None, None);
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            _ if value.is_empty() => {}
            "endpointId" | "endpoint_id" | "endpointId[]" => {
                for text in value.split(',') {
                    let id = text.trim().parse();
                    ids.insert(id.map_err(|_| Problem::invalid("endpointId", "is no id of an endpoint"))?);
                }
            }
            "startDate" => from = instant("startDate", Some(value.into_owned()))?,
            "endDate" => until = instant("endDate", Some(value.into_owned()))?,
            _ => {}
        }
    }
    if ids.len() > MOST_ENDPOINTS {
        return Err(Problem::invalid("endpointId", format!("name at most {MOST_ENDPOINTS} endpoints")));
    }
    let until: Timestamp = until.unwrap_or_else(|| SystemClock.now());
    let from = from.unwrap_or_else(|| until.before(PERIOD));
    if from > until {
        return Err(Problem::invalid("startDate", "must not be after `endDate`"));
    }
    let ids: Vec<_> = ids.into_iter().collect();
    let outcomes = control.store().endpoint_outcomes(access.id(), &ids, from..until).await?;
    let views: Vec<_> = outcomes.iter().map(OutcomesView::of).collect();
    Ok(Reply::ok("Endpoint failure rates fetched successfully", views))
}

/// Get the circuit breaker of an endpoint, and what it went through.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/endpoints/{endpoint_id}/breaker",
    operation_id = "GetEndpointBreaker",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    responses((status = 200, description = "The breaker", body = Envelope<BreakerView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_breaker(
    access: InSight<ReadEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = endpoint_id(&id)?;
    let stored = found(control.store().endpoint(&access.sight(), id).await?)?;
    let history = control.store().breaker_history(stored.endpoint.project, id, MOST_TRANSITIONS).await?;
    Ok(Reply::ok("Circuit breaker fetched successfully", BreakerView::of(stored.breaker, &history)))
}
