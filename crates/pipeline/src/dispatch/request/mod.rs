//! The request of an attempt: URL, headers, body, signatures.
//!
//! | module | makes |
//! |---|---|
//! | [`form`] | a form of a JSON object |
//! | [`cloudevents`] | a CloudEvent of an event |
//! | [`batch`] | one request of several events |
//! | [`headers`] | everything in the head but the signatures |
//! | [`trace`] | the trace that the attempt belongs to |
//! | [`sign`] | the signatures |
//! | [`record`] | what is kept of the head |
//!
//! What it does not do: send, or choose the way out. Invariants: nothing of an event overrides a header of ours, ends a header
//! or a member of the body, or adds one. What is signed is what is sent, byte for byte, but for the v1 contract's signature
//! of a form.

mod batch;
mod cloudevents;
mod form;
mod headers;
mod record;
mod sign;
#[cfg(test)]
mod tests;
mod trace;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use longshore_core::Timestamp;
use longshore_core::endpoint::{CloudEventsMode, ContentType, Endpoint};
use longshore_core::event::Event;
use longshore_core::ports::ClaimedDelivery;
use longshore_core::project::ProjectSettings;
use url::Url;

use super::egress::Route;
use super::transport::SignedRequest;
pub(super) use batch::build_batch;
pub(super) use record::on_record;
pub(super) use trace::Trace;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What holds for everything that goes to an endpoint now.
pub(super) struct Terms<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Those of its project.
    pub(super) settings: &'a ProjectSettings,
    /// When the attempt is made.
    pub(super) at: Timestamp,
}

/// Why an event cannot be sent in the form that its endpoint asks for: a sentence for people, without payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unsendable(&'static str);

/// A body, and what has to be known of it.
struct Body {
    bytes: Bytes,
    content_type: HeaderValue,
    /// What the v1 contract signs, where that is not `bytes`.
    contract: Option<Bytes>,
}

/// Builds and signs the request of one attempt.
///
/// # Errors
/// [`Unsendable`]: there is no such request until the endpoint is configured otherwise.
pub(super) fn build(
    terms: &Terms<'_>,
    delivery: &ClaimedDelivery,
    trace: &Trace<'_>,
) -> Result<SignedRequest, Unsendable> {
    let event = &*delivery.event;
    let Terms { endpoint, settings, .. } = terms;
    let body = Body::of(event, endpoint, trace)?;
    let mut head = HeaderMap::with_capacity(12);
    head.insert(CONTENT_TYPE, body.content_type.clone());
    // The receiver's idempotency key: the same on every attempt, and for every endpoint of the event.
    let id = event.id.to_string();
    if let Some(key) = &event.idempotency_key {
        headers::put_named(&mut head, &settings.idempotency_header, key.as_str());
    }
    if settings.add_event_id_trace_headers {
        headers::put(&mut head, headers::EVENT_ID, id.as_str());
        headers::put(&mut head, headers::DELIVERY_ID, delivery.id.to_string());
    }
    headers::ours(&mut head, endpoint, delivery.attempts.saturating_add(1), trace);
    head.insert(headers::SEQUENCE, delivery.sequence().into());
    headers::put(&mut head, headers::EVENT_TYPE, &*headers::percent_encoded(&event.event_type));
    let cloudevents = endpoint.settings.cloudevents;
    if cloudevents == Some(CloudEventsMode::Binary) {
        cloudevents::binary(&mut head, event, trace);
    }
    sign::sign(&mut head, terms, id, &body);
    headers::authenticate(&mut head, endpoint);
    headers::fixed(&mut head, endpoint);
    // The event's own headers come last and override nothing.
    headers::forwarded(&mut head, event, cloudevents.is_some());
    Ok(SignedRequest {
        url: url_of(endpoint, event),
        headers: head,
        body: body.bytes,
        timeout: endpoint.http_timeout,
        route: Route::default(),
    })
}

/// The endpoint's URL; the query that a source was asked with goes on to it, behind its own.
fn url_of(endpoint: &Endpoint, event: &Event) -> Url {
    let mut url = endpoint.url.clone();
    if let Some(query) = event.url_query.as_deref() {
        match url.query().filter(|own| !own.is_empty()).map(|own| format!("{own}&{query}")) {
            Some(both) => url.set_query(Some(&both)),
            None => url.set_query(Some(query)),
        }
    }
    url
}

impl Body {
    fn of(event: &Event, endpoint: &Endpoint, trace: &Trace<'_>) -> Result<Self, Unsendable> {
        let content_type = event.content_type.as_deref();
        match (endpoint.settings.content_type, endpoint.settings.cloudevents) {
            (ContentType::Form, _) => form::body(&event.body, content_type),
            (ContentType::Json, Some(CloudEventsMode::Structured)) => {
                Ok(Self::of_bytes(cloudevents::structured(event, trace).into(), cloudevents::STRUCTURED))
            }
            (ContentType::Json, _) => {
                let named = content_type.and_then(|named| HeaderValue::try_from(named).ok());
                Ok(Self::of_bytes(event.body.clone(), named.unwrap_or(JSON)))
            }
        }
    }

    const fn of_bytes(bytes: Bytes, content_type: HeaderValue) -> Self {
        Self { bytes, content_type, contract: None }
    }
}
