//! Publishing to RabbitMQ: persistent messages with `message-id` and `timestamp`, every one confirmed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};
use longshore_core::{Clock, SystemClock};

/// Unconfirmed messages in flight while publishing in bulk.
const WINDOW: usize = 1_000;
const PERSISTENT: u8 = 2;

/// What is published.
#[derive(Clone, Debug)]
pub struct Message {
    /// The envelope.
    pub body: Vec<u8>,
    /// Its kind by the v1 contract; `single` when absent.
    pub kind: Option<&'static str>,
}

impl From<Vec<u8>> for Message {
    fn from(body: Vec<u8>) -> Self {
        Self { body, kind: None }
    }
}

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
    pub async fn backlog<M: Into<Message>>(
        &self,
        count: u32,
        message: impl Fn(u32) -> M,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut pending = VecDeque::with_capacity(WINDOW);
        for n in 0..count {
            pending.push_back(self.publish(n, &message(n).into()).await?);
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
    pub async fn paced<M: Into<Message>>(
        &self,
        count: u32,
        rate: u32,
        message: impl Fn(u32) -> M,
    ) -> anyhow::Result<Vec<Instant>> {
        let mut sent = Vec::with_capacity(count as usize);
        let mut pending = Vec::with_capacity(count as usize);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        for n in 0..count {
            tick.tick().await;
            let message = message(n).into();
            sent.push(Instant::now());
            pending.push(self.publish(n, &message).await?);
        }
        for confirm in pending {
            confirmed(confirm).await?;
        }
        Ok(sent)
    }

    async fn publish(&self, n: u32, message: &Message) -> lapin::Result<PublisherConfirm> {
        let now = u64::try_from(SystemClock.now().as_secs()).unwrap_or_default();
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_message_id(format!("bench-{n}").into())
            .with_timestamp(now);
        if let Some(kind) = message.kind {
            let mut headers = FieldTable::default();
            headers.insert("x-convoy-message-type".into(), AMQPValue::LongString(kind.into()));
            properties = properties.with_headers(headers);
        }
        let options = BasicPublishOptions::default();
        self.channel.basic_publish("".into(), self.queue.clone(), options, &message.body, properties).await
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
