//! A webhook receiver on the loopback that answers by script and keeps what it was sent.
//!
//! It is a real HTTP server, so connections, keep-alive and faults are real. It judges nothing by itself:
//! tests ask [`Request`] whether a signature holds. Invariant: a request is on record before its answer
//! starts.

mod reply;
mod request;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use reply::Reply;
pub use request::{Request, SignatureError};

/// The receiver; dropping it closes its port and every connection.
#[derive(Debug)]
pub struct Receiver {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    received: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, VecDeque<Reply>>,
    requests: Vec<Arc<Request>>,
    ids: HashMap<String, usize>,
    counts: HashMap<String, usize>,
    connections: usize,
    in_flight: usize,
    most_in_flight: usize,
    count_only: bool,
}

impl Receiver {
    /// Listens on a free loopback port and answers 200 to everything.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().expect("an address"), Wire::Plain).await
    }

    /// As [`Self::start`], at an address of [`crate::free_addr`], where nobody answered before.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start_at(addr: SocketAddr) -> Self {
        Self::listen(addr, Wire::Plain).await
    }

    /// As [`Self::start`], behind TLS; HTTP/2 when the acceptor offers it. See [`Self::secure_url`].
    ///
    /// # Panics
    /// When the loopback has no free port.
    #[cfg(feature = "tls")]
    pub async fn start_tls(acceptor: tokio_rustls::TlsAcceptor) -> Self {
        Self::listen("127.0.0.1:0".parse().expect("an address"), Wire::Tls(acceptor)).await
    }

    /// The `https` URL of a path on `localhost`.
    #[must_use]
    pub fn secure_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }

    async fn listen(addr: SocketAddr, wire: Wire) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free loopback port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared { state: Mutex::default(), received: watch::Sender::new(0) });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, wire, Arc::clone(&shared), stop.clone()));
        Self { addr, shared, _stop: stop.drop_guard() }
    }

    /// Its address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a path, e.g. `/orders`. Every path is an endpoint with a script of its own.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Answers requests to `path` with these replies in turn; the last one repeats for ever.
    pub fn script(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state().scripts.insert(path.to_owned(), replies.into_iter().collect());
    }

    /// From now on only counts requests and their ids and keeps none, for load.
    pub fn count_only(&self) {
        self.state().count_only = true;
    }

    /// Requests kept so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Arc<Request>> {
        self.state().requests.clone()
    }

    /// Requests kept so far to one path.
    #[must_use]
    pub fn requests_to(&self, path: &str) -> Vec<Arc<Request>> {
        self.state().requests.iter().filter(|request| request.path() == path).cloned().collect()
    }

    /// Requests so far, kept or not.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.shared.received.borrow()
    }

    /// Requests so far to one path, kept or not.
    #[must_use]
    pub fn count_to(&self, path: &str) -> usize {
        self.state().counts.get(path).copied().unwrap_or(0)
    }

    /// Different `webhook-id`s so far, whatever was answered.
    #[must_use]
    pub fn unique_ids(&self) -> usize {
        self.state().ids.len()
    }

    /// The `webhook-id`s so far.
    #[must_use]
    pub fn ids(&self) -> HashSet<String> {
        self.state().ids.keys().cloned().collect()
    }

    /// Requests that repeated a `webhook-id`.
    #[must_use]
    pub fn repeated_ids(&self) -> usize {
        self.state().ids.values().map(|times| times - 1).sum()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The most requests that were being answered at the same time so far.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// Waits until `n` requests have arrived in all and returns those kept.
    ///
    /// # Panics
    /// When they have not within `timeout`.
    pub async fn wait_for(&self, n: usize, timeout: Duration) -> Vec<Arc<Request>> {
        self.wait_until(&format!("{n} requests"), timeout, |receiver| receiver.count() >= n).await;
        self.requests()
    }

    /// Waits until `n` requests have arrived at one path and returns those kept.
    ///
    /// # Panics
    /// When they have not within `timeout`.
    pub async fn wait_for_path(&self, path: &str, n: usize, timeout: Duration) -> Vec<Arc<Request>> {
        self.wait_until(&format!("{n} requests to {path}"), timeout, |receiver| receiver.count_to(path) >= n)
            .await;
        self.requests_to(path)
    }

    /// Waits until `n` different `webhook-id`s have arrived.
    ///
    /// # Panics
    /// When they have not within `timeout`.
    pub async fn wait_for_unique(&self, n: usize, timeout: Duration) {
        self.wait_until(&format!("{n} different ids"), timeout, |receiver| receiver.unique_ids() >= n).await;
    }

    async fn wait_until(&self, what: &str, timeout: Duration, mut done: impl FnMut(&Self) -> bool) {
        let mut received = self.shared.received.subscribe();
        let arrived = tokio::time::timeout(timeout, async {
            // Not `wait_for`: `done` reads the same channel, and a second read lock inside the first is a deadlock.
            while !done(self) {
                received.changed().await.expect("the receiver lives");
            }
        });
        let arrived = arrived.await.is_ok();
        assert!(
            arrived,
            "waited {timeout:?} for {what}: {} arrived, {} different, by path {:?}",
            self.count(),
            self.unique_ids(),
            self.state().counts
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the request on record and returns its answer.
    fn take(&self, request: Request) -> Reply {
        let mut state = self.state();
        let path = request.path().to_owned();
        if let Some(id) = request.webhook_id() {
            *state.ids.entry(id.to_owned()).or_default() += 1;
        }
        let reply = match state.scripts.get_mut(&path) {
            Some(script) if script.len() > 1 => script.pop_front(),
            Some(script) => script.front().cloned(),
            None => None,
        };
        *state.counts.entry(path).or_default() += 1;
        if !state.count_only {
            state.requests.push(Arc::new(request));
        }
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        drop(state);
        self.received.send_modify(|received| *received += 1);
        reply.unwrap_or_default()
    }
}

/// How connections are spoken over.
#[derive(Clone)]
enum Wire {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

async fn accept(listener: TcpListener, wire: Wire, shared: Arc<Shared>, stop: CancellationToken) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        shared.state().connections += 1;
        let serving = serve(stream, wire.clone(), Arc::clone(&shared));
        tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
    }
}

async fn serve(stream: TcpStream, wire: Wire, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, &shared));
    // An error is the client's hanging up, or a scripted close.
    match wire {
        Wire::Plain => {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
        #[cfg(feature = "tls")]
        Wire::Tls(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                let shared = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { answer(request, &shared).await }
                });
                let http2 = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = http2.serve_connection(TokioIo::new(stream), service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
    }
}

/// Counts a request as being answered for as long as it lives, however the answer ends.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

async fn answer(
    request: http::Request<Incoming>,
    shared: &Shared,
) -> Result<http::Response<reply::ReplyBody>, reply::Closed> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Err(reply::Closed) };
    let reply = shared.take(Request { at, parts, body: body.to_bytes() });
    let _in_flight = InFlight(shared);
    reply.into_response().await
}
