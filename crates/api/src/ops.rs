//! The operational routes: `/healthz`, `/readyz`, `/metrics`.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::health::Health;

/// The text format of Prometheus, version 0.0.4.
const PROMETHEUS_TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// `/healthz` and `/readyz`, for whatever else listens.
pub fn probe_router(health: Health) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(health)
}

/// Everything operational: the probes and `/metrics`.
pub fn ops_router(health: Health, metrics: PrometheusHandle) -> Router {
    let metrics = Router::new().route("/metrics", get(render)).with_state(metrics);
    probe_router(health).merge(metrics)
}

async fn healthz(State(health): State<Health>) -> Response {
    if health.is_alive() {
        (StatusCode::OK, Json(json!({"alive": true}))).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"alive": false}))).into_response()
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let reasons = health.unready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": reasons.is_empty(), "reasons": reasons}))).into_response()
}

async fn render(State(metrics): State<PrometheusHandle>) -> Response {
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], metrics.render()).into_response()
}
