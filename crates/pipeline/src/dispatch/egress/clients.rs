//! The keep-alive clients: one that all share, and one for each way out that differs.
//!
//! A way out is a project's proxy, source address and opened hosts, an endpoint's client certificate and authorities.
//! Connections of different ways are never mixed: one that a project's opened hosts permitted, or that shows its
//! certificate, is not for another. What it does not do: send. Invariants: an attempt by the shared way looks nothing
//! up; never more than [`MOST`] clients besides the shared one.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use longshore_core::AttemptOutcome;
use longshore_core::endpoint::{ClientCertificate, Endpoint};
use longshore_core::project::Project;
use tokio::time::Instant;

use super::connector::{Connector, Parts, Permitted};
use super::fault::Fault;
use super::guard::Guard;
use super::proxy::Proxy;
use super::resolver::Resolver;
use super::stream::Connections;
use super::tls::{Tls, Trust};

/// Clients of ways of their own; beyond it, the one that was used longest ago goes.
const MOST: usize = 256;
/// Such a client goes when it has not been used for so long.
const UNUSED: Duration = Duration::from_secs(600);
/// Idle connections are closed after this long; most receivers do so after 60 s or more.
const IDLE: Duration = Duration::from_secs(55);
/// A response's head over HTTP/1.1 and over HTTP/2; hyper stops at 100 headers besides.
const HEAD_BYTES: usize = 64 * 1024;
/// A connection with HTTP/2 requests in flight is asked whether it lives, and given up when it does not say so.
const PING: Duration = Duration::from_secs(15);
const PONG: Duration = Duration::from_secs(10);

/// A client with its pool.
pub(super) type Client = legacy::Client<Connector, Full<Bytes>>;

/// Whose request it is: what its way out follows from.
#[derive(Clone, Debug, Default)]
pub struct Route {
    pub(in crate::dispatch) endpoint: Option<Arc<Endpoint>>,
    pub(in crate::dispatch) project: Option<Arc<Project>>,
}

impl Route {
    /// The way of an endpoint's requests.
    #[must_use]
    pub fn of(endpoint: &Arc<Endpoint>, project: Option<&Arc<Project>>) -> Self {
        Self { endpoint: Some(Arc::clone(endpoint)), project: project.cloned() }
    }

    /// The way of what goes out for a project itself.
    #[must_use]
    pub fn of_project(project: &Arc<Project>) -> Self {
        Self { endpoint: None, project: Some(Arc::clone(project)) }
    }
}

/// What makes a way differ.
#[derive(PartialEq, Eq, Hash)]
struct Profile<'a> {
    proxy: Option<&'a str>,
    source: Option<IpAddr>,
    certificate: Option<(&'a str, &'a str)>,
    ca: Option<&'a str>,
    opened: &'a [String],
    trust: Trust,
}

impl<'a> Profile<'a> {
    fn of(route: &'a Route, guard: &Guard, trust: Trust) -> Self {
        let credentials = route.endpoint.as_ref().map(|endpoint| &endpoint.credentials);
        let ca = credentials.and_then(|found| found.ca.as_deref());
        Self {
            proxy: route
                .project
                .as_ref()
                .and_then(|found| found.credentials.proxy.as_ref())
                .map(|url| url.expose().as_str()),
            source: route.project.as_ref().and_then(|found| found.settings.egress.source_address),
            certificate: credentials
                .and_then(|found| found.client_certificate.as_ref())
                .map(|pair| (pair.certificate.as_str(), pair.key.expose().as_str())),
            ca,
            opened: route
                .project
                .as_ref()
                .map_or(&[], |found| guard.effective(&found.settings.egress.allowed_hosts)),
            trust: if ca.is_some() { trust } else { Trust::Own },
        }
    }

    const fn is_shared(&self) -> bool {
        self.proxy.is_none()
            && self.source.is_none()
            && self.certificate.is_none()
            && self.ca.is_none()
            && self.opened.is_empty()
    }
}

