//! Queues on a real SQS server for tests: a queue of its own for each, publishing, depth.
//!
//! It speaks the JSON protocol of SQS without signatures, for servers that check none. It never touches queues but
//! those with unique names.

mod door;
mod queue;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use crate::{chaos, server_url, unique};

pub use door::Door;
pub use queue::TestQueue;

/// A server that speaks SQS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sqs {
    endpoint: String,
    idle: Arc<Mutex<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Sqs {
    /// The server that `LONGSHORE_TEST_SQS_ENDPOINT` names.
    ///
    /// # Panics
    /// When the variable is not set or the server does not answer.
    pub async fn connect() -> Self {
        Self::connect_to(&server_url("LONGSHORE_TEST_SQS_ENDPOINT")).await
    }

    /// A server by its URL, e.g. `http://127.0.0.1:9324`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn connect_to(url: &str) -> Self {
        let this = Self { endpoint: url.trim_end_matches('/').to_owned(), idle: Arc::default() };
        this.call("ListQueues", json!({ "MaxResults": 1 })).await;
        this
    }

    /// The server's URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A standard queue with a name of its own and a visibility timeout of 2 seconds.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn queue(&self) -> TestQueue {
        self.queue_with(&[("VisibilityTimeout", "2")]).await
    }

    /// As [`Self::queue`], for a server that keeps messages in a file: it fails for good at one that is received while
    /// it is written down (see `scripts/lib/sqs.sh`), so nobody receives one in its first second.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn durable_queue(&self) -> TestQueue {
        self.queue_with(&[("VisibilityTimeout", "2"), ("DelaySeconds", "1")]).await
    }

    /// A FIFO queue with a name of its own and a visibility timeout of 2 seconds.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn fifo_queue(&self) -> TestQueue {
        self.queue_with(&[("VisibilityTimeout", "2"), ("FifoQueue", "true")]).await
    }

    /// A queue with a name of its own and these attributes; `FifoQueue` makes it one.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn queue_with(&self, attributes: &[(&str, &str)]) -> TestQueue {
        let is_fifo = attributes.contains(&("FifoQueue", "true"));
        let name = format!("{}{}", unique::name("sqs"), if is_fifo { ".fifo" } else { "" });
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Map<_, _>>();
        let made = self.call("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        let url = made["QueueUrl"].as_str().expect("a new queue has a URL").to_owned();
        TestQueue { server: self.clone(), name, url, is_fifo }
    }

    /// Any operation of SQS, e.g. `ReceiveMessage`.
    ///
    /// # Panics
    /// When the server does not answer, or refuses.
    pub async fn call(&self, operation: &str, input: Value) -> Value {
        self.try_call(operation, input)
            .await
            .unwrap_or_else(|problem| panic!("SQS at `{}`: {operation}: {problem}", self.endpoint))
    }

    /// Any operation of SQS.
    ///
    /// # Errors
    /// A sentence: the server does not answer, or what it answered.
    pub async fn try_call(&self, operation: &str, input: Value) -> Result<Value, String> {
        let request = Request::post("/")
            .header("host", chaos::ChaosProxy::authority(&self.endpoint))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .body(Full::from(input.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = self.forward(request).await?;
        let (status, body) = (answer.status(), answer.into_body());
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    /// Sends a request as it is.
    async fn forward(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
        let mut connection = self.connection().await?;
        let answer = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(Response::from_parts(head, body))
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut idle) = idle else { break };
            if !idle.is_closed() && idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let authority = chaos::ChaosProxy::authority(&self.endpoint);
        let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // Ends with the sender, or with the server.
        tokio::spawn(connection);
        Ok(sender)
    }
}
