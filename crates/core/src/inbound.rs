//! HTTP sources: webhooks that others send to us, at a URL of each source's own.
//!
//! What it is for: whether a request is from who it should be ([`Verifier`]), and which parts of an event are in it.
//! What it does not do: speak HTTP. Invariants: secrets are compared in constant time, and are no part of what is
//! stored with an event or sent on; what a request says about its type is believed only where it was verified.

mod read;
mod request;
mod verify;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use read::{Inbound, Unreadable};
pub use request::{PathError, Received, RequestPath};
pub use verify::{Provider, Unverified, Verifier};

/// How a source takes webhooks in. Stored sealed as a whole, since it holds the verifier's secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSource {
    /// Whom it believes.
    pub verifier: Verifier,
    /// Whose webhooks they are, when that decides how they are verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// What is answered in place of the contract's envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_response: Option<CustomResponse>,
    /// The parts of a request that its idempotency key is made of.
    pub idempotency_keys: Vec<RequestPath>,
    /// Where a request says what happened; the source's mask id without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type_location: Option<RequestPath>,
    /// The headers that are kept and sent on, in lower case; all when empty.
    pub forward_headers: Vec<String>,
}

/// A fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomResponse {
    /// The body.
    pub body: String,
    /// Its media type; empty for `text/plain`.
    pub content_type: String,
}
