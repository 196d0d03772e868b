//! A real server on a local port, a client that writes raw HTTP, and a gate with a few keys.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use longshore_source::{Inbound, Message, Receipt, Source as _};
use longshore_source_http::{
    Admission, Denied, Gate, HttpIngestConfig, HttpSource, Inbox, Letter, Letterbox, Opened, Rate, routes,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const PROJECT: u128 = 0x0123;
pub(crate) const EVENT: u128 = 0x0156_3E3A_B5D3_D676_4C61_EFB9_9302_BD5B;
pub(crate) const EVENT_TEXT: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// The deadline of [`config`], far longer than any test takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(600);
/// Largest body of one event.
pub(crate) const BODY_LIMIT: usize = 64;

struct TestGate;

impl Gate for TestGate {
    fn admit(&self, project: &str, bearer: Option<&str>) -> Result<Admission, Denied> {
        match (bearer, project) {
            (Some("down"), _) => Err(Denied::Unavailable),
            (Some("good"), "acme") => {
                Ok(Admission { project: PROJECT, max_body_bytes: BODY_LIMIT, rate: None })
            }
            (Some("fast"), "acme") => Err(Denied::Limited {
                rate: Rate { limit: 100, remaining: 0, reset_seconds: 60 },
                retry_after: 7,
            }),
            (Some("slow"), "acme") => {
                let rate = Some(Rate { limit: 100, remaining: 41, reset_seconds: 36 });
                Ok(Admission { project: PROJECT, max_body_bytes: BODY_LIMIT, rate })
            }
            (Some("good"), "other") => Err(Denied::Forbidden),
            (Some("good"), _) => Err(Denied::UnknownProject),
            _ => Err(Denied::Unauthenticated),
        }
    }
}

/// One source, `open`, that believes whom sends `x-key: good`; and one that is switched off.
struct TestInbox;

struct TestLetterbox;

impl Inbox for TestInbox {
    fn open(&self, mask: &str) -> Result<Opened, Denied> {
        let admission = Admission { project: PROJECT, max_body_bytes: BODY_LIMIT, rate: None };
        self.find(mask).map(|source| Opened { admission, source })
    }

    fn find(&self, mask: &str) -> Result<Arc<dyn Letterbox>, Denied> {
        match mask {
            "open" => Ok(Arc::new(TestLetterbox)),
            "closed" => Err(Denied::Disabled),
            _ => Err(Denied::UnknownSource),
        }
    }
}

impl Letterbox for TestLetterbox {
    fn receive(&self, headers: &[(String, String)], query: &str, body: &Bytes) -> Result<Letter, String> {
        if !headers.contains(&("x-key".to_owned(), "good".to_owned())) {
            return Err("not verified".to_owned());
        }
        let inbound = Inbound {
            source: 7,
            event_type: query.to_owned(),
            idempotency_key: None,
            content_type: None,
            query: None,
        };
        Ok(Letter { body: body.clone(), headers: headers.to_vec(), inbound })
    }

    fn answer(&self) -> Option<(&str, &str)> {
        None
    }

    fn challenge(&self, query: &str) -> Option<String> {
        query.strip_prefix("crc_token=").map(str::to_owned)
    }
}

/// A served router and the source behind it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) source: HttpSource,
}

pub(crate) fn config() -> HttpIngestConfig {
    HttpIngestConfig { deadline: DEADLINE, ..HttpIngestConfig::default() }
}

pub(crate) fn nonzero(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).unwrap()
}

pub(crate) async fn serve(config: HttpIngestConfig) -> Server {
    serve_with(config, Router::new()).await
}

/// The routes merged with those of `other`.
pub(crate) async fn serve_with(config: HttpIngestConfig, other: Router) -> Server {
    let (router, source) = routes(config, Arc::new(TestGate), Arc::new(TestInbox));
    let router = other.merge(router);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, source }
}

impl Server {
    /// The next messages, at least one.
    pub(crate) async fn recv(&mut self) -> Vec<Message> {
        self.source.recv(nonzero(10_000)).await.unwrap()
    }

    /// The next message, which must come alone.
    pub(crate) async fn one(&mut self) -> Message {
        let mut messages = self.recv().await;
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    }

    /// Stores what comes from now on.
    pub(crate) fn store_all(self) {
        let mut source = self.source;
        tokio::spawn(async move {
            while let Ok(messages) = source.recv(nonzero(1000)).await {
                for message in messages {
                    message.ack.ack(Receipt { event: EVENT, duplicate: false });
                }
            }
        });
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Connection {
        connect(self.address).await
    }

    /// Sends one event over a new connection, without waiting for the answer.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Connection {
        let mut connection = self.connect().await;
        connection.send(&post(path, body)).await;
        connection
    }

    /// Sends the head and all but the last byte of an event, and waits until there is
    /// no room beside it.
    pub(crate) async fn post_slowly_into_the_last_room(&mut self, body: &str) -> Connection {
        let mut slow = self.connect().await;
        let whole = post("events", body);
        slow.send(&whole[..whole.len() - 1]).await;
        let mut other = self.connect().await;
        loop {
            other.send(&post("events", "other")).await;
            tokio::select! {
                reply = other.reply() => {
                    assert_eq!(reply.status, 503);
                    return slow;
                }
                message = self.one() => message.ack.ack(Receipt::default()),
            }
            assert_eq!(other.reply().await.status, 201);
        }
    }
}

pub(crate) async fn connect(address: SocketAddr) -> Connection {
    Connection { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
}

/// A well-formed request to `/api/v1/projects/acme/{path}`.
pub(crate) fn post(path: &str, body: &str) -> String {
    request("POST", &format!("/api/v1/projects/acme/{path}"), &["authorization: Bearer good"], body)
}

/// A request with these headers and a content-length.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Lets this much time pass at once. Time is only stopped meanwhile, because a stopped clock leaps ahead
/// whenever the test waits for a socket.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Connection {
    pub(crate) async fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes()).await;
    }

    /// Sends what need not be text.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer on this connection.
    pub(crate) async fn reply(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap().to_lowercase();
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: String::new() };
        let length = reply.header("content-length").unwrap().parse().unwrap();
        while self.read.len() < length {
            self.more().await;
        }
        reply.body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        reply
    }

    /// Whether an answer arrives within a moment.
    pub(crate) async fn is_answered(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(10), self.stream.readable()).await.is_ok()
    }

    /// The next answer, while time flies: whatever deadline there is passes.
    pub(crate) async fn reply_after_the_deadline(&mut self) -> Reply {
        let reply = self.reply();
        tokio::pin!(reply);
        loop {
            tokio::select! {
                biased;
                reply = &mut reply => return reply,
                () = pass(DEADLINE) => {}
            }
        }
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.read).await.unwrap();
        assert_ne!(read, 0, "the server closed the connection without an answer");
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Asserts an error in the contract's envelope.
    pub(crate) fn assert_failed(&self, status: u16, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json(), serde_json::json!({ "status": false, "message": message }));
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("retry-after").is_some(), [429, 503].contains(&status), "{self:?}");
    }
}
