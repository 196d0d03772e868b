//! What all requests have in common: an id, a version, an answer in its shape.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue};
use longshore_core::{Clock, EventId, IdGenerator, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::sync::LazyLock;

use super::control::Control;
use super::version::{Shape, VersionSlot, downgrade};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-convoy-version");
/// The longest id of a request that we take over.
const LONGEST_ID: usize = 128;

/// The id of a request: the caller's own, or one of ours.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives every request its id, and every answer the id and the version.
pub(crate) async fn frame(State(control): State<Control>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers().get(&REQUEST_ID));
    let slot = VersionSlot::default();
    request.extensions_mut().insert(RequestId(id.clone()));
    request.extensions_mut().insert(slot.clone());
    let mut response = next.run(request).await;
    let version = slot.get();
    if let Some(shape) = response.extensions().get::<Shape>().copied().filter(|_| version.is_older()) {
        response = reshape(response, |data| downgrade(shape, version, data)).await;
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    // The contract's servers tell the installation's version here, not the request's.
    headers.insert(VERSION, HeaderValue::from_static(control.default_version().as_str()));
    response
}

fn request_id(given: Option<&HeaderValue>) -> String {
    static IDS: LazyLock<IdGenerator> =
        LazyLock::new(|| IdGenerator::new(SystemClock.now(), StdRng::from_os_rng()));
    let given =
        given.and_then(|value| value.to_str().ok()).filter(|text| (1..=LONGEST_ID).contains(&text.len()));
    match given {
        Some(text) => text.to_owned(),
        None => EventId::from_u128(IDS.next(SystemClock.now())).to_string(),
    }
}

/// Changes the `data` of an answer.
async fn reshape(response: Response, change: impl FnOnce(&mut Value)) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return super::problem::Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off")
            .into_response();
    };
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut envelope) => {
            if let Some(data) = envelope.get_mut("data") {
                change(data);
            }
            Bytes::from(envelope.to_string())
        }
        Err(_) => bytes,
    };
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(body))
}
