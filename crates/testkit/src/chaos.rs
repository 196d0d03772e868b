//! A TCP proxy in front of a real server, for faults of the network.
//!
//! It knows nothing of the protocol inside. Invariant: in every mode but [`ChaosProxy::restore`]'s, not one
//! more byte passes in either direction.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    Delay(Duration),
    Refuse,
    Stall,
    StallUpstream,
}

/// The proxy; dropping it closes its port and every connection.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    accepted: Arc<AtomicUsize>,
    _stop: DropGuard,
}

impl ChaosProxy {
    /// Listens on a free loopback port and forwards to `upstream`, e.g. `127.0.0.1:5672`.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(upstream: &str) -> Self {
        Self::start_at("127.0.0.1:0", upstream).await
    }

    /// As [`Self::start`], on an address of the caller's: for servers that tell their clients where to connect.
    ///
    /// # Panics
    /// When somebody else listens there.
    pub async fn start_at(addr: &str, upstream: &str) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a free loopback port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let (mode, cuts) = (watch::Sender::new(Mode::Forward), watch::Sender::new(0));
        let accepted = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let line = Line {
            upstream: upstream.to_owned(),
            mode: mode.subscribe(),
            cuts: cuts.subscribe(),
            stop: stop.clone(),
        };
        tokio::spawn(accept(listener, line, Arc::clone(&accepted)));
        Self { addr, mode, cuts, accepted, _stop: stop.drop_guard() }
    }

    /// Where to connect instead of the server.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `url` with its host and port replaced by the proxy's; everything else is kept.
    ///
    /// # Panics
    /// When `url` has no authority.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").expect("a URL with a scheme");
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let user = rest[..end].rfind('@').map_or("", |at| &rest[..=at]);
        format!("{scheme}://{user}{}{}", self.addr, &rest[end..])
    }

    /// `host:port` of a URL: what [`Self::start`] takes.
    #[must_use]
    pub fn authority(url: &str) -> &str {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        host.rsplit_once('@').map_or(host, |(_, host)| host)
    }

    /// Resets every open connection; new ones are forwarded as before.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Resets every open connection, and each new one as soon as it is accepted.
    pub fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
        self.cut();
    }

    /// Keeps connections open, accepts new ones, and lets nothing through: a peer that fell silent.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Keeps from the server what clients send, and lets everything from the server through. To drop what is kept
    /// back, [`Self::cut`] before [`Self::restore`].
    pub fn stall_upstream(&self) {
        self.mode.send_replace(Mode::StallUpstream);
    }

    /// Lets everything through, each piece that much later: a server far away, or one that is slow to answer.
    pub fn delay(&self, by: Duration) {
        self.mode.send_replace(Mode::Delay(by));
    }

    /// Forwards again. Connections that were stalled go on where they were.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Forward);
    }

    /// Connections accepted so far, refused ones included.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Line {
    upstream: String,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
    stop: CancellationToken,
}

async fn accept(listener: TcpListener, line: Line, accepted: Arc<AtomicUsize>) {
    while let Some(Ok((client, _))) = line.stop.run_until_cancelled(listener.accept()).await {
        accepted.fetch_add(1, Ordering::Relaxed);
        let mut line = line.clone();
        line.cuts.mark_unchanged();
        tokio::spawn(async move { line.carry(client).await });
    }
}

impl Line {
    /// Carries one connection until an end closes it or a cut comes, and then resets what is left of it.
    async fn carry(mut self, mut client: TcpStream) {
        let _ = client.set_nodelay(true);
        if *self.mode.borrow() != Mode::Refuse {
            let (stop, mut cuts) = (self.stop.clone(), self.cuts.clone());
            tokio::select! {
                biased;
                _ = cuts.changed() => {}
                () = stop.cancelled() => {}
                () = self.join(&mut client) => return,
            }
        }
        let _ = client.set_zero_linger(); // a close then sends a reset
    }

    fn valve(&self, is_open: fn(Mode) -> bool) -> Valve {
        Valve { is_open, mode: self.mode.clone(), cuts: self.cuts.clone() }
    }

    async fn join(&mut self, client: &mut TcpStream) {
        if self.mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let Ok(mut server) = TcpStream::connect(&self.upstream).await else { return };
        let _ = server.set_nodelay(true);
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let (up, down) = (
            self.valve(|mode| matches!(mode, Mode::Forward | Mode::Delay(_))),
            self.valve(|mode| mode != Mode::Stall),
        );
        tokio::join!(
            pump(&mut from_client, &mut to_server, up),
            pump(&mut from_server, &mut to_client, down)
        );
    }
}

/// Lets one direction of a connection through, or not.
struct Valve {
    is_open: fn(Mode) -> bool,
    mode: watch::Receiver<Mode>,
    cuts: watch::Receiver<u64>,
}

impl Valve {
    fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// Waits until data may pass; false when the connection was cut meanwhile: what was kept back is lost.
    async fn opened(&mut self) -> bool {
        let is_open = self.is_open;
        let opened = self.mode.wait_for(|mode| is_open(*mode)).await.is_ok();
        opened && !self.cuts.has_changed().unwrap_or(true)
    }
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut valve: Valve,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if !valve.opened().await {
            return;
        }
        if let Mode::Delay(by) = valve.mode() {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // The end of a stream is news too, and a stalled line carries none.
    if valve.opened().await {
        let _ = to.shutdown().await;
    }
}
