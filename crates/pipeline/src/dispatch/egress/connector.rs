//! Makes connections: name, guard, TCP, proxy, TLS; all within one time.
//!
//! What it does not do: keep connections; the client's pool does. Invariants: nothing is connected to that the guard did
//! not permit at this very moment, remembered names included, and what was checked is what is connected to. Through a
//! proxy that resolves names itself only the name can be checked here, and what it resolves to here.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;
use url::Host;

use super::fault::{ConnectError, reached};
use super::guard::Guard;
use super::proxy::{Proxy, ProxyKind};
use super::resolver::Resolver;
use super::stream::{Connections, Link, Stream};
use super::tunnel;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Resolves names to addresses that the guard permits for a project.
#[derive(Clone)]
pub(super) struct Permitted {
    pub(super) resolver: Arc<Resolver>,
    pub(super) guard: Arc<Guard>,
    /// The hosts that the project opened.
    pub(super) opened: Arc<[String]>,
}

impl Permitted {
    fn check(&self, address: IpAddr, name: Option<&str>) -> Result<(), ConnectError> {
        Ok(self.guard.check(address, name, &self.opened)?)
    }

    /// The permitted ones of a name's addresses; never empty.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let mut denied = None;
        let mut permitted = Vec::new();
        for address in self.resolver.resolve(name).await?.iter() {
            match self.guard.check(*address, Some(name), &self.opened) {
                Ok(()) => permitted.push(*address),
                Err(denial) => denied = Some(denial),
            }
        }
        match denied {
            Some(denial) if permitted.is_empty() => Err(denial.into()),
            _ => Ok(permitted),
        }
    }
}

impl Service<Name> for Permitted {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectError;
    type Future = Boxed<Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let addresses = this.addresses(name.as_str()).await?;
            Ok(addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0))
                .collect::<Vec<_>>()
                .into_iter())
        })
    }
}

/// What a connector of one profile works with.
pub(super) struct Parts {
    pub(super) permitted: Permitted,
    pub(super) source: Option<IpAddr>,
    /// The proxy, and the TLS to it.
    pub(super) proxy: Option<(Proxy, ClientConfig)>,
    pub(super) tls: ClientConfig,
    pub(super) connections: Arc<Connections>,
    pub(super) timeout: Duration,
}

/// Connects by one profile; clones are cheap.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    permitted: Permitted,
    direct: HttpConnector<Permitted>,
    proxy: Option<Via>,
    /// Offers HTTP/2 and HTTP/1.1.
    tls: TlsConnector,
    /// Offers HTTP/1.1 alone.
    tls_h1: TlsConnector,
    connections: Arc<Connections>,
    timeout: Duration,
}

struct Via {
    proxy: Proxy,
    /// Its own address gets nothing of what the project opened.
    permitted: Permitted,
    tcp: HttpConnector<Permitted>,
    tls: TlsConnector,
}

impl Connector {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { permitted, source, proxy, tls, connections, timeout } = parts;
        let tcp = |permitted: &Permitted| {
            let mut tcp = HttpConnector::new_with_resolver(permitted.clone());
            tcp.enforce_http(false);
            tcp.set_nodelay(true);
            tcp.set_local_address(source);
            tcp.set_connect_timeout(Some(timeout));
            tcp.set_keepalive(Some(Duration::from_secs(60)));
            tcp
        };
        let via = proxy.map(|(proxy, tls)| {
            let permitted = Permitted { opened: Arc::from([]), ..permitted.clone() };
            Via { proxy, tcp: tcp(&permitted), permitted, tls: Arc::new(tls).into() }
        });
        let offering = |protocols: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsConnector::from(Arc::new(tls))
        };
        Self(Arc::new(Inner {
            direct: tcp(&permitted),
            permitted,
            proxy: via,
            tls: offering(&[b"h2", b"http/1.1"]),
            tls_h1: offering(&[b"http/1.1"]),
            connections,
            timeout,
        }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = ConnectError;
    type Future = Boxed<Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let started = tokio::time::Instant::now();
            let link = tokio::time::timeout(inner.timeout, inner.connect(target)).await;
            let link = link.unwrap_or_else(|_| Err(ConnectError::Slow(inner.timeout)))?;
            metrics::histogram!("dispatch_connect_seconds").record(started.elapsed().as_secs_f64());
            Ok(TokioIo::new(link))
        })
    }
}

