//! Versions of the API by date: a request is read and answered in the shape of the version that it asks for.
//!
//! Handlers know the newest version only. What older clients send is carried forward to it, and what they are answered is
//! carried back, one change of the contract at a time. Invariants: nothing of this touches requests of the newest version;
//! an answer that is kept for a repeat is kept in the shape that it was given in.

mod changes;

use std::sync::{Arc, OnceLock};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_LENGTH;
use http::{Extensions, StatusCode};
use longshore_store::control::{Date, date};
use serde_json::{Map, Value};

use self::changes::CHANGES;
use super::problem::Problem;

/// The published versions, oldest first. The first is of clients from before there were any.
pub(crate) const VERSIONS: [&str; 4] = ["0001-01-01", "2024-01-01", "2024-04-01", "2025-11-24"];

/// The newest of them.
pub const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

/// A published version, as its place in [`VERSIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(usize);

impl Default for ApiVersion {
    /// The newest.
    fn default() -> Self {
        Self(VERSIONS.len() - 1)
    }
}

impl ApiVersion {
    /// The version of that date.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        VERSIONS.iter().position(|version| *version == text).map(Self)
    }

    /// Its date.
    pub(crate) fn as_str(self) -> &'static str {
        VERSIONS.get(self.0).copied().unwrap_or(NEWEST)
    }
}

/// The date of the newest version, to which new projects are pinned.
#[must_use]
pub fn newest_version() -> Option<Date> {
    date(ApiVersion::default().as_str())
}

/// What some version had otherwise than the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// What an endpoint is made of.
    NewEndpoint,
    /// An endpoint, or what is changed of one.
    Endpoint,
}

/// Where the version of a request is noted once its project is known.
#[derive(Clone, Debug, Default)]
struct VersionSlot(Arc<OnceLock<ApiVersion>>);

/// Notes the version of a request; the first word counts.
pub(crate) fn note(extensions: &Extensions, version: ApiVersion) {
    if let Some(slot) = extensions.get::<VersionSlot>() {
        let _ = slot.0.set(version);
    }
}

/// The version that was noted for a request, or the newest.
pub(crate) fn noted(extensions: &Extensions) -> ApiVersion {
    let slot = extensions.get::<VersionSlot>();
    slot.and_then(|slot| slot.0.get().copied()).unwrap_or_default()
}

/// Makes of what an older client sends what one of the newest version would.
///
/// # Errors
/// `400`: it is wrong in its own version; the field is named as that has it.
pub(crate) fn upgrade(shape: Shape, from: ApiVersion, body: &mut Value) -> Result<(), Problem> {
    let Value::Object(members) = body else { return Ok(()) };
    for change in CHANGES.iter().filter(|change| change.concerns(shape, from)) {
        (change.forward)(members)?;
    }
    Ok(())
}

/// Makes of an answer's `data` what that version had; of each item, when it is a page.
fn downgrade(shape: Shape, to: ApiVersion, data: &mut Value) {
    for change in CHANGES.iter().rev().filter(|change| change.concerns(shape, to)) {
        each(data, change.back);
    }
}

fn each(data: &mut Value, change: fn(&mut Map<String, Value>)) {
    let Value::Object(members) = data else { return };
    match members.get_mut("content") {
        Some(Value::Array(items)) => items.iter_mut().filter_map(Value::as_object_mut).for_each(change),
        _ => change(members),
    }
}

/// Answers in the version of the request. Inside of what keeps answers for repeats.
pub(crate) async fn answer(mut request: Request, next: Next) -> Response {
    let slot = VersionSlot::default();
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    let version = slot.0.get().copied().unwrap_or_default();
    let shape = response.extensions().get::<Shape>().copied();
    match shape.filter(|shape| CHANGES.iter().any(|change| change.concerns(*shape, version))) {
        Some(shape) => reshaped(response, shape, version).await,
        None => response,
    }
}

async fn reshaped(response: Response, shape: Shape, version: ApiVersion) -> Response {
    let (mut head, body) = response.into_parts();
    // What a handler has answered is in memory already.
    let envelope = to_bytes(body, usize::MAX).await.ok();
    let envelope = envelope.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(mut envelope) = envelope else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke off").into_response();
    };
    if let Some(data) = envelope.get_mut("data") {
        downgrade(shape, version, data);
    }
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(envelope.to_string()))
}
