//! A queue with a connection of its own that is made anew when it was lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Outgoing, QueueKind, Rabbit, TestQueue};
use crate::publication::Publication;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A queue and how to reach it. Unlike [`TestQueue`] it outlives outages.
#[derive(Debug)]
pub struct RabbitQueue {
    url: String,
    name: String,
    kind: QueueKind,
    /// `None` once publishing failed: a channel that ended is not used again.
    rabbit: Mutex<Option<Rabbit>>,
}

impl RabbitQueue {
    /// Declares a durable queue with a name of its own.
    ///
    /// # Panics
    /// When the broker does not answer or refuses it.
    pub async fn create(url: &str, kind: QueueKind) -> Self {
        let rabbit = Rabbit::connect_to(url).await;
        let name = rabbit.queue(kind).await.name().to_owned();
        Self { url: url.to_owned(), name, kind, rabbit: Mutex::new(Some(rabbit)) }
    }

    /// The broker's URL, with credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> QueueKind {
        self.kind
    }

    /// The source's table in the configuration.
    #[must_use]
    pub fn settings(&self) -> Value {
        json!({ "urls": [self.url], "queue": self.name })
    }

    /// Publishes and returns when every message is confirmed.
    ///
    /// # Panics
    /// When the broker is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Publication>) {
        self.queue().await.publish(messages.into_iter().map(Outgoing::from)).await;
    }

    /// Publishes; true for each message the broker has confirmed.
    pub async fn try_publish(&self, messages: Vec<Publication>) -> Vec<bool> {
        let mut confirmed = vec![false; messages.len()];
        // Not held while publishing: asking for the depth meanwhile is no fault.
        let Some(queue) = self.connected().await else { return confirmed };
        let messages = messages.into_iter().map(Outgoing::from);
        if queue.try_publish(messages, |position| confirmed[position] = true).await.is_err() {
            *self.rabbit.lock().await = None;
        }
        confirmed
    }

    /// Messages that are ready; unacknowledged ones are not counted.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn left(&self) -> u64 {
        self.queue().await.depth().await.into()
    }

    /// Takes and acknowledges that many messages and returns how long it took.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn drain(&self, count: u64) -> Duration {
        let started = Instant::now();
        let drained = self.queue().await.drain(count).await;
        drained.unwrap_or_else(|error| panic!("draining failed: {error}"));
        started.elapsed()
    }

    /// Deletes the queue.
    ///
    /// # Panics
    /// When the broker is away.
    pub async fn remove(&self) {
        self.queue().await.delete().await;
    }

    async fn queue(&self) -> TestQueue {
        self.connected().await.unwrap_or_else(|| panic!("RabbitMQ does not answer"))
    }

    /// The queue through a connection that lives; `None` when none can be made.
    async fn connected(&self) -> Option<TestQueue> {
        let mut rabbit = self.rabbit.lock().await;
        if !rabbit.as_ref().is_some_and(|rabbit| rabbit.connection().status().connected()) {
            *rabbit = timeout(CONNECT_TIMEOUT, Rabbit::try_connect_to(&self.url)).await.ok()?.ok();
        }
        Some(rabbit.as_ref()?.existing(&self.name))
    }
}