impl Inner {
    async fn connect(&self, target: Uri) -> Result<Link, ConnectError> {
        let text = target.host().unwrap_or_default();
        let host = Host::parse(text).map_err(|error| ConnectError::Tcp(format!("the host: {error}")))?;
        let is_tls = target.scheme_str() == Some("https");
        let port = target.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = match &self.proxy {
            None => dial(&self.permitted, self.direct.clone(), &host, target).await?,
            Some(via) => self.connect_through(via, &host, port).await?,
        };
        let stream = if is_tls {
            // Many connections are open: one that is not kept should not carry HTTP/2 for others.
            let tls = if self.connections.are_many() { &self.tls_h1 } else { &self.tls };
            encrypt(tls, &host, stream).await?
        } else {
            stream
        };
        Ok(Link::new(stream, Arc::clone(&self.connections)))
    }

    async fn connect_through(
        &self,
        via: &Via,
        host: &Host<String>,
        port: u16,
    ) -> Result<Stream, ConnectError> {
        let sends_names = via.proxy.kind != ProxyKind::Socks5 { sends_names: false };
        let target = match host {
            Host::Ipv4(address) => self.permitted.check((*address).into(), None).map(|()| host.clone())?,
            Host::Ipv6(address) => self.permitted.check((*address).into(), None).map(|()| host.clone())?,
            Host::Domain(name) => match (self.permitted.addresses(name).await, sends_names) {
                (Ok(_), true) => host.clone(),
                // The proxy may know names that nobody knows here.
                (Err(ConnectError::Unresolved(_)), true) => host.clone(),
                (Ok(addresses), false) => match addresses.first() {
                    Some(IpAddr::V4(address)) => Host::Ipv4(*address),
                    Some(IpAddr::V6(address)) => Host::Ipv6(*address),
                    None => host.clone(),
                },
                (Err(error), _) => return Err(error),
            },
        };
        let said = |error: ConnectError| match error {
            ConnectError::Blocked(_) => error,
            other => ConnectError::Proxy(other.to_string()),
        };
        let uri = via.proxy.uri().map_err(|error| ConnectError::Proxy(error.to_string()))?;
        let stream = dial(&via.permitted, via.tcp.clone(), &via.proxy.host, uri).await;
        let mut stream = stream.map_err(said)?;
        if via.proxy.kind == (ProxyKind::Http { tls: true }) {
            stream = encrypt(&via.tls, &via.proxy.host, stream).await.map_err(said)?;
        }
        tunnel::open(&mut stream, &via.proxy, &target, port).await.map_err(ConnectError::Proxy)?;
        Ok(stream)
    }
}

/// TCP to a host: an address is checked here, a name's addresses when it is resolved.
async fn dial(
    permitted: &Permitted,
    mut tcp: HttpConnector<Permitted>,
    host: &Host<String>,
    target: Uri,
) -> Result<Stream, ConnectError> {
    match host {
        Host::Ipv4(address) => permitted.check((*address).into(), None)?,
        Host::Ipv6(address) => permitted.check((*address).into(), None)?,
        Host::Domain(_) => {}
    }
    let connected = tcp.call(target).await.map_err(|error| reached(&error))?;
    Ok(Stream::Tcp(connected.into_inner()))
}

async fn encrypt(tls: &TlsConnector, host: &Host<String>, stream: Stream) -> Result<Stream, ConnectError> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| {
            ConnectError::Tls(format!("`{name}` is not a name that a certificate can be made out to"))
        })?,
        Host::Ipv4(address) => ServerName::from(IpAddr::from(*address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::from(*address)),
    };
    let encrypted = tls.connect(name, stream).await.map_err(|error| ConnectError::handshake(&error))?;
    Ok(Stream::Tls(Box::new(encrypted)))
}
