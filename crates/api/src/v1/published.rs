//! The document as this installation serves it, and the page that shows it to people.
//!
//! Both are made once, when the routes are. They are public: what they say is no secret.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::control::Control;
use super::reference;

/// Nothing but our own style sheet: no script, no picture, no frame, no form.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const STYLE: &str = include_str!("reference/style.css");

/// What is served.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    json: Bytes,
    html: Bytes,
}

impl Published {
    pub(crate) fn of(document: &OpenApi) -> Self {
        let value = serde_json::to_value(document).unwrap_or(Value::Null);
        Self { json: value.to_string().into(), html: reference::page(&value).into() }
    }
}

/// The document's route.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_document))
}

/// The page's routes.
pub(crate) fn pages() -> axum::Router<Control> {
    axum::Router::new().route("/docs", get(page)).route("/docs/style.css", get(style))
}

/// Get this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "GetOpenApi",
    tag = "Documentation",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1, of what this installation serves", body = Object)),
)]
async fn get_document(State(control): State<Control>) -> Response {
    let json = control.published().map(|published| published.json.clone()).unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

async fn page(State(control): State<Control>) -> Response {
    let html = control.published().map(|published| published.html.clone()).unwrap_or_default();
    guarded("text/html; charset=utf-8", html)
}

async fn style() -> Response {
    guarded("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes()))
}

fn guarded(content_type: &'static str, body: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}
