//! Keep-alive connections that post events as fast as they are answered.
//!
//! Written by hand, since a client library would cost more than the gateway: a request is a copy and a write, an
//! answer is its status and its length.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::{payload, setup};

/// What the load saw.
#[derive(Debug)]
pub struct Posted {
    /// Events accepted.
    pub accepted: usize,
    /// How long each accepted request took.
    pub latencies: Vec<Duration>,
    /// Requests answered otherwise than with 201.
    pub refused: usize,
    /// From the first request to the last answer.
    pub took: Duration,
}

/// Posts events 0 to `count` over that many connections, one by one or, with `batch` above 1, as batches of so many.
///
/// # Errors
/// When a connection breaks.
pub async fn post(addr: SocketAddr, connections: u32, count: u32, batch: u32) -> anyhow::Result<Posted> {
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..connections {
        tasks.spawn(connection(addr, Arc::clone(&next), count, batch.max(1)));
    }
    let mut posted = Posted {
        accepted: 0,
        latencies: Vec::with_capacity(count as usize),
        refused: 0,
        took: Duration::ZERO,
    };
    while let Some(done) = tasks.join_next().await {
        let done = done??;
        posted.accepted += done.accepted;
        posted.latencies.extend(done.latencies);
        posted.refused += done.refused;
    }
    posted.took = started.elapsed();
    Ok(posted)
}

async fn connection(
    addr: SocketAddr,
    next: Arc<AtomicU32>,
    count: u32,
    batch: u32,
) -> anyhow::Result<Posted> {
    let mut client = Client::connect(addr, setup::API_KEY).await?;
    let mut posted = Posted { accepted: 0, latencies: Vec::new(), refused: 0, took: Duration::ZERO };
    let kind = if batch > 1 { "/batch" } else { "" };
    let (endpoint, path) = (setup::endpoint(0), format!("/api/v1/projects/{}/events{kind}", setup::PROJECT));
    loop {
        let first = next.fetch_add(batch, Ordering::Relaxed);
        if first >= count {
            return Ok(posted);
        }
        let events = first..count.min(first + batch);
        let body = match batch {
            1 => payload::envelope(&endpoint, first),
            _ => array(&endpoint, events.clone()),
        };
        let started = Instant::now();
        match client.post(&path, &body).await? {
            201 => {
                posted.accepted += events.len();
                posted.latencies.push(started.elapsed());
            }
            _ => posted.refused += 1,
        }
    }
}

/// Those events as a batch.
fn array(endpoint: &str, events: Range<u32>) -> Vec<u8> {
    let mut body = vec![b'['];
    for n in events {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(&payload::envelope(endpoint, n));
    }
    body.push(b']');
    body
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    headers: String,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects; nothing is sent yet.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(addr: SocketAddr, api_key: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let headers =
            format!("host: {addr}\r\nauthorization: Bearer {api_key}\r\ncontent-type: application/json\r\n");
        Ok(Self { stream, headers, buffer: Vec::with_capacity(4096) })
    }

    /// Posts JSON and returns the answer's status.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<u16> {
        self.buffer.clear();
        let (headers, length) = (&self.headers, body.len());
        write!(self.buffer, "POST {path} HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n")?;
        self.buffer.extend_from_slice(body);
        self.stream.write_all(&self.buffer).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the gateway closed a connection");
            if let Some(status) = answer(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// The status, once the whole answer is there.
fn answer(buffer: &[u8]) -> anyhow::Result<Option<u16>> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..head]).context("the answer's head is not text")?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .context("an answer without a length")?;
    Ok((buffer.len() >= head + 4 + length).then_some(status))
}
