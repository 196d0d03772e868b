//! `Idempotency-Key`: a request that is sent again does nothing again and is answered as the first was.
//!
//! What it is for: whoever lost an answer to a POST may send it again. What it does not do: look at what the request is.
//! Invariants: a key counts for one caller and one path; only successes are kept, because nothing else changed anything;
//! a request that was begun is carried to its end although its client is gone, so that its answer is there for the repeat.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, LOCATION};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use longshore_store::control::{Actor, Turn};
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use super::LARGEST_BODY;
use super::access::Known;
use super::control::Control;
use super::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST_KEY: usize = 255;
/// What of an answer's head belongs to it.
const KEPT: [HeaderName; 3] = [CONTENT_TYPE, ETAG, LOCATION];
/// A request in progress is taken over when it is that much over its deadline.
const GRACE: Duration = Duration::from_secs(30);

/// An answer at rest; it is sealed.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Answers what was asked before, and keeps what is answered now.
pub(crate) async fn repeat(State(control): State<Control>, request: Request, next: Next) -> Response {
    let key = request.headers().get(KEY).filter(|_| request.method() == Method::POST).cloned();
    let caller = match request.extensions().get::<Known>() {
        Some(Known(Ok(caller))) => caller.actor.clone(),
        _ => return next.run(request).await,
    };
    match key {
        None => next.run(request).await,
        Some(key) => {
            keyed(&control, &caller, &key, request, next).await.unwrap_or_else(Problem::into_response)
        }
    }
}

async fn keyed(
    control: &Control,
    caller: &Actor,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let key = key.to_str().ok().filter(|text| (1..=LONGEST_KEY).contains(&text.len())).ok_or_else(|| {
        Problem::invalid("Idempotency-Key", format!("write 1 to {LONGEST_KEY} visible ASCII characters"))
    })?;
    let (parts, body) = request.into_parts();
    let too_large =
        |_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or did not arrive");
    let body = to_bytes(body, LARGEST_BODY).await.map_err(too_large)?;
    let id = caller.id.unwrap_or_default();
    let hash = control.hasher().hash(&format!(
        "repeat\n{}\n{id}\n{}\n{key}",
        caller.kind.as_str(),
        parts.uri.path()
    ));
    let query = parts.uri.query().unwrap_or_default();
    let asked = control.hasher().hash(&format!("asked\n{query}\n{}", String::from_utf8_lossy(&body)));
    let patience = control.settings().deadline + GRACE;
    match control.store().take_request(&hash, &asked, patience).await? {
        Turn::First(id) => {
            first(control.clone(), id, Request::from_parts(parts, Body::from(body)), next).await
        }
        Turn::Answered(kept) => replayed(&kept),
        Turn::InProgress => Err(Problem::conflict(
            "a request with this `Idempotency-Key` is in progress; send it again in a moment",
        )),
        Turn::Other => {
            let message =
                "this `Idempotency-Key` was used with another request; take a new key for a new request";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message))
        }
    }
}

/// Carries a request to its end, whether or not its client waits: hyper drops what nobody waits for. It ends by the
/// deadline of every request, and is awaited for as long as somebody is there.
async fn first(control: Control, id: Uuid, request: Request, next: Next) -> Result<Response, Problem> {
    let deadline = control.settings().deadline;
    let carried = tokio::spawn(async move {
        let response = match tokio::time::timeout(deadline, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::late().into_response(),
        };
        keep(&control, id, response).await
    });
    carried.await.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request broke off"))
}

async fn keep(control: &Control, id: Uuid, response: Response) -> Response {
    let store = control.store();
    if !response.status().is_success() {
        if let Err(error) = store.forget_request(id).await {
            warn!(%error, "a key stays taken until its request's time is over");
        }
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, usize::MAX).await else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off").into_response();
    };
    let headers = KEPT.iter().filter_map(|name| {
        Some((name.as_str().to_owned(), head.headers.get(name)?.to_str().ok()?.to_owned()))
    });
    let kept = Kept {
        status: head.status.as_u16(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&bytes).into_owned(),
    };
    let kept = serde_json::to_vec(&kept).expect("texts and numbers always serialize");
    if let Err(error) = store.keep_answer(id, &kept).await {
        warn!(%error, "an answer is not kept: its key stays taken until its request's time is over");
    }
    Response::from_parts(head, Body::from(bytes))
}

fn replayed(kept: &[u8]) -> Result<Response, Problem> {
    let broken =
        || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer that was kept cannot be read");
    let kept: Kept = serde_json::from_slice(kept).map_err(|_| broken())?;
    let mut response = Response::new(Body::from(kept.body));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(|_| broken())?;
    for (name, value) in kept.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

#[cfg(test)]
mod tests;
