//! Publishing to RabbitMQ: persistent messages with `message-id` and `timestamp`, every one confirmed.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};

/// Unconfirmed messages in flight while publishing in bulk.
const WINDOW: usize = 1_000;
const PERSISTENT: u8 = 2;

/// A channel to one queue.
#[derive(Debug)]
pub struct Publisher {
    channel: Channel,
    queue: ShortString,
    _connection: Connection,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// The broker's.
    pub async fn connect(url: &str, queue: &str) -> anyhow::Result<Self> {
        let options = ConnectionProperties::default().with_connection_name("longshore-bench".into());
        let connection = Connection::connect(url, options).await.context("RabbitMQ does not answer")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel, queue: queue.into(), _connection: connection })
    }

    /// Publishes events 0 to `count` as fast as the broker confirms them.
    ///
    /// # Errors
    /// The broker's, also when it refuses a message.
    pub async fn backlog(&self, count: u32, body: impl Fn(u32) -> Vec<u8>) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut pending = VecDeque::with_capacity(WINDOW);
        for n in 0..count {
            pending.push_back(self.publish(n, &body(n)).await?);
            if pending.len() >= WINDOW
                && let Some(oldest) = pending.pop_front()
            {
                confirmed(oldest).await?;
            }
        }
        for confirm in pending {
            confirmed(confirm).await?;
        }
        Ok(started.elapsed())
    }

    /// Publishes events 0 to `count` at `rate` per second; returns the instant just before each.
    ///
    /// # Errors
    /// As [`Self::backlog`].
    pub async fn paced(
        &self,
        count: u32,
        rate: u32,
        body: impl Fn(u32) -> Vec<u8>,
    ) -> anyhow::Result<Vec<Instant>> {
        let mut sent = Vec::with_capacity(count as usize);
        let mut pending = Vec::with_capacity(count as usize);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        for n in 0..count {
            tick.tick().await;
            let body = body(n);
            sent.push(Instant::now());
            pending.push(self.publish(n, &body).await?);
        }
        for confirm in pending {
            confirmed(confirm).await?;
        }
        Ok(sent)
    }

    async fn publish(&self, n: u32, body: &[u8]) -> lapin::Result<PublisherConfirm> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(format!("bench-{n}").into())
            .with_timestamp(now.as_secs());
        let options = BasicPublishOptions::default();
        self.channel.basic_publish("".into(), self.queue.clone(), options, body, properties).await
    }
}

async fn confirmed(confirm: PublisherConfirm) -> anyhow::Result<()> {
    let confirmation = confirm.await?;
    anyhow::ensure!(
        matches!(confirmation, Confirmation::Ack(_)),
        "RabbitMQ refused a message: {confirmation:?}"
    );
    Ok(())
}
