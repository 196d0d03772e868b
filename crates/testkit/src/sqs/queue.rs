//! One queue: publishing, depth, and a client that only takes and deletes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Sqs;
use crate::publication::Publication;
use crate::unique;

/// The most entries of one request.
const BATCH: usize = 10;
/// Publishing requests in flight to a standard queue; a FIFO queue gets one after the other, for the order.
const AT_ONCE: usize = 8;
/// Calls of [`TestQueue::drain`] in flight.
const DRAINING: usize = 8;

/// A queue on the server. Lives until [`Self::delete`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TestQueue {
    pub(super) server: Sqs,
    pub(super) name: String,
    pub(super) url: String,
    pub(super) is_fifo: bool,
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
        if let Err(problem) = self.try_publish(messages).await {
            panic!("{problem}");
        }
    }

    /// As [`Self::publish`]; what it did not take, or may have taken, is some of the messages.
    ///
    /// # Errors
    /// A sentence: the server is away, or refuses a message.
    pub async fn try_publish(&self, messages: impl IntoIterator<Item = Publication>) -> Result<(), String> {
        let messages = messages.into_iter().collect::<Vec<_>>();
        let mut flying = JoinSet::new();
        for batch in messages.chunks(BATCH) {
            while flying.len() >= if self.is_fifo { 1 } else { AT_ONCE } {
                finished(flying.join_next().await).transpose()?;
            }
            let entries = batch.iter().enumerate().map(|(index, message)| self.entry(index, message));
            let input = json!({ "QueueUrl": self.url, "Entries": entries.collect::<Vec<_>>() });
            let server = self.server.clone();
            flying.spawn(async move {
                let answer = server.try_call("SendMessageBatch", input).await?;
                match &answer["Failed"] {
                    Value::Array(failed) if !failed.is_empty() => {
                        Err(format!("SQS refuses a message: {}", answer["Failed"]))
                    }
                    _ => Ok(()),
                }
            });
        }
        while !flying.is_empty() {
            finished(flying.join_next().await).transpose()?;
        }
        Ok(())
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

    /// Takes and deletes that many messages and returns how long it took: what the server allows at most.
    ///
    /// # Panics
    /// When the server is away.
    pub async fn drain(&self, count: u64) -> Duration {
        let (started, left) = (Instant::now(), Arc::new(AtomicU64::new(count)));
        let mut pollers = JoinSet::new();
        for _ in 0..DRAINING {
            let (queue, left) = (self.clone(), Arc::clone(&left));
            pollers.spawn(async move {
                while left.load(Ordering::Relaxed) > 0 {
                    let taken = queue.take_and_delete().await.len() as u64;
                    let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                        Some(left.saturating_sub(taken))
                    });
                }
            });
        }
        while !pollers.is_empty() {
            finished(pollers.join_next().await);
        }
        started.elapsed()
    }

    /// Takes what is there, at most ten messages, and deletes them; returns their bodies. Waits up to a second for one.
    ///
    /// # Panics
    /// When the server is away.
    pub async fn take_and_delete(&self) -> Vec<String> {
        let ask = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": BATCH, "WaitTimeSeconds": 1 });
        let answer = self.server.call("ReceiveMessage", ask).await;
        let messages = answer["Messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let body = |message: &Value| message["Body"].as_str().unwrap_or_default().to_owned();
        let bodies = messages.iter().map(body).collect::<Vec<_>>();
        if !bodies.is_empty() {
            let entry = |(index, message): (usize, &Value)| json!({ "Id": index.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
            let entries = messages.iter().enumerate().map(entry).collect::<Vec<_>>();
            self.server.call("DeleteMessageBatch", json!({ "QueueUrl": self.url, "Entries": entries })).await;
        }
        bodies
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

fn finished<T>(joined: Option<Result<T, tokio::task::JoinError>>) -> Option<T> {
    joined.map(|joined| joined.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
}