/// A client of a way of its own. The route is whose it was first; whoever has an equal profile shares it.
struct Entry {
    route: Route,
    trust: Trust,
    client: Client,
    used: Instant,
}

/// Every client.
pub(super) struct Clients {
    shared: Client,
    own: Mutex<HashMap<u64, Entry>>,
    hasher: RandomState,
    make: Make,
}

/// What clients are made with.
pub(super) struct Make {
    pub(super) resolver: Arc<Resolver>,
    pub(super) guard: Arc<Guard>,
    pub(super) tls: Tls,
    pub(super) connections: Arc<Connections>,
    pub(super) connect_timeout: Duration,
    pub(super) idle_per_host: usize,
}

impl Clients {
    /// # Errors
    /// What keeps the shared client from being made.
    pub(super) fn new(make: Make) -> Result<Self, String> {
        let shared = make.client(&Route::default(), Trust::Own)?;
        Ok(Self { shared, own: Mutex::default(), hasher: RandomState::new(), make })
    }

    /// The client for a route.
    ///
    /// # Errors
    /// What is wrong with its certificate, authorities or proxy.
    pub(super) fn of(&self, route: &Route, trust: Trust) -> Result<Client, Fault> {
        let profile = Profile::of(route, &self.make.guard, trust);
        if profile.is_shared() {
            return Ok(self.shared.clone());
        }
        let key = self.hasher.hash_one(&profile);
        let now = Instant::now();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = own.get_mut(&key)
            && Profile::of(&entry.route, &self.make.guard, entry.trust) == profile
        {
            entry.used = now;
            return Ok(entry.client.clone());
        }
        let client = self.make.client(route, profile.trust).map_err(|problem| {
            let outcome =
                if problem.starts_with("the proxy") { AttemptOutcome::Connect } else { AttemptOutcome::Tls };
            Fault::new(outcome, &problem)
        })?;
        own.retain(|_, entry| now.duration_since(entry.used) < UNUSED);
        if own.len() >= MOST
            && let Some(oldest) = own.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key)
        {
            own.remove(&oldest);
        }
        own.insert(
            key,
            Entry { route: route.clone(), trust: profile.trust, client: client.clone(), used: now },
        );
        metrics::gauge!("dispatch_egress_profiles").set(own.len() as f64);
        Ok(client)
    }
}

impl Make {
    fn client(&self, route: &Route, trust: Trust) -> Result<Client, String> {
        let project = route.project.as_deref();
        let credentials = route.endpoint.as_ref().map(|endpoint| &endpoint.credentials);
        let certificate: Option<&ClientCertificate> =
            credentials.and_then(|found| found.client_certificate.as_ref());
        let ca = credentials.and_then(|found| found.ca.as_deref());
        let proxy = match project.and_then(|found| found.credentials.proxy.as_ref()) {
            None => None,
            Some(text) => {
                let proxy = Proxy::parse(text).map_err(|problem| format!("the proxy's URL: {problem}"))?;
                Some((proxy, self.tls.configure(None, None, Trust::Own)?))
            }
        };
        let opened =
            project.map_or(&[][..], |found| self.guard.effective(&found.settings.egress.allowed_hosts));
        let connector = Connector::new(Parts {
            permitted: Permitted {
                resolver: Arc::clone(&self.resolver),
                guard: Arc::clone(&self.guard),
                opened: opened.into(),
            },
            source: project.and_then(|found| found.settings.egress.source_address),
            proxy,
            tls: self.tls.configure(certificate, ca, trust)?,
            connections: Arc::clone(&self.connections),
            timeout: self.connect_timeout,
        });
        Ok(legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(self.idle_per_host)
            .http1_max_buf_size(HEAD_BYTES)
            .http2_max_header_list_size(HEAD_BYTES as u32)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .build(connector))
    }
}

#[cfg(test)]
mod tests;
