//! Several events in one request: a JSON array, of plain items or in the batch format of CloudEvents.
//!
//! JSON batch format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format>.
//! A batch is one also when only one event is in it: a receiver parses one format.

use std::fmt::Write;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::BatchId;
use longshore_core::endpoint::CloudEventsMode;
use longshore_core::event::Event;
use longshore_core::media;
use longshore_core::ports::ClaimedDelivery;
use rand::Rng;

use super::cloudevents::{push_data, push_structured, push_text};
use super::trace::{Trace, TraceId};
use super::{Body, JSON, Terms, headers, sign};
use crate::dispatch::egress::Route;
use crate::dispatch::transport::SignedRequest;

const CLOUDEVENTS: HeaderValue = HeaderValue::from_static("application/cloudevents-batch+json");
const BATCH: HeaderName = HeaderName::from_static("webhook-batch");
/// About what an item is beside its data.
const ITEM: usize = 256;

/// Builds and signs the request of one attempt for several deliveries, in their order, at least one.
pub(in crate::dispatch) fn build_batch<'d>(
    terms: &Terms<'_>,
    deliveries: impl Iterator<Item = &'d ClaimedDelivery> + Clone,
    rng: &mut impl Rng,
) -> (SignedRequest, TraceId) {
    let endpoint = terms.endpoint;
    let id = BatchId::derive(deliveries.clone().map(|delivery| delivery.id));
    let trace = Trace::new(id.as_u128(), rng);
    let room = deliveries.clone().map(|delivery| delivery.event.body.len() + ITEM).sum();
    let mut text = String::with_capacity(room);
    let events = deliveries.clone().map(|delivery| &*delivery.event);
    let content_type = match endpoint.settings.cloudevents {
        Some(CloudEventsMode::Structured) => {
            list(&mut text, events, |text, event| push_structured(text, event, &Trace::of(event, rng)));
            CLOUDEVENTS
        }
        Some(CloudEventsMode::Binary) | None => {
            list(&mut text, events, push_item);
            JSON
        }
    };
    let body = Body::of_bytes(text.into(), content_type);
    let mut head = HeaderMap::with_capacity(12);
    head.insert(CONTENT_TYPE, body.content_type.clone());
    head.insert(BATCH, HeaderValue::from(deliveries.clone().count()));
    let attempts = deliveries.map(|delivery| delivery.attempts).max().unwrap_or_default();
    headers::ours(&mut head, endpoint, attempts.saturating_add(1), &trace);
    sign::sign(&mut head, terms, id.to_string(), &body);
    headers::authenticate(&mut head, endpoint);
    headers::fixed(&mut head, endpoint);
    let request = SignedRequest {
        url: endpoint.url.clone(),
        headers: head,
        body: body.bytes,
        timeout: endpoint.http_timeout,
        route: Route::default(),
    };
    (request, trace.id())
}

fn list<'e>(
    text: &mut String,
    events: impl Iterator<Item = &'e Event>,
    mut push: impl FnMut(&mut String, &'e Event),
) {
    let mut separator = '[';
    for event in events {
        text.push(separator);
        push(text, event);
        separator = ',';
    }
    text.push(']');
}

/// Appends an event as a plain item: `{"id", "type", "timestamp", "data"}`, and what would be in the head of a request of its
/// own: `content_type` of data that is no plain JSON, `idempotency_key`, `headers`.
fn push_item(text: &mut String, event: &Event) {
    let at = event.occurred_at.unwrap_or(event.received_at);
    // Writing to a string does not fail.
    let _ = write!(text, "{{\"id\":\"{}\",\"type\":", event.id);
    push_text(text, &event.event_type);
    let _ = write!(text, ",\"timestamp\":\"{at}\"");
    if let Some(key) = &event.idempotency_key {
        text.push_str(",\"idempotency_key\":");
        push_text(text, key);
    }
    push_headers(text, event);
    if let Some(content_type) = event.content_type.as_deref().filter(|named| !media::is_plain_json(named)) {
        text.push_str(",\"content_type\":");
        push_text(text, content_type);
    }
    text.push(',');
    push_data(text, event);
    text.push('}');
}

/// Of a header that is there twice the first counts, as in a request of its own.
fn push_headers(text: &mut String, event: &Event) {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in event.headers.iter() {
        let name = name.to_ascii_lowercase();
        if !headers::is_forwarded(&name) || seen.contains(&name) {
            continue;
        }
        text.push_str(if seen.is_empty() { ",\"headers\":{" } else { "," });
        push_text(text, &name);
        text.push(':');
        push_text(text, value);
        seen.push(name);
    }
    if !seen.is_empty() {
        text.push('}');
    }
}
