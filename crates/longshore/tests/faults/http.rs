//! A producer by HTTP that sees every byte of an answer, and a connection that ends without one.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::stage::{API_KEY, PROJECT};

/// What a producer is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
}

/// One connection to a gateway.
#[derive(Debug)]
pub(crate) struct Producer {
    stream: TcpStream,
}

impl Producer {
    pub(crate) async fn connect(addr: std::net::SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(addr).await? })
    }

    /// Posts a broadcast event with that number and waits for the answer.
    pub(crate) async fn post(&mut self, number: u64) -> io::Result<Answer> {
        self.send(number).await?;
        self.answer().await
    }

    /// Sends the request.
    pub(crate) async fn send(&mut self, number: u64) -> io::Result<()> {
        let body = format!(r#"{{"event_type": "fault.test", "data": {{"n": {number}}}}}"#);
        let request = format!(
            "POST /api/v1/projects/{PROJECT}/events/broadcast HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {API_KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await
    }

    /// Reads one answer.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.trim().parse().unwrap()) {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return Ok(Answer { status, head });
                }
            }
            if self.stream.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
