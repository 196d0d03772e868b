//! What carries a signed request to an endpoint. A trait, so that the dispatcher runs under paused time in tests.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use longshore_core::AttemptOutcome;
use longshore_core::event::Headers;
use url::Url;

use super::egress::Route;

/// A POST, ready to go.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// Where to.
    pub url: Url,
    /// Every header.
    pub headers: HeaderMap,
    /// The signed bytes.
    pub body: Bytes,
    /// One deadline over connect, TLS, request, response headers and body.
    pub timeout: Duration,
    /// Whose it is: the way it leaves by, and the token it carries.
    pub route: Route,
}

/// What came back, or why nothing did.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// Response headers.
    pub headers: Headers,
    /// The first bytes of the response body.
    pub body: Bytes,
    /// A sentence for people where there is no response.
    pub error: String,
    /// Who answered: the receiver, or the proxy in between.
    pub remote: Option<IpAddr>,
}

/// Carries requests. Never fails: the receiver's failure is an outcome.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Sends the request and reads the answer, within the request's deadline.
    fn send(&self, request: SignedRequest) -> impl Future<Output = Answer> + Send;
}
