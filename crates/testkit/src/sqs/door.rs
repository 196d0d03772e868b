//! A door in front of an SQS server that checks no credentials: it lets in who signs with a key it knows, and refuses
//! others as AWS does.
//!
//! What it does not do: check signatures. Who knows the key's public id comes in.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Sqs;

/// What AWS answers to a key it does not know.
const REFUSED: &str = r#"{"__type":"com.amazonaws.sqs#InvalidClientTokenId","message":"The security token included in the request is invalid."}"#;

/// The door. Everything in it ends with the value.
#[derive(Debug)]
pub struct Door {
    addr: SocketAddr,
    guard: Arc<Guard>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Guard {
    server: Sqs,
    keys: Mutex<BTreeSet<String>>,
    refused: AtomicUsize,
}

impl Door {
    /// In front of that server; it lets nobody in yet.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(server: Sqs) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let guard = Arc::new(Guard { server, keys: Mutex::default(), refused: AtomicUsize::new(0) });
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&guard), stop.clone()));
        Self { addr, guard, _stop: stop.drop_guard() }
    }

    /// The endpoint of whoever comes through it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Who signs with this access key id comes in from now on.
    pub fn let_in(&self, access_key_id: &str) {
        self.guard.keys().insert(access_key_id.to_owned());
    }

    /// Who signs with this access key id is refused from now on.
    pub fn shut_out(&self, access_key_id: &str) {
        self.guard.keys().remove(access_key_id);
    }

    /// Requests refused so far.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.guard.refused.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, guard: Arc<Guard>, stop: CancellationToken) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let _ = stream.set_nodelay(true);
        let (guard, stop) = (Arc::clone(&guard), stop.clone());
        let answer = service_fn(move |request| {
            let guard = Arc::clone(&guard);
            async move { guard.answer(request).await }
        });
        let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(stop.run_until_cancelled_owned(serving));
    }
}

impl Guard {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let refusal = |status: StatusCode, text: String| {
            let mut refusal = Response::new(Full::from(text));
            *refusal.status_mut() = status;
            Ok(refusal)
        };
        if !self.knows(&request) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return refusal(StatusCode::FORBIDDEN, REFUSED.to_owned());
        }
        let (head, body) = request.into_parts();
        let forwarded = async {
            let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            self.server.forward(Request::from_parts(head, Full::from(body))).await
        };
        match forwarded.await {
            Ok(answer) => Ok(answer.map(Full::from)),
            Err(problem) => refusal(StatusCode::BAD_GATEWAY, problem),
        }
    }

    /// By `authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/…`.
    fn knows(&self, request: &Request<Incoming>) -> bool {
        let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let key = signed.and_then(|signed| signed.split_once("Credential=")?.1.split('/').next());
        key.is_some_and(|key| self.keys().contains(key))
    }
}
