//! The attempts of a delivery.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::StatusCode;
use longshore_core::event::Headers;
use longshore_core::{AttemptId, DeliveryId};
use longshore_store::control::AttemptRecord;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{InSight, ReadDeliveries, Seeing};
use super::control::Control;
use super::problem::Problem;
use super::reply::{Envelope, Reply};
use super::version;

/// Attempts that a list has: the last ones.
const MOST: u32 = 10;

/// An attempt to deliver.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptView {
    /// Its id.
    uid: String,
    /// The delivery's id.
    msg_id: String,
    /// The project.
    project_id: String,
    /// The endpoint.
    endpoint_id: String,
    /// Where it went.
    url: String,
    /// `POST`
    method: &'static str,
    /// 1 for the first one.
    number: u16,
    /// The address that answered: the receiver's, or that of the proxy in between; absent when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    /// The version of the API that this is written in.
    api_version: &'static str,
    /// What was sent, by name.
    request_http_header: BTreeMap<String, String>,
    /// What came back, by name.
    response_http_header: BTreeMap<String, String>,
    /// The status, `200 OK`; absent when nothing was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<String>,
    /// The beginning of what came back.
    response_data: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The outcome's class: `success`, `client_error`, `timeout`, …
    outcome: String,
    /// Whether it succeeded.
    status: bool,
    /// When it began.
    requested_at: String,
    /// When it ended.
    responded_at: String,
    /// How long it took, in seconds.
    latency_seconds: f64,
    /// When the next one is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    /// When it began.
    created_at: String,
    /// When it ended.
    updated_at: String,
}

/// Header values by name; those of a name that is repeated are joined, as HTTP says.
fn by_name(headers: &Headers) -> BTreeMap<String, String> {
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in headers.iter() {
        let joined = by_name.entry(name.to_owned()).or_default();
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(value);
    }
    by_name
}

impl AttemptView {
    fn new(project: String, record: &AttemptRecord) -> Self {
        let duration = Duration::from_micros(u64::from(record.duration_us));
        let ended_at = record.started_at.after(duration).to_string();
        let status = record.http_status.map(|status| {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
        });
        Self {
            uid: record.id.to_string(),
            msg_id: record.delivery.to_string(),
            project_id: project,
            endpoint_id: record.endpoint.to_string(),
            url: record.url.clone(),
            method: "POST",
            number: record.number,
            ip_address: record.remote_address.clone(),
            api_version: version::NEWEST,
            request_http_header: by_name(&record.request_headers),
            response_http_header: by_name(&record.response_headers),
            http_status: status,
            response_data: String::from_utf8_lossy(&record.response_body).into_owned(),
            error: Some(record.error.clone()).filter(|text| !text.is_empty()),
            status: record.outcome == "success",
            outcome: record.outcome.clone(),
            requested_at: record.started_at.to_string(),
            responded_at: ended_at.clone(),
            latency_seconds: duration.as_secs_f64(),
            next_attempt_at: record.next_attempt_at.map(|at| at.to_string()),
            created_at: record.started_at.to_string(),
            updated_at: ended_at,
        }
    }
}

/// The routes of attempts.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(list_attempts)).routes(routes!(get_attempt))
}

/// The delivery, where the request sees it.
async fn delivery(control: &Control, access: &impl Seeing, id: &str) -> Result<DeliveryId, Problem> {
    let not_found = || Problem::not_found("event delivery");
    let id: DeliveryId = id.parse().map_err(|_| not_found())?;
    let found = control.store().delivery(&access.sight(), id).await?;
    found.map(|found| found.id).ok_or_else(not_found)
}

/// List the last ten attempts of a delivery, oldest first.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/eventdeliveries/{event_delivery_id}/deliveryattempts",
    operation_id = "GetDeliveryAttempts",
    tag = "Delivery Attempts",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_delivery_id" = String, Path, description = "The delivery's id"),
    ),
    responses((status = 200, description = "The attempts", body = Envelope<Vec<AttemptView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn list_attempts(
    access: InSight<ReadDeliveries>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = delivery(&control, &access, &id).await?;
    let found = control.store().attempts(&access.sight(), id, None, MOST).await?;
    let views: Vec<AttemptView> =
        found.iter().map(|record| AttemptView::new(access.project_uid(), record)).collect();
    Ok(Reply::ok("App event delivery attempts fetched successfully", views))
}

/// Get an attempt.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/eventdeliveries/{event_delivery_id}/deliveryattempts/{delivery_attempt_id}",
    operation_id = "GetDeliveryAttempt",
    tag = "Delivery Attempts",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("event_delivery_id" = String, Path, description = "The delivery's id"),
        ("delivery_attempt_id" = String, Path, description = "The attempt's id"),
    ),
    responses((status = 200, description = "The attempt", body = Envelope<AttemptView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_attempt(
    access: InSight<ReadDeliveries>,
    State(control): State<Control>,
    Path((_, id, attempt)): Path<(String, String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = delivery(&control, &access, &id).await?;
    let not_found = || Problem::not_found("delivery attempt");
    let attempt: AttemptId = attempt.parse().map_err(|_| not_found())?;
    let found = control.store().attempts(&access.sight(), id, Some(attempt), 1).await?;
    let record = found.first().ok_or_else(not_found)?;
    Ok(Reply::ok(
        "App event delivery attempt fetched successfully",
        AttemptView::new(access.project_uid(), record),
    ))
}
