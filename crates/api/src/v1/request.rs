//! What all requests have in common: an id, a version.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use longshore_core::{Clock, EventId, IdGenerator, SystemClock};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::LazyLock;
use std::time::Duration;

use super::control::Control;
use super::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-convoy-version");
/// What is carried on whoever waits has the deadline of its own, and a moment to say so.
const MOMENT: Duration = Duration::from_secs(1);
/// The longest id of a request that we take over.
const LONGEST_ID: usize = 128;

/// The id of a request: the caller's own, or one of ours.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Gives every request its id, and every answer the id and the version.
pub(crate) async fn frame(State(control): State<Control>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers().get(&REQUEST_ID));
    request.extensions_mut().insert(RequestId(id.clone()));
    // Postgres holds no NUL, so nothing that is asked for has one.
    let names_nul = request.uri().path_and_query().is_some_and(|text| text.as_str().contains("%00"));
    let mut response = match names_nul {
        true => Problem::new(StatusCode::BAD_REQUEST, "the path and the query must not hold NUL characters")
            .into_response(),
        false => match tokio::time::timeout(control.settings().deadline + MOMENT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::late().into_response(),
        },
    };
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    // The contract's servers tell the installation's version here, not the request's.
    headers.insert(VERSION, HeaderValue::from_static(control.default_version().as_str()));
    response
}

/// Gives an answer the id of its request, and nothing else.
pub(crate) async fn name(request: Request, next: Next) -> Response {
    let id = request_id(request.headers().get(&REQUEST_ID));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
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
