//! Publishing to any broker: every message confirmed, in bulk or paced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_testkit::broker::Queue;
use longshore_testkit::publication::Publication;
use tokio::task::JoinSet;

/// Messages that exist at once while publishing in bulk.
const CHUNK: u32 = 5_000;

/// Publishes to one queue.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: Arc<Queue>,
}

impl Publisher {
    /// To that queue.
    #[must_use]
    pub const fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Publishes events 0 to `count` as fast as the broker confirms them.
    pub async fn backlog(&self, count: u32, message: impl Fn(u32) -> Publication) -> Duration {
        let started = Instant::now();
        for first in (0..count).step_by(CHUNK as usize) {
            self.queue.publish((first..count.min(first + CHUNK)).map(&message)).await;
        }
        started.elapsed()
    }

    /// Publishes one message.
    ///
    /// # Errors
    /// When the broker does not confirm it.
    pub async fn event(&self, n: u32, message: Publication) -> anyhow::Result<()> {
        let confirmed = self.queue.try_publish(vec![message]).await;
        anyhow::ensure!(confirmed == [true], "the broker did not confirm event {n}");
        Ok(())
    }

    /// Publishes events 0 to `count` at `rate` per second; returns the instant just before each.
    ///
    /// # Errors
    /// When the broker does not confirm one.
    pub async fn paced(
        &self,
        count: u32,
        rate: u32,
        message: impl Fn(u32) -> Publication,
    ) -> anyhow::Result<Vec<Instant>> {
        let mut sent = Vec::with_capacity(count as usize);
        let mut pending = JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        for n in 0..count {
            tick.tick().await;
            let (queue, message) = (Arc::clone(&self.queue), message(n));
            sent.push(Instant::now());
            pending.spawn(async move { queue.try_publish(vec![message]).await });
        }
        for confirmed in pending.join_all().await {
            anyhow::ensure!(confirmed == [true], "the broker did not confirm a message");
        }
        Ok(sent)
    }
}
