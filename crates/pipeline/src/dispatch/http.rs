//! The keep-alive webhook client: guard, one deadline, no redirects, capped responses.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use longshore_core::AttemptOutcome;
use longshore_core::clock::{Clock, SystemClock};
use longshore_core::event::Headers;
use longshore_core::retry::parse_retry_after;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use super::guard::Guard;
use super::transport::{Answer, SignedRequest, Transport};

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Which addresses it may connect to.
    pub guard: Guard,
    /// Whether plain `http://` is allowed; a signature does not hide a payload.
    pub allow_http: bool,
    /// Ports it may connect to; empty for all.
    pub allowed_ports: Vec<u16>,
    /// Bytes of a response body that are kept; the rest is not read.
    pub response_bytes: usize,
    /// Idle connections kept per host.
    pub idle_per_host: usize,
    /// The User-Agent; empty for Longshore's own with its version.
    pub user_agent: String,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client: {0}")]
pub struct TransportError(#[from] reqwest::Error);

/// Who we say we are.
const AGENT: &str = concat!("Longshore/", env!("CARGO_PKG_VERSION"));
/// Idle connections are closed after this long; most receivers do so after 60 s or more.
const IDLE: Duration = Duration::from_secs(55);
/// Longest error text kept.
const ERROR_MOST: usize = 300;

/// The webhook client; cheap to clone.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
    settings: Arc<HttpSettings>,
}

impl HttpTransport {
    /// Builds the client.
    ///
    /// # Errors
    /// [`TransportError`] when TLS cannot be set up, e.g. for lack of root certificates.
    pub fn new(settings: HttpSettings) -> Result<Self, TransportError> {
        let settings = Arc::new(settings);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy from the environment would connect where the guard cannot look.
            .no_proxy()
            .dns_resolver(Arc::new(GuardedResolver { guard: settings.guard.clone() }))
            .pool_max_idle_per_host(settings.idle_per_host)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .user_agent(if settings.user_agent.is_empty() { AGENT } else { &settings.user_agent })
            .build()?;
        Ok(Self { client, settings })
    }

    /// Why the guard refuses the request before any name is resolved.
    fn refuses(&self, request: &SignedRequest) -> Option<&'static str> {
        if request.url.scheme() != "https" && !(self.settings.allow_http && request.url.scheme() == "http") {
            return Some(
                "the endpoint's URL is not https; set `security.allow_http_endpoints` to send in the clear",
            );
        }
        let ports = &self.settings.allowed_ports;
        if !ports.is_empty() && !request.url.port_or_known_default().is_some_and(|port| ports.contains(&port))
        {
            return Some(
                "the endpoint's port is not one that webhooks may go to; see `security.allowed_ports`",
            );
        }
        let address = match request.url.host()? {
            Host::Ipv4(v4) => v4.into(),
            Host::Ipv6(v6) => v6.into(),
            Host::Domain(_) => return None,
        };
        (!self.settings.guard.permits(address)).then_some(BLOCKED)
    }

    async fn exchange(&self, request: SignedRequest) -> Result<Answer, reqwest::Error> {
        let mut response =
            self.client.post(request.url).headers(request.headers).body(request.body).send().await?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemClock.now()));
        let headers = kept_headers(response.headers());
        let body = self.capped_body(&mut response).await?;
        let outcome = AttemptOutcome::Response { status, retry_after };
        Ok(Answer { outcome, headers, body, error: String::new() })
    }

    /// Reads up to the cap. What is beyond is not read; the connection is closed instead.
    async fn capped_body(&self, response: &mut reqwest::Response) -> Result<Bytes, reqwest::Error> {
        let cap = self.settings.response_bytes;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            let room = cap - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(body.freeze())
    }
}

const BLOCKED: &str =
    "the endpoint's address is not one that webhooks may go to; see `security.allowed_networks`";

impl Transport for HttpTransport {
    async fn send(&self, request: SignedRequest) -> Answer {
        if let Some(problem) = self.refuses(&request) {
            return failed(AttemptOutcome::Blocked, problem.to_owned());
        }
        let timeout = request.timeout;
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => failed(classify(&error), describe(&error)),
            Err(_) => failed(
                AttemptOutcome::Timeout,
                format!("no complete answer within {} ms", timeout.as_millis()),
            ),
        }
    }
}

fn failed(outcome: AttemptOutcome, error: String) -> Answer {
    Answer { outcome, headers: Headers::default(), body: Bytes::new(), error }
}

fn kept_headers(headers: &HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

/// The innermost causes say what happened; reqwest's own kinds are too coarse.
fn classify(error: &reqwest::Error) -> AttemptOutcome {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if at.is::<Blocked>() {
            return AttemptOutcome::Blocked;
        }
        if at.is::<Unresolved>() {
            return AttemptOutcome::Dns;
        }
        if let Some(io) = at.downcast_ref::<std::io::Error>() {
            return if is_tls(io) { AttemptOutcome::Tls } else { AttemptOutcome::Connect };
        }
        cause = at.source();
    }
    if error.is_connect() { AttemptOutcome::Connect } else { AttemptOutcome::Protocol }
}

/// rustls' errors travel inside IO errors, which may be inside each other.
fn is_tls(error: &std::io::Error) -> bool {
    if error.kind() == std::io::ErrorKind::InvalidData {
        return true;
    }
    error.get_ref().is_some_and(|inner| match inner.downcast_ref::<std::io::Error>() {
        Some(inner) => is_tls(inner),
        None => inner.to_string().contains("certificate"),
    })
}

/// The chain of causes without the URL, which may hold a token.
fn describe(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(at) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&at.to_string());
        cause = at.source();
    }
    if text.is_empty() {
        text.push_str("the request failed");
    }
    text.chars().filter(|c| !c.is_control()).take(ERROR_MOST).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("{}", BLOCKED)]
struct Blocked;

#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve: {0}")]
struct Unresolved(String);

/// Resolves names and leaves out every address that the guard does not permit.
struct GuardedResolver {
    guard: Guard,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|error| Unresolved(error.to_string()))?
                .collect();
            if found.is_empty() {
                return Err(Unresolved("no address".to_owned()).into());
            }
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|at| guard.permits(at.ip())).collect();
            if permitted.is_empty() {
                return Err(Blocked.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
