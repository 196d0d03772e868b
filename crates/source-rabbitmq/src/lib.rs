//! RabbitMQ as a source of events: one consumer of one queue on its own connection and channel.
//!
//! What this broker promises, and what becomes of it here:
//!
//! - **Ack** is `basic.ack`: the message leaves the queue. Contiguous deliveries are acknowledged by one frame.
//! - **Retry** and a dropped token are `basic.nack` with requeue. RabbitMQ requeues at once, so a retry with a delay
//!   stays unacknowledged here for that long (15 minutes at most) and keeps its slot; then it is requeued. A quorum
//!   queue counts each redelivery and drops or dead-letters a message at its limit (20 by default since 4.0):
//!   during an outage of ours, hold the tokens instead of giving them back.
//! - **A crash** or a lost connection requeues everything unacknowledged. A delivery tag dies with its channel:
//!   settlements of an earlier connection are discarded, and those messages come again.
//! - **The window** is the prefetch per consumer, equal to the settlement slots. It counts messages, not bytes
//!   (RabbitMQ knows no byte window): lower it where bodies are large.
//! - **A queue that is deleted** cancels the consumer; it is consumed again once it exists.
//! - **A stream** takes nothing back: a retry reads again from the lowest unsettled offset, also after a reconnect.
//!   Nothing is stored at the broker: a new process goes on where the stored events end, and at `x-stream-offset` when
//!   nothing is stored. RabbitMQ's default, `next`, skips what was published before the first start: set `first`. A
//!   stream that was deleted and made anew counts from 0 again: give it another name.
//! - **The lag** is the queue's ready messages, asked for by a passive declare every 15 s on a channel of its own, by the
//!   first consumer of a process. A stream has none: its count is what it keeps, not what is unread.
//! - **What cannot be seen**: AMQP 0-9-1 answers a passive declare with two counts and nothing else. Whether a queue that
//!   others declared has a dead-letter exchange, and of what kind it is, is known to the management API and to policies
//!   only; so [`check`] warns of what the settings themselves say.
//!
//! What it does not do: declare anything, unless told to; publish; decode.
mod address;
mod check;
mod config;
mod connection;
mod delivery;
mod depth;
mod error;
mod recv;
mod redact;
mod settle;
mod stream;
mod tags;
mod transport;

use longshore_source::{Context, SourceError};

pub use config::{Argument, Auth, BindExchange, Declare, QueueType, RabbitMqConfig, Schema, Tls};
pub use error::ConfigError;
pub use longshore_source::Secret;
pub use recv::RabbitMqSource;
pub use redact::AmqpUrl;

/// Connects and starts to consume. Each node is tried once.
///
/// # Errors
/// [`SourceError::Misconfigured`] or [`SourceError::Denied`] when the settings, the queue or the rights are at
/// fault; [`SourceError::Disconnected`] when no node could be reached, which may pass.
pub async fn connect(config: RabbitMqConfig, context: Context) -> Result<RabbitMqSource, SourceError> {
    RabbitMqSource::connect(config, context).await
}

/// Connects and looks the queue up, and changes nothing: says what is wrong before a source is started, and what works
/// but should be changed.
///
/// # Errors
/// As [`connect`].
pub async fn check(config: &RabbitMqConfig) -> Result<Vec<String>, SourceError> {
    check::check(config).await
}
