//! What a scripted receiver answers.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use hyper::body::{Body, Frame};

/// One scripted answer; by default a 200 without a body, at once.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    delay: Duration,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Fate {
    Answer(Bytes),
    Flood(usize),
    Drip(Bytes),
    Hang,
    Close,
}

impl Default for Reply {
    fn default() -> Self {
        Self::status(200)
    }
}

impl Reply {
    /// That status, without a body.
    ///
    /// # Panics
    /// When it is no HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status");
        Self { status, headers: Vec::new(), delay: Duration::ZERO, fate: Fate::Answer(Bytes::new()) }
    }

    /// 302 to another URL.
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::status(302).header("location", to)
    }

    /// 200 with a body of that many bytes, streamed without a length.
    #[must_use]
    pub fn flood(length: usize) -> Self {
        Self { fate: Fate::Flood(length), ..Self::default() }
    }

    /// 200 with the beginning of a body that never ends.
    #[must_use]
    pub fn drip(beginning: impl Into<Bytes>) -> Self {
        Self { fate: Fate::Drip(beginning.into()), ..Self::default() }
    }

    /// No answer; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self { fate: Fate::Hang, ..Self::default() }
    }

    /// No answer; the connection is closed.
    #[must_use]
    pub fn close() -> Self {
        Self { fate: Fate::Close, ..Self::default() }
    }

    /// With a header more.
    ///
    /// # Panics
    /// When name or value is no valid header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = name.parse().expect("a header name");
        self.headers.push((name, value.parse().expect("a header value")));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.fate = Fate::Answer(body.into());
        self
    }

    /// Not before `delay` has passed.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(super) async fn into_response(self) -> Result<http::Response<ReplyBody>, Closed> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let body = match self.fate {
            Fate::Answer(bytes) => ReplyBody::Whole(bytes),
            Fate::Flood(length) => ReplyBody::Flood(length),
            Fate::Drip(beginning) => ReplyBody::Drip(beginning),
            Fate::Hang => std::future::pending().await,
            Fate::Close => return Err(Closed),
        };
        let mut response = http::Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        Ok(response)
    }
}

/// The error that makes hyper close a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed by script")
    }
}

impl std::error::Error for Closed {}

/// The body of a scripted answer.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// All of it at once, with a length.
    Whole(Bytes),
    /// This many bytes more.
    Flood(usize),
    /// These bytes, and then nothing for ever.
    Drip(Bytes),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        static CHUNK: [u8; 16 * 1024] = [b'x'; 16 * 1024];

        let next = match &mut *self {
            Self::Whole(bytes) => std::mem::take(bytes),
            Self::Drip(bytes) if bytes.is_empty() => return Poll::Pending,
            Self::Drip(bytes) => std::mem::take(bytes),
            Self::Flood(left) => {
                let length = CHUNK.len().min(*left);
                *left -= length;
                Bytes::from_static(&CHUNK[..length])
            }
        };
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Flood(left) => *left == 0,
            Self::Drip(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Self::Flood(_) | Self::Drip(_) => hyper::body::SizeHint::default(),
        }
    }
}
