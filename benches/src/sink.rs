//! A webhook receiver of a few system calls per event.
//!
//! It reads just enough HTTP/1.1 for a well-behaved client with keep-alive: the end of the head, `content-length`,
//! `webhook-id`. It checks no signature; the demo and the tests do. Invariant: an arrival is on record before it is
//! answered.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::payload;

const REFUSAL: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
/// Requests to paths that begin with this are answered with 500.
const FAIL_PATH: &[u8] = b"POST /fail";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Requests to paths that begin with this are answered after [`HANG`].
const SLOW_PATH: &[u8] = b"POST /slow";
const HANG: Duration = Duration::from_secs(10);
/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// The sink; it ends with the value.
#[derive(Debug)]
pub struct Sink {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

/// What has arrived.
#[derive(Debug, Default)]
pub struct State {
    /// When each event arrived first, by its number.
    pub arrivals: Vec<Option<Instant>>,
    /// Events that arrived.
    pub events: usize,
    /// Webhooks, repeated ones included.
    pub webhooks: usize,
    /// When the first webhook arrived, and the last.
    pub webhooks_from_to: Option<(Instant, Instant)>,
    /// The first arrival on a connection that was made after the last [`Sink::mark`].
    pub first_since_mark: Option<Instant>,
    ids: HashSet<Box<[u8]>>,
    mark: u32,
}

impl State {
    /// Different `webhook-id`s.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids.len()
    }

    /// First and last of the first arrivals.
    #[must_use]
    pub fn span(&self) -> Option<(Instant, Instant)> {
        let arrivals = || self.arrivals.iter().flatten().copied();
        Some((arrivals().min()?, arrivals().max()?))
    }

    fn record(&mut self, mark: u32, id: Option<&[u8]>, body: &[u8]) {
        let now = Instant::now();
        self.webhooks += 1;
        let from = self.webhooks_from_to.map_or(now, |(from, _)| from);
        self.webhooks_from_to = Some((from, now));
        if mark == self.mark {
            self.first_since_mark.get_or_insert(now);
        }
        if let Some(id) = id.filter(|id| !self.ids.contains(*id)) {
            self.ids.insert(id.into());
        }
        let Some(n) = payload::number(body) else { return };
        let n = n as usize;
        if n >= self.arrivals.len() {
            self.arrivals.resize(n + 1, None);
        }
        if self.arrivals[n].is_none() {
            self.arrivals[n] = Some(now);
            self.events += 1;
        }
    }
}

impl Sink {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { mark: 1, ..State::default() }));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { addr, state, accepting })
    }

    /// The URL of an endpoint, e.g. of `/fast`; below `/slow` it hangs, below `/fail` it answers 500.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What has arrived so far.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// From now on looks out for a first arrival on a connection that does not exist yet.
    pub fn mark(&self) {
        let mut state = self.state();
        state.mark += 1;
        state.first_since_mark = None;
    }

    /// Waits until `count` events have arrived, or nothing has for a while. Says how it is getting on.
    pub async fn wait_for(&self, count: usize) {
        self.wait_until(|state| state.events >= count).await;
    }

    /// Waits until that is so, or nothing has arrived for a while. Says how it is getting on.
    pub async fn wait_until(&self, is_done: impl Fn(&State) -> bool) {
        let (mut seen, mut since, mut said) = (0, Instant::now(), Instant::now());
        loop {
            let events = {
                let state = self.state();
                if is_done(&state) {
                    return;
                }
                state.webhooks
            };
            if events != seen {
                (seen, since) = (events, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return;
            }
            if said.elapsed() > Duration::from_secs(2) {
                eprintln!("  {events} delivered");
                said = Instant::now();
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mark = lock(&state).mark;
        tokio::spawn(serve(stream, mark, Arc::clone(&state)));
    }
}

async fn serve(mut stream: TcpStream, mark: u32, state: Arc<Mutex<State>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some(request) = Head::parse(&buffer).filter(|head| buffer.len() >= head.end) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        lock(&state).record(mark, request.id, &buffer[request.body..request.end]);
        let (end, is_slow) = (request.end, buffer.starts_with(SLOW_PATH));
        let answer = if buffer.starts_with(FAIL_PATH) { REFUSAL } else { ANSWER };
        buffer.drain(..end);
        if is_slow {
            tokio::time::sleep(HANG).await;
        }
        stream.write_all(answer).await?;
    }
}

/// Where things are in a request that begins with the buffer.
struct Head<'a> {
    id: Option<&'a [u8]>,
    body: usize,
    end: usize,
}

impl<'a> Head<'a> {
    fn parse(buffer: &'a [u8]) -> Option<Self> {
        let body = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let (mut id, mut length) = (None, 0);
        for line in buffer[..body].split(|&byte| byte == b'\n').skip(1) {
            if let Some(value) = value(line, b"webhook-id:") {
                id = Some(value);
            } else if let Some(value) = value(line, b"content-length:") {
                length = std::str::from_utf8(value).ok()?.parse().ok()?;
            }
        }
        Some(Self { id, body, end: body + length })
    }
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
