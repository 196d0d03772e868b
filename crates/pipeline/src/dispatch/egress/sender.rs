//! Sends a request by a route and reads its answer, tokens included; deadlines are the caller's.
//!
//! Invariants: no redirect is followed, nothing is decompressed, and no more of an answer is read than is kept.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use longshore_core::AttemptOutcome;
use longshore_core::endpoint::{Endpoint, OAuth2};
use longshore_core::project::EgressSettings;
use url::Url;

use super::clients::{Client, Clients, Make, Route};
use super::fault::{Fault, classify, is_unprocessed};
use super::oauth2::{self, Token, Tokens};
use super::resolver::Resolver;
use super::stream::{Connections, Remote};
use super::tls::{Tls, Trust};
use super::url::EgressRules;
use crate::dispatch::http::HttpSettings;

/// An authorization server's answer is no longer.
const TOKEN_ANSWER: usize = 64 * 1024;
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Sends requests.
pub(in crate::dispatch) struct Sender {
    clients: Clients,
    tokens: Tokens,
    rules: EgressRules,
    connections: Arc<Connections>,
    user_agent: HeaderValue,
}

/// What came back.
pub(in crate::dispatch) struct Received {
    pub(in crate::dispatch) status: u16,
    pub(in crate::dispatch) headers: HeaderMap,
    pub(in crate::dispatch) remote: Option<IpAddr>,
    body: Incoming,
}

impl Received {
    /// Reads up to the cap. What is beyond is not read; the connection is closed instead.
    pub(in crate::dispatch) async fn body(&mut self, cap: usize) -> Result<Bytes, Fault> {
        let mut kept = BytesMut::new();
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| classify(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            let room = cap - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() >= room {
                break;
            }
        }
        Ok(kept.freeze())
    }
}

impl Sender {
    pub(in crate::dispatch) fn new(settings: &HttpSettings, agent: &str) -> Result<Self, String> {
        let connections = Arc::new(Connections::new(settings.kept_connections));
        let make = Make {
            resolver: Arc::new(Resolver::new(settings.dns.clone())?),
            guard: Arc::new(settings.rules.guard.clone()),
            tls: Tls::new().map_err(|error| format!("TLS: {error}"))?,
            connections: Arc::clone(&connections),
            connect_timeout: settings.connect_timeout,
            idle_per_host: settings.idle_per_host,
        };
        let user_agent =
            HeaderValue::try_from(agent).map_err(|_| "the User-Agent is no header's value".to_owned())?;
        Ok(Self {
            clients: Clients::new(make)?,
            tokens: Tokens::new(),
            rules: settings.rules.clone(),
            connections,
            user_agent,
        })
    }

    /// The token of a route whose endpoint wants one.
    pub(in crate::dispatch) async fn token(&self, route: &Route) -> Result<Option<Token>, Fault> {
        let Some(endpoint) = &route.endpoint else { return Ok(None) };
        let Some(settings) = oauth2::settings(endpoint) else { return Ok(None) };
        // On the heap: few endpoints have tokens, and every attempt would carry the room for it.
        Box::pin(self.fetch_token(route, endpoint, settings)).await.map(Some)
    }

    async fn fetch_token(
        &self,
        route: &Route,
        endpoint: &Arc<Endpoint>,
        settings: &OAuth2,
    ) -> Result<Token, Fault> {
        let ask = async |request: Request<Bytes>| self.ask(route, settings, request).await;
        let token = self.tokens.get(endpoint, settings, ask).await;
        token.map_err(|problem| Fault::new(AttemptOutcome::Authentication, &format!("no token: {problem}")))
    }

    /// A token that nobody keeps, and how long it lives.
    pub(in crate::dispatch) async fn fresh_token(
        &self,
        route: &Route,
        settings: &OAuth2,
    ) -> Result<(Token, Duration), String> {
        let (status, body) = self.ask(route, settings, oauth2::request(settings)?).await?;
        oauth2::read(settings, status, &body)
    }

    /// Asks an authorization server.
    async fn ask(
        &self,
        route: &Route,
        settings: &OAuth2,
        request: Request<Bytes>,
    ) -> Result<(u16, Bytes), String> {
        self.permits(route, &settings.url).map_err(|fault| fault.text)?;
        let client = self.clients.of(route, Trust::Both).map_err(|fault| fault.text)?;
        let (head, body) = request.into_parts();
        let mut received =
            self.exchange(&client, head.uri, head.headers, body).await.map_err(|fault| fault.text)?;
        let body = received.body(TOKEN_ANSWER).await.map_err(|fault| fault.text)?;
        Ok((received.status, body))
    }

    /// Forgets a token that the route's endpoint refused.
    pub(in crate::dispatch) fn refused(&self, route: &Route, token: &Token) {
        if let Some(endpoint) = &route.endpoint {
            self.tokens.refused(endpoint.id, token);
        }
    }

    /// Sends a POST by a route. The body of the answer is still to be read.
    pub(in crate::dispatch) async fn post(
        &self,
        route: &Route,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
        token: Option<Token>,
    ) -> Result<Received, Fault> {
        self.permits(route, url)?;
        let client = self.clients.of(route, Trust::Own)?;
        let uri = Uri::try_from(url.as_str())
            .map_err(|error| Fault::new(AttemptOutcome::Blocked, &format!("the URL: {error}")))?;
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token);
        }
        self.exchange(&client, uri, headers, body).await
    }

    /// The same checks as at registration: what is allowed may have changed since.
    fn permits(&self, route: &Route, url: &Url) -> Result<(), Fault> {
        let nothing = EgressSettings::default();
        let project = route.project.as_ref().map_or(&nothing, |project| &project.settings.egress);
        let checked = self.rules.check(url, project);
        checked.map_err(|error| Fault::new(AttemptOutcome::Blocked, &format!("the URL's {error}")))
    }

    async fn exchange(
        &self,
        client: &Client,
        uri: Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Received, Fault> {
        headers.entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        headers.remove(HOST);
        if self.connections.are_many() {
            headers.insert(CONNECTION, CLOSE);
        }
        // Only HTTP/2 says that it has not processed a request, and only over TLS is it spoken.
        let mut again =
            (uri.scheme() == Some(&Scheme::HTTPS)).then(|| (uri.clone(), headers.clone(), body.clone()));
        let mut next = (uri, headers, body);
        loop {
            let (uri, headers, body) = next;
            let mut request = Request::new(Full::new(body));
            *request.method_mut() = Method::POST;
            *request.uri_mut() = uri;
            *request.headers_mut() = headers;
            match (client.request(request).await, again.take()) {
                (Ok(response), _) => {
                    let (head, body) = response.into_parts();
                    let remote = head.extensions.get::<Remote>().map(|Remote(address)| *address);
                    return Ok(Received {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        remote,
                        body,
                    });
                }
                (Err(error), Some(once_more)) if is_unprocessed(&error) => next = once_more,
                (Err(error), _) => return Err(classify(&error)),
            }
        }
    }
}
