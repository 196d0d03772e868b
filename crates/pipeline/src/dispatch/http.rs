//! The webhook client: one deadline, capped answers, faults by class. How requests leave is [`egress`](super::egress).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use longshore_core::clock::{Clock, SystemClock};
use longshore_core::endpoint::OAuth2;
use longshore_core::event::Headers;
use longshore_core::retry::parse_retry_after;
use longshore_core::{AttemptOutcome, Project};
use tokio::time::{Instant, timeout_at};

use super::egress::fault::Fault;
use super::egress::sender::{Received, Sender};
use super::egress::{DnsSettings, EgressRules, Route};
use super::transport::{Answer, SignedRequest, Transport};

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// What it may reach.
    pub rules: EgressRules,
    /// How it resolves names.
    pub dns: DnsSettings,
    /// How long a connection may take, TLS and proxy included; within the attempt's deadline.
    pub connect_timeout: Duration,
    /// Bytes of a response body that are kept; the rest is not read.
    pub response_bytes: usize,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// With more connections open than this, they are closed after their use.
    pub kept_connections: usize,
    /// The User-Agent; empty for Longshore's own with its version.
    pub user_agent: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client: {0}")]
pub struct TransportError(String);

/// Who we say we are.
const AGENT: &str = concat!("Longshore/", env!("CARGO_PKG_VERSION"));
/// Headers of an answer that are kept on record, and their bytes in all.
const HEADERS_KEPT: usize = 100;
const HEADER_BYTES_KEPT: usize = 16 * 1024;

/// The webhook client; cheap to clone.
#[derive(Clone)]
pub struct HttpTransport {
    sender: Arc<Sender>,
    response_bytes: usize,
}

impl HttpTransport {
    /// Builds the client.
    ///
    /// # Errors
    /// [`TransportError`] when TLS or the resolver cannot be set up, e.g. for lack of root certificates.
    pub fn new(settings: &HttpSettings) -> Result<Self, TransportError> {
        let agent = if settings.user_agent.is_empty() { AGENT } else { &settings.user_agent };
        let sender = Sender::new(settings, agent).map_err(TransportError)?;
        Ok(Self { sender: Arc::new(sender), response_bytes: settings.response_bytes })
    }

    /// Asks an authorization server for a token once, as a delivery of that project would: what goes into
    /// `Authorization`, and how long it lives.
    ///
    /// # Errors
    /// A sentence that holds no secret.
    pub async fn fetch_token(
        &self,
        project: &Arc<Project>,
        settings: &OAuth2,
        timeout: Duration,
    ) -> Result<(HeaderValue, Duration), String> {
        let route = Route::of_project(project);
        let asked = tokio::time::timeout(timeout, self.sender.fresh_token(&route, settings)).await;
        asked.unwrap_or_else(|_| Err(format!("no token within {timeout:?}")))
    }

    async fn exchange(&self, request: SignedRequest, deadline: Instant) -> Result<Answer, Fault> {
        let SignedRequest { url, headers, body, timeout, route } = request;
        let late = |_| Fault::new(AttemptOutcome::Timeout, &format!("no complete answer within {timeout:?}"));
        let token = self.token(&route, timeout, deadline).await?;
        let again = token.as_ref().map(|_| (headers.clone(), body.clone()));
        let sent = self.sender.post(&route, &url, headers, body, token.clone());
        let mut received = timeout_at(deadline, sent).await.map_err(late)??;
        if let (401, Some(refused), Some((headers, body))) = (received.status, token, again) {
            // The token may have been withdrawn: once more, with another, if there is one.
            self.sender.refused(&route, &refused);
            let fresh = self.token(&route, timeout, deadline).await?;
            if fresh.as_ref() != Some(&refused) {
                let sent = self.sender.post(&route, &url, headers, body, fresh);
                received = timeout_at(deadline, sent).await.map_err(late)??;
            }
        }
        timeout_at(deadline, self.read(&mut received)).await.map_err(late)?
    }

    async fn token(
        &self,
        route: &Route,
        timeout: Duration,
        deadline: Instant,
    ) -> Result<Option<HeaderValue>, Fault> {
        timeout_at(deadline, self.sender.token(route)).await.unwrap_or_else(|_| {
            Err(Fault::new(AttemptOutcome::Authentication, &format!("no token within {timeout:?}")))
        })
    }

    async fn read(&self, received: &mut Received) -> Result<Answer, Fault> {
        let status = received.status;
        let retry_after = received
            .headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemClock.now()));
        let headers = kept_headers(&received.headers);
        let body = received.body(self.response_bytes).await?;
        let outcome = AttemptOutcome::Response { status, retry_after };
        let is_redirect = StatusCode::from_u16(status).is_ok_and(|status| status.is_redirection());
        let error = if is_redirect { REDIRECT.to_owned() } else { String::new() };
        Ok(Answer { outcome, headers, body, error, remote: received.remote })
    }
}

const REDIRECT: &str = "redirects are not followed; make the endpoint's URL the one that answers";

impl std::fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpTransport").field("response_bytes", &self.response_bytes).finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    async fn send(&self, request: SignedRequest) -> Answer {
        let deadline = Instant::now() + request.timeout;
        match self.exchange(request, deadline).await {
            Ok(answer) => answer,
            Err(Fault { outcome, text }) => {
                Answer { outcome, headers: Headers::default(), body: Bytes::new(), error: text, remote: None }
            }
        }
    }
}

fn kept_headers(headers: &HeaderMap) -> Headers {
    let mut bytes = 0;
    let fits = |(name, value): &(&http::HeaderName, &HeaderValue)| {
        bytes += name.as_str().len() + value.len();
        bytes <= HEADER_BYTES_KEPT
    };
    headers
        .iter()
        .take(HEADERS_KEPT)
        .take_while(fits)
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}
