//! Queues on a real SQS server for tests: a queue of its own for each, publishing, depth.
//!
//! It speaks the JSON protocol of SQS without signatures, for servers that check none. It never touches queues but
//! those with unique names.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::publication::Publication;
use crate::{chaos, server_url, unique};

/// The most entries of one request.
const BATCH: usize = 10;
/// Publishing requests in flight to a standard queue; a FIFO queue gets one after the other, for the order.
const AT_ONCE: usize = 8;

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
        let mut connection = self.connection().await?;
        let request = Request::post("/")
            .header("host", chaos::ChaosProxy::authority(&self.endpoint))
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("AmazonSQS.{operation}"))
            .body(Full::from(input.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = connection.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
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

/// A queue on the server. Lives until [`Self::delete`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TestQueue {
    server: Sqs,
    name: String,
    url: String,
    is_fifo: bool,
}

impl TestQueue {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server it is on.
    #[must_use]
    pub const fn server(&self) -> &Sqs {
        &self.server
    }

    /// Its ARN.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn arn(&self) -> String {
        self.attribute("QueueArn").await
    }

    /// What a source's `sqs` settings need to consume it.
    #[must_use]
    pub fn settings(&self) -> Value {
        self.settings_at(&self.server.endpoint)
    }

    /// As [`Self::settings`], by way of another endpoint, e.g. a proxy.
    #[must_use]
    pub fn settings_at(&self, endpoint: &str) -> Value {
        json!({
            "queue_name": self.name,
            "endpoint": endpoint,
            "default_region": "us-east-1",
            "access_key_id": "test",
            "secret_key": "test",
        })
    }

    /// Publishes and returns when the server has every message. On a FIFO queue a message without a key goes to the
    /// group `default`, and one without an id gets one of its own.
    ///
    /// # Panics
    /// When the server is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Publication>) {
        let messages = messages.into_iter().collect::<Vec<_>>();
        let mut flying = JoinSet::new();
        for batch in messages.chunks(BATCH) {
            while flying.len() >= if self.is_fifo { 1 } else { AT_ONCE } {
                finished(flying.join_next().await);
            }
            let entries = batch.iter().enumerate().map(|(index, message)| self.entry(index, message));
            let input = json!({ "QueueUrl": self.url, "Entries": entries.collect::<Vec<_>>() });
            let server = self.server.clone();
            flying.spawn(async move {
                let answer = server.call("SendMessageBatch", input).await;
                let failed = answer["Failed"].as_array().is_some_and(|failed| !failed.is_empty());
                assert!(!failed, "SQS refuses a message: {}", answer["Failed"]);
            });
        }
        while !flying.is_empty() {
            finished(flying.join_next().await);
        }
    }

    /// Messages it still has, those that are out with a consumer included.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn left(&self) -> u64 {
        self.visible().await + self.count("ApproximateNumberOfMessagesNotVisible").await
    }

    /// Messages that a consumer would get now.
    ///
    /// # Panics
    /// When there is no such queue.
    pub async fn visible(&self) -> u64 {
        self.count("ApproximateNumberOfMessages").await
    }

    /// Waits until [`Self::left`] is `count`.
    ///
    /// # Panics
    /// When that takes longer than 10 seconds.
    pub async fn settles_at(&self, count: u64) {
        let settled = async {
            while self.left().await != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(10), settled).await.is_err() {
            panic!("`{}` has {} messages left, not {count}", self.name, self.left().await);
        }
    }

    /// Deletes it.
    ///
    /// # Panics
    /// When the server is away.
    pub async fn delete(self) {
        self.server.call("DeleteQueue", json!({ "QueueUrl": self.url })).await;
    }

    /// Deletes every message in it.
    ///
    /// # Panics
    /// When the server is away.
    pub async fn purge(&self) {
        self.server.call("PurgeQueue", json!({ "QueueUrl": self.url })).await;
    }

    async fn count(&self, attribute: &str) -> u64 {
        self.attribute(attribute).await.parse().expect("a count is a number")
    }

    async fn attribute(&self, name: &str) -> String {
        let input = json!({ "QueueUrl": self.url, "AttributeNames": ["All"] });
        let attributes = self.server.call("GetQueueAttributes", input).await;
        attributes["Attributes"][name].as_str().unwrap_or_default().to_owned()
    }

    fn entry(&self, index: usize, message: &Publication) -> Value {
        let body = message.body.as_deref().unwrap_or_default();
        let body = std::str::from_utf8(body).expect("SQS carries only text: encode the body");
        let mut entry = json!({ "Id": index.to_string(), "MessageBody": body });
        if !message.headers.is_empty() {
            entry["MessageAttributes"] =
                message.headers.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
        }
        if let Some(key) = &message.key {
            entry["MessageGroupId"] = json!(key);
        }
        if self.is_fifo {
            let id = message.id.clone().unwrap_or_else(|| unique::name("dedup"));
            entry["MessageDeduplicationId"] = json!(id);
            if message.key.is_none() {
                entry["MessageGroupId"] = json!("default");
            }
        }
        entry
    }
}

/// A header as a text attribute; `base64:…` as a binary one.
fn attribute(value: &str) -> Value {
    match value.strip_prefix("base64:") {
        Some(encoded) if STANDARD.decode(encoded).is_ok() => {
            json!({ "DataType": "Binary", "BinaryValue": encoded })
        }
        _ => json!({ "DataType": "String", "StringValue": value }),
    }
}

fn finished(joined: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = joined {
        std::panic::resume_unwind(error.into_panic());
    }
}
