//! Google Pub/Sub as a source of events: one consumer of one pull subscription, over StreamingPull.
//!
//! What this broker promises, and what becomes of it here:
//!
//! - **Ack** is `Acknowledge`, many ids per call, and counts only when the service has confirmed it. A call that fails for a
//!   while is repeated until the leases are over. On a subscription that delivers exactly once, an acknowledgement that
//!   came too late is refused; the message comes again, and is counted as stale.
//! - **Retry** and a dropped token are `ModifyAckDeadline` with 0. Pub/Sub gives the message back at once, or after the
//!   minimum backoff of the subscription's retry policy; a retry with a delay is kept here for that long (10 minutes
//!   at most), leased and in its slot. With a dead-letter topic each return counts as an attempt: during an outage of
//!   ours, hold the tokens instead of giving them back.
//! - **The lease** of a message is extended while its token lives, up to `max_extension`; also while it waits to be handed
//!   out. After a crash, messages come back when their leases end: `ack_deadline` at most.
//! - **The window** is `max_in_flight` messages and `max_in_flight_bytes`, the settlement slots; the streams' flow control
//!   adds up to the same, so the service sends no more than that.
//! - **Streams** are ended by the service as it likes, and opened again; that is no fault. One that cannot be opened
//!   is: a lost connection, missing rights, a deleted subscription. It is tried on, and goes on once that is mended. What
//!   was received before is settled all the same, since acknowledgement ids outlive streams and connections.
//! - **Ordering keys**: a message is not acknowledged before an earlier one of its key. When one goes back, every later
//!   one of its key goes back with it, and none is handed out before it has come again.
//! - **Attempts** are counted when the subscription has a dead-letter topic, and not otherwise. They are Pub/Sub's best
//!   effort.
//! - **Depth** is not known: the API does not tell it, only Cloud Monitoring does
//!   (`pubsub.googleapis.com/subscription/num_undelivered_messages`). The lag stays unknown.
//!
//! What it does not do: create or change subscriptions, publish, decode. Changed credentials need a new source; tokens are
//! renewed by themselves.
mod account;
mod api;
mod check;
mod config;
mod error;
mod health;
mod lease;
mod order;
mod recv;
mod settle;
mod stream;
mod wire;

use longshore_source::{Context, SourceError};

pub use account::ServiceAccount;
pub use config::PubSubConfig;
pub use error::ConfigError;
pub use recv::PubSubSource;

/// Looks the subscription up and starts to consume it.
///
/// # Errors
/// [`SourceError::Misconfigured`] or [`SourceError::Denied`] when the settings, the subscription or the rights are at
/// fault; [`SourceError::Disconnected`] when the service could not be reached, which may pass.
pub async fn connect(config: PubSubConfig, context: Context) -> Result<PubSubSource, SourceError> {
    PubSubSource::connect(config, context).await
}

/// Looks the subscription up, and changes nothing: says what is wrong before a source is started. What it returns are
/// sentences about what works but should be changed, e.g. that there is no dead-letter topic.
///
/// # Errors
/// As [`connect`].
pub async fn check(config: &PubSubConfig) -> Result<Vec<String>, SourceError> {
    let api = api::Api::new(config)?;
    Ok(check::look(&api, config).await?.warnings)
}
