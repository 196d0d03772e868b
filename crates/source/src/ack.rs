//! The linear acknowledgement token: the only `Drop` that matters.

use std::fmt;
use std::time::Duration;

use crate::message::{Receipt, Refusal};

/// How a message's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Durable: never deliver it again.
    Ack(Receipt),
    /// Not durable: deliver it again, not before this long from now where the broker can wait.
    Retry(Option<Duration>),
    /// It can never become an event and nothing was stored. Only for sources whose producer waits for the
    /// answer ([`crate::Features::replies`]); every other source sees such a message quarantined and acked.
    Refuse(Refusal),
}

/// Ends a message's life at the broker, exactly once.
///
/// Settling consumes the token. It is synchronous and cannot fail, because the token owns a reserved
/// settlement slot. Dropping the token means *deliver it again*, like [`AckToken::retry`] with no delay.
#[must_use = "dropping the token gives the message back to the broker"]
pub struct AckToken {
    settle: Option<Box<dyn FnOnce(Settled) + Send>>,
}

impl AckToken {
    /// A token that hands its end to `settle`. `settle` runs exactly once, possibly in a destructor: it must
    /// neither block nor panic. Sources get their tokens from [`crate::Slots::fill`].
    pub fn new(settle: impl FnOnce(Settled) + Send + 'static) -> Self {
        Self { settle: Some(Box::new(settle)) }
    }

    /// The message is durable. Call it only after the commit: in the pipeline, that is one place.
    pub fn ack(self, receipt: Receipt) {
        self.end(Settled::Ack(receipt));
    }

    /// The message is not durable and should come back, `after` a while where the broker can wait.
    pub fn retry(self, after: Option<Duration>) {
        self.end(Settled::Retry(after));
    }

    /// The producer waits and is told that its message is wrong. See [`Settled::Refuse`].
    pub fn refuse(self, refusal: Refusal) {
        self.end(Settled::Refuse(refusal));
    }

    fn end(mut self, how: Settled) {
        if let Some(settle) = self.settle.take() {
            settle(how);
        }
    }
}

impl Drop for AckToken {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle(Settled::Retry(None));
        }
    }
}

impl fmt::Debug for AckToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AckToken").finish_non_exhaustive()
    }
}
