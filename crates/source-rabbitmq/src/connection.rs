//! One connection with one channel and one subscription, and the loop that makes it again.
//!
//! The client's own recovery stays off: it would keep a channel object across connections, and with it the
//! delivery tags of the old one. Here each connection has its own epoch, and a tag is worth nothing outside it.

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use lapin::options::{BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, Consumer};
use longshore_source::{Context, SourceError};
use tokio::time::{sleep, timeout};

use crate::address::{addresses, shown};
use crate::config::{Argument, Declare, QueueType, RabbitMqConfig};
use crate::depth::Depth;
use crate::error::explain;
use crate::stream::StreamPosition;
use crate::transport::dial;

/// From the TCP handshake to the running subscription.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A live subscription. Dropping it closes the connection; the broker then requeues what is unacknowledged.
pub(crate) struct Link {
    pub(crate) epoch: u64,
    pub(crate) connection: Arc<Connection>,
    pub(crate) channel: Channel,
    pub(crate) consumer: Consumer,
    pub(crate) depth: Depth,
}

/// Makes links, one after the other, over the nodes in turn.
pub(crate) struct Connector {
    config: Arc<RabbitMqConfig>,
    nodes: Vec<AMQPUri>,
    next: usize,
    epoch: u64,
    pauses: ExponentialBackoff,
    stream: Arc<StreamPosition>,
    context: Context,
}

impl Connector {
    /// `stream` says where each link starts, if the queue is a stream.
    pub(crate) fn new(
        config: Arc<RabbitMqConfig>,
        stream: Arc<StreamPosition>,
        context: Context,
    ) -> Result<Self, SourceError> {
        config.validate()?;
        let nodes = addresses(&config)?;
        let pauses = ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_PAUSE)
            .with_multiplier(2.0)
            .with_randomization_factor(0.25)
            .with_max_interval(LONGEST_PAUSE)
            .with_max_elapsed_time(None)
            .build();
        Ok(Self { config, nodes, next: 0, epoch: 0, pauses, stream, context })
    }

    /// Tries each node once. A node that is merely unreachable is passed over; a refusal ends it.
    pub(crate) async fn first(&mut self) -> Result<Link, SourceError> {
        let mut attempt = self.attempt().await;
        for _ in 1..self.nodes.len() {
            match &attempt {
                Err(error) if error.is_transient() => attempt = self.attempt().await,
                _ => break,
            }
        }
        attempt
    }

    /// Tries the nodes in turn, with growing pauses, until one of them serves the queue again; whatever is wrong
    /// may be put right outside.
    pub(crate) async fn again(&mut self) -> Link {
        let mut told: Option<std::mem::Discriminant<SourceError>> = None;
        loop {
            let pause = self.pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
            sleep(pause).await;
            match self.attempt().await {
                Ok(link) => {
                    self.context.status.reconnected();
                    tracing::info!(source.name = self.context.name, queue = %self.config.queue, "consuming again");
                    return link;
                }
                // Once per kind of trouble: an outage of hours is one line, and its change of shape another.
                Err(error) => {
                    self.context.status.failing(&error.to_string());
                    if told != Some(std::mem::discriminant(&error)) {
                        told = Some(std::mem::discriminant(&error));
                        let name = &self.context.name;
                        tracing::warn!(source.name = name, queue = %self.config.queue, %error, "cannot consume; trying on");
                    }
                }
            }
        }
    }

    /// Notes that the last link did its work, so that the next outage starts with a short pause.
    pub(crate) fn worked(&mut self) {
        self.pauses.reset();
    }

    async fn attempt(&mut self) -> Result<Link, SourceError> {
        let node = self.nodes[self.next % self.nodes.len()].clone();
        self.next += 1;
        self.epoch += 1;
        let place = shown(&node);
        let subscribing = async {
            let connection = Arc::new(dial(&self.config, Some(&self.context.name), node).await?);
            let resume_at = self.stream.resume_at();
            let (channel, consumer) = subscribe(&self.config, &connection, resume_at).await?;
            let depth = Depth::watch(&connection, &self.config, &self.stream, &self.context);
            Ok(Link { epoch: self.epoch, connection, channel, consumer, depth })
        };
        timeout(OPEN_TIMEOUT, subscribing)
            .await
            .unwrap_or_else(|_| Err(SourceError::Disconnected(format!("no answer from `{place}` in time"))))
    }
}

async fn subscribe(
    config: &RabbitMqConfig,
    connection: &Connection,
    resume_at: Option<u64>,
) -> Result<(Channel, Consumer), SourceError> {
    match &config.declare {
        Some(declare) => declare_queue(config, declare, connection).await?,
        None => find_queue(config, connection).await?,
    }
    let doing = format!("consuming queue `{}`", config.queue);
    let explained = |error: lapin::Error| explain(&error, &doing);
    let channel = connection.create_channel().await.map_err(explained)?;
    // Per consumer: RabbitMQ 4.3 refuses the global kind.
    channel.basic_qos(config.prefetch, BasicQosOptions { global: false }).await.map_err(explained)?;
    let mut arguments = table(config.consumer_arguments.iter());
    if let Some(offset) = resume_at {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        arguments.insert("x-stream-offset".into(), AMQPValue::LongLongInt(offset));
    }
    let tag = ShortString::from(config.consumer_tag.as_deref().unwrap_or_default());
    let consumer = channel
        .basic_consume(
            ShortString::from(config.queue.as_str()),
            tag,
            BasicConsumeOptions::default(),
            arguments,
        )
        .await
        .map_err(explained)?;
    Ok((channel, consumer))
}

/// On a channel of its own, because a refusal closes the channel.
pub(crate) async fn find_queue(config: &RabbitMqConfig, connection: &Connection) -> Result<(), SourceError> {
    let doing = format!("looking up queue `{}`", config.queue);
    let explained = |error: lapin::Error| explain(&error, &doing);
    let channel = connection.create_channel().await.map_err(explained)?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel
        .queue_declare(ShortString::from(config.queue.as_str()), options, FieldTable::default())
        .await
        .map(|_| ())
        .map_err(explained)
}

async fn declare_queue(
    config: &RabbitMqConfig,
    declare: &Declare,
    connection: &Connection,
) -> Result<(), SourceError> {
    let doing = format!("declaring queue `{}`", config.queue);
    let explained = |error: lapin::Error| explain(&error, &doing);
    let mut arguments = table(declare.arguments.iter());
    if let Some(kind) = declare.kind.map(QueueType::as_str) {
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    }
    if let Some(exchange) = config.dead_letter_exchange.as_deref().filter(|exchange| !exchange.is_empty()) {
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(exchange.into()));
    }
    let channel = connection.create_channel().await.map_err(explained)?;
    let queue = ShortString::from(config.queue.as_str());
    let options = QueueDeclareOptions { durable: declare.durable, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.clone(), options, arguments).await.map_err(explained)?;
    if let Some(bind) = config.bind_exchange.as_ref().filter(|bind| !bind.exchange.is_empty()) {
        let (exchange, key) = (bind.exchange.as_str().into(), bind.routing_key.as_str().into());
        channel
            .queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())
            .await
            .map_err(explained)?;
    }
    Ok(())
}

fn table<'a>(arguments: impl Iterator<Item = (&'a String, &'a Argument)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        let value = match value {
            Argument::Bool(value) => AMQPValue::Boolean(*value),
            Argument::Integer(value) => AMQPValue::LongLongInt(*value),
            Argument::Text(value) => AMQPValue::LongString(value.as_str().into()),
        };
        table.insert(ShortString::from(name.as_str()), value);
    }
    table
}
