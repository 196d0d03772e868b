//! The head of a request, but for the signatures: our own headers, the endpoint's, and those of the event.

use std::borrow::Cow;
use std::fmt::Write;

use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::endpoint::{Authentication, Endpoint};
use longshore_core::event::Event;

use super::trace::{TRACEPARENT, TRACESTATE, Trace};

pub(super) const EVENT_ID: HeaderName = HeaderName::from_static("x-convoy-event-id");
pub(super) const DELIVERY_ID: HeaderName = HeaderName::from_static("x-convoy-eventdelivery-id");
pub(super) const EVENT_TYPE: HeaderName = HeaderName::from_static("webhook-event-type");
/// [`ClaimedDelivery::sequence`](longshore_core::ports::ClaimedDelivery::sequence): what a receiver compares to recognise news
/// that is older than what it has.
pub(super) const SEQUENCE: HeaderName = HeaderName::from_static("webhook-sequence");
const ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");

/// Headers that belong to the connection or are ours alone; an event's or an endpoint's value for one of these is not sent.
const NEVER_FORWARDED: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    // Of no use beside a `traceparent` that is not the producer's.
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "webhook-batch",
    "webhook-sequence",
];

/// What every request of an endpoint carries.
pub(super) fn ours(head: &mut HeaderMap, endpoint: &Endpoint, attempt: u16, trace: &Trace<'_>) {
    // Nearly every attempt is the first.
    let attempt = if attempt == 1 { HeaderValue::from_static("1") } else { HeaderValue::from(attempt) };
    head.insert(ATTEMPT, attempt);
    put(head, TRACEPARENT, trace.parent());
    if let Some(state) = trace.state() {
        put(head, TRACESTATE, state);
    }
    if let Some(agent) = &endpoint.settings.user_agent {
        put(head, USER_AGENT, agent.as_str());
    }
}

/// The endpoint's API key or password.
pub(super) fn authenticate(head: &mut HeaderMap, endpoint: &Endpoint) {
    match &endpoint.credentials.authentication {
        // A token is fetched when the request is sent.
        None | Some(Authentication::OAuth2(_)) => {}
        Some(Authentication::ApiKey { header, value }) => {
            if let (Ok(name), Ok(mut value)) =
                (HeaderName::try_from(header.as_str()), HeaderValue::try_from(value.expose().as_str()))
            {
                value.set_sensitive(true);
                head.insert(name, value);
            }
        }
        Some(Authentication::Basic { username, password }) => {
            use base64::Engine;
            let pair = format!("{username}:{}", password.expose());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
            if let Ok(mut value) = HeaderValue::try_from(format!("Basic {encoded}")) {
                value.set_sensitive(true);
                head.insert(AUTHORIZATION, value);
            }
        }
    }
}

/// The endpoint's fixed headers. They override nothing that is there, and any of them may hold a secret.
pub(super) fn fixed(head: &mut HeaderMap, endpoint: &Endpoint) {
    for (name, value) in &endpoint.credentials.headers {
        add(head, name, || {
            let mut value = HeaderValue::try_from(value.expose().as_str()).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
    }
}

/// The event's own headers. They override nothing that is there; one that is no header is not sent.
pub(super) fn forwarded(head: &mut HeaderMap, event: &Event, is_cloudevent: bool) {
    for (name, value) in event.headers.iter() {
        // To a receiver it would be an attribute that the event does not have.
        if is_cloudevent && name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ce-")) {
            continue;
        }
        add(head, name, || HeaderValue::try_from(value).ok());
    }
}

/// Whether a header may be the event's or the endpoint's, by its name in lower case.
pub(super) fn is_forwarded(name: &str) -> bool {
    !NEVER_FORWARDED.contains(&name)
}

fn add(head: &mut HeaderMap, name: &str, value: impl FnOnce() -> Option<HeaderValue>) {
    let Ok(name) = HeaderName::try_from(name) else { return };
    if head.contains_key(&name) || !is_forwarded(name.as_str()) {
        return;
    }
    if let Some(value) = value() {
        head.insert(name, value);
    }
}

/// Sets a header whose name is configured.
pub(super) fn put_named(head: &mut HeaderMap, name: &str, value: impl TryInto<HeaderValue>) {
    if let Ok(name) = HeaderName::try_from(name) {
        put(head, name, value);
    }
}

/// Sets a header, unless the value is none.
pub(super) fn put(head: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        head.insert(name, value);
    }
}

/// A text of any characters as the value of a header (CloudEvents 1.0, HTTP binding, section 3.1.3.2): space, `"`, `%` and
/// whatever is not visible ASCII is percent-encoded.
pub(super) fn percent_encoded(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'%';
    if text.bytes().all(is_plain) {
        return text.into();
    }
    let mut encoded = String::with_capacity(2 * text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded.into()
}
