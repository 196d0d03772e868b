//! The request of an attempt: URL, headers, signatures. What is signed is what is sent, byte for byte.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::endpoint::{Authentication, Endpoint};
use longshore_core::event::Headers;
use longshore_core::ports::ClaimedDelivery;
use longshore_core::project::ProjectSettings;
use longshore_core::{Timestamp, signature};

use super::egress::Route;
use super::transport::SignedRequest;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const EVENT_ID: HeaderName = HeaderName::from_static("x-convoy-event-id");
const DELIVERY_ID: HeaderName = HeaderName::from_static("x-convoy-eventdelivery-id");

/// Headers that belong to the connection; a producer's value for one of these is not forwarded.
const CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Builds and signs the request of one attempt at `at`.
pub(super) fn build(
    delivery: &ClaimedDelivery,
    endpoint: &Endpoint,
    settings: &ProjectSettings,
    at: Timestamp,
) -> SignedRequest {
    let event = &*delivery.event;
    let mut headers = HeaderMap::with_capacity(12);
    let content_type = event.content_type.as_deref().and_then(|named| HeaderValue::try_from(named).ok());
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(JSON));
    if let Some(key) = &event.idempotency_key {
        insert(&mut headers, &settings.idempotency_header, key);
    }
    if settings.add_event_id_trace_headers {
        insert_known(&mut headers, EVENT_ID, &event.id.to_string());
        insert_known(&mut headers, DELIVERY_ID, &delivery.id.to_string());
    }
    sign(&mut headers, delivery, endpoint, settings, at);
    authenticate(&mut headers, endpoint);
    // The event's own headers come last and override nothing.
    for (name, value) in event.headers.iter() {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        if headers.contains_key(&name) || CONNECTION.contains(&name.as_str()) {
            continue;
        }
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    SignedRequest {
        url: endpoint.url.clone(),
        headers,
        body: event.body.clone(),
        timeout: endpoint.http_timeout,
        route: Route::default(),
    }
}

fn sign(
    headers: &mut HeaderMap,
    delivery: &ClaimedDelivery,
    endpoint: &Endpoint,
    settings: &ProjectSettings,
    at: Timestamp,
) {
    let event = &*delivery.event;
    let wanted = &settings.signature;
    if wanted.convoy {
        let keys = endpoint.live_keys(at);
        let value = if endpoint.advanced_signatures {
            signature::advanced(keys, wanted.hash, wanted.encoding, at, &event.body)
        } else {
            signature::simple(keys, wanted.hash, wanted.encoding, &event.body)
        };
        if let Some(value) = value {
            insert(headers, &wanted.header, &value);
        }
    }
    if wanted.standard {
        // The receiver's idempotency key: the same on every attempt, and for every endpoint of the event.
        let id = event.id.to_string();
        if let Some(value) = signature::standard(endpoint.live_keys(at), &id, at, &event.body) {
            insert_known(headers, WEBHOOK_ID, &id);
            insert_known(headers, WEBHOOK_TIMESTAMP, &at.as_secs().to_string());
            insert_known(headers, WEBHOOK_SIGNATURE, &value);
        }
    }
}

fn authenticate(headers: &mut HeaderMap, endpoint: &Endpoint) {
    match &endpoint.credentials.authentication {
        // A token is fetched when the request is sent.
        None | Some(Authentication::OAuth2(_)) => {}
        Some(Authentication::ApiKey { header, value }) => {
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(header.as_str()), HeaderValue::try_from(value.expose().as_str()))
            {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        Some(Authentication::Basic { username, password }) => {
            use base64::Engine;
            let pair = format!("{username}:{}", password.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            if let Ok(mut value) = HeaderValue::try_from(format!("Basic {encoded}")) {
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Ok(name) = HeaderName::try_from(name) {
        insert_known(headers, name, value);
    }
}

fn insert_known(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The headers of an attempt as they are kept on record: credentials are not.
pub(super) fn on_record(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| {
            let text = if value.is_sensitive() {
                "[redacted]".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use longshore_core::event::{Event, Target};
    use longshore_core::{DeliveryId, EndpointId, EventId, ProcessId, ProjectId};

    use super::*;

    fn content_type(named: Option<&str>) -> HeaderValue {
        let (project, endpoint) = (ProjectId::from_u128(1), EndpointId::from_u128(1));
        let event = Event {
            id: EventId::from_u128(1),
            project,
            source: None,
            target: Target::Single(endpoint),
            event_type: "a".to_owned(),
            body: Bytes::from_static(b"{}"),
            headers: [("content-type".to_owned(), "forged/by-header".to_owned())].into_iter().collect(),
            idempotency_key: None,
            received_at: Timestamp::EPOCH,
            ordering_key: None,
            occurred_at: None,
            content_type: named.map(str::to_owned),
            attributes: None,
        };
        let delivery = ClaimedDelivery {
            id: DeliveryId::from_u128(1),
            event: Arc::new(event),
            endpoint,
            subscription: None,
            attempts: 0,
            scheduled: false,
            owner: ProcessId::from_u128(1),
        };
        let endpoint = Endpoint::new(endpoint, project, "https://a.example/".parse().unwrap());
        build(&delivery, &endpoint, &ProjectSettings::default(), Timestamp::EPOCH).headers[CONTENT_TYPE]
            .clone()
    }

    #[test]
    fn the_media_type_is_the_events_and_json_when_it_has_none_or_one_that_is_no_header() {
        assert_eq!(content_type(Some("application/cloudevents+json")), "application/cloudevents+json");
        assert_eq!(content_type(None), "application/json");
        assert_eq!(content_type(Some("text/plain\r\nX-Forged: 1")), "application/json");
    }
}
