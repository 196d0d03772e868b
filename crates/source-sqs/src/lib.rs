//! Amazon SQS as a source of events: one consumer of one standard or FIFO queue.
//!
//! What this broker promises, and what becomes of it here:
//!
//! - **Ack** is `DeleteMessageBatch`, ten by one request, several at once. An entry that fails for no fault of ours is
//!   tried again; a deletion that fails in the end means a redelivery, no more.
//! - **Retry** and a dropped token are `ChangeMessageVisibilityBatch`, to the delay asked for (whole seconds, rounded
//!   up) or to 0. SQS counts each receipt, and at the redrive policy's limit it moves the message to the dead-letter
//!   queue: during an outage of ours, hold the tokens instead of giving them back.
//! - **The lease** is the visibility timeout. It is extended at half time for as long as the token lives, at most for
//!   12 hours, which is SQS's own limit. Where the timeout is short, a message that is out for long is kept for up to
//!   30 seconds at a time.
//! - **A crash** lets the lease run out: what was out comes again after the visibility timeout, or what was left of those
//!   30 seconds.
//! - **A FIFO queue** gives out no more of a message group while some of it is out. Groups come in order; when a message
//!   is given back, those of its group that came with it go back too, acknowledged or not, and nothing is deleted
//!   before an earlier one of its group. Deletions of one request succeed or fail one by one, so that a redelivery of
//!   what is stored already may still come late; it is recognised as one.
//! - **A standard queue** delivers at least once, in no order. Its messages may carry a message group as well (fair
//!   queues); it is the message's key.
//! - **Closing** waits for no receive call. One that is open ends by itself (20 seconds at most) in a task that outlives
//!   the source and hands back what it brings; only the end of the process hangs up, and then a message that SQS was
//!   just giving out stays away for its visibility timeout.
//! - **A queue that is deleted** or access that is withdrawn makes the source fail, and it goes on trying.
//!
//! Envelopes of SNS, EventBridge and S3 and encoded bodies are undone where the settings say so. A pointer of the
//! extended client (payload in S3) is recognised, logged and handed on as it is: nothing is fetched.
//!
//! What it does not do: create or change queues; send; decode events.
mod attributes;
mod check;
mod client;
mod config;
mod encoding;
mod envelopes;
mod error;
mod groups;
mod leases;
mod message;
mod poll;
mod queue;
mod reader;
mod recv;
mod settle;

use longshore_source::{Context, SourceError};

pub use config::{AssumeRole, BodyEncoding, Envelope, SqsConfig};
pub use error::ConfigError;
pub use longshore_source::Secret;
pub use recv::SqsSource;

/// Finds the queue, receives once without waiting, and starts to poll.
///
/// # Errors
/// [`SourceError::Misconfigured`] or [`SourceError::Denied`] when the settings, the queue or the rights are at
/// fault; [`SourceError::Disconnected`] when SQS could not be reached, which may pass.
pub async fn connect(config: SqsConfig, context: Context) -> Result<SqsSource, SourceError> {
    SqsSource::connect(config, context).await
}

/// Looks the queue up and asks for the rights that a source needs, and changes nothing. Returns what works but should
/// be changed, as sentences.
///
/// # Errors
/// As [`connect`].
pub async fn check(config: &SqsConfig) -> Result<Vec<String>, SourceError> {
    check::check(config).await
}
