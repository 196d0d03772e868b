//! The contract itself.

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::error::SourceError;
use crate::message::Message;

/// Where messages come from: one consumer of one queue, subscription, topic or route.
pub trait Source: Send + 'static {
    /// What this broker can do.
    fn features(&self) -> Features;

    /// Waits for at least one message and returns what is there, at most `max`.
    ///
    /// A source reserves settlement slots first and fetches at most as many messages as it got slots; when every
    /// slot is taken it waits, and that is the backpressure. Reconnecting is the source's own business: `recv`
    /// waits through it.
    ///
    /// Cancel-safe: dropping the future loses nothing; whatever it had fetched goes back to the broker or comes
    /// with the next call.
    ///
    /// # Errors
    /// [`SourceError`] ends this source; the supervisor builds a new one, with backoff.
    fn recv(&mut self, max: NonZeroUsize) -> impl Future<Output = Result<Vec<Message>, SourceError>> + Send;

    /// Stops reading, waits until every token that is out has been settled or `deadline` has passed, and tells
    /// the broker. What is still unsettled then goes back to the broker.
    ///
    /// # Errors
    /// [`SourceError`]: some settlements did not reach the broker; their messages will be delivered again.
    fn close(self, deadline: Duration) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// What a broker can do. The conformance suite chooses its tests by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Messages come in the order in which they were published, per key or at all.
    pub ordered: bool,
    /// `retry(Some(delay))` keeps the message away for that long, at the broker or in the source.
    pub native_retry_delay: bool,
    /// [`Message::attempt`] is counted.
    pub redelivery_count: bool,
    /// An unsettled message comes back by itself after this long; the source extends it while the token lives.
    pub lease: Option<Duration>,
    /// The producer waits for the answer: permanent faults are refused, not quarantined.
    pub replies: bool,
}
