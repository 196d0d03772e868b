//! Keep-alive connections that post events as fast as they are answered.
//!
//! Written by hand, since a client library would cost more than the gateway: a request is two copies and one write,
//! an answer is its status and its length.

use std::net::SocketAddr;
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
    /// How long each accepted request took.
    pub latencies: Vec<Duration>,
    /// Requests answered otherwise than with 201.
    pub refused: usize,
    /// From the first request to the last answer.
    pub took: Duration,
}

/// Posts events 0 to `count` over that many connections.
///
/// # Errors
/// When a connection breaks.
pub async fn post(addr: SocketAddr, connections: u32, count: u32) -> anyhow::Result<Posted> {
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for _ in 0..connections {
        tasks.spawn(connection(addr, Arc::clone(&next), count));
    }
    let mut posted =
        Posted { latencies: Vec::with_capacity(count as usize), refused: 0, took: Duration::ZERO };
    while let Some(done) = tasks.join_next().await {
        let (latencies, refused) = done??;
        posted.latencies.extend(latencies);
        posted.refused += refused;
    }
    posted.took = started.elapsed();
    Ok(posted)
}

async fn connection(
    addr: SocketAddr,
    next: Arc<AtomicU32>,
    count: u32,
) -> anyhow::Result<(Vec<Duration>, usize)> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut latencies, mut refused) = (Vec::new(), 0);
    let (endpoint, mut buffer) = (setup::endpoint(0), Vec::with_capacity(4096));
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= count {
            return Ok((latencies, refused));
        }
        let request = request(addr, &payload::envelope(&endpoint, n));
        let started = Instant::now();
        stream.write_all(&request).await?;
        match answer(&mut stream, &mut buffer).await? {
            201 => latencies.push(started.elapsed()),
            _ => refused += 1,
        }
    }
}

fn request(addr: SocketAddr, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /api/v1/projects/{}/events HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        setup::PROJECT,
        setup::API_KEY,
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Reads one answer and returns its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    loop {
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the gateway closed a connection");
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).context("the answer's head is not text")?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        let length = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .context("an answer without a length")?;
        if buffer.len() >= head + 4 + length {
            return Ok(status);
        }
    }
}
