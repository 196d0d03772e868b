//! The signatures of a request.

use http::{HeaderMap, HeaderName, HeaderValue};
use longshore_core::signature;

use super::headers::{put, put_named};
use super::{Body, Terms};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signs as the project wants it. `id` is what the receiver knows a repeated request by.
pub(super) fn sign(head: &mut HeaderMap, terms: &Terms<'_>, id: String, body: &Body) {
    let Terms { endpoint, settings, at } = *terms;
    let wanted = &settings.signature;
    if wanted.convoy {
        let keys = endpoint.live_keys(at);
        let signed = body.contract.as_ref().unwrap_or(&body.bytes);
        let value = if endpoint.advanced_signatures {
            signature::advanced(keys, wanted.hash, wanted.encoding, at, signed)
        } else {
            signature::simple(keys, wanted.hash, wanted.encoding, signed)
        };
        if let Some(value) = value {
            put_named(head, &wanted.header, value);
        }
    }
    if wanted.standard
        && let Some(value) = signature::standard(endpoint.live_keys(at), &id, at, &body.bytes)
    {
        put(head, WEBHOOK_ID, id);
        head.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.as_secs()));
        put(head, WEBHOOK_SIGNATURE, value);
    }
}
