//! What every source must do. A source is what passes [`run`].
//!
//! The suite sees a source only through the contract, and the broker only through a [`Harness`]. Its tests are
//! chosen by the source's [`Features`]: a source that replies has answers in place of redelivery, and only a lease can
//! run out. It panics at the first claim that does not hold, and names it.
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//! use longshore_source::conformance::{self, Harness};
//! use longshore_source::memory::{MemoryBroker, MemorySource};
//! # use std::time::Duration;
//!
//! struct Memory(MemoryBroker);
//!
//! impl Harness for Memory {
//!     type Source = MemorySource;
//!     async fn fresh_queue(&mut self) {
//!         self.0 = MemoryBroker::new(Duration::from_secs(2));
//!     }
//!     async fn connect(&mut self, max_in_flight: NonZeroUsize) -> MemorySource {
//!         MemorySource::connect(&self.0, max_in_flight)
//!     }
//!     async fn publish(&mut self, bodies: Vec<String>) {
//!         bodies.into_iter().for_each(|body| self.0.publish(body));
//!     }
//!     async fn break_connections(&mut self) -> bool {
//!         self.0.crash();
//!         true
//!     }
//!     async fn left(&mut self) -> u64 {
//!         self.0.stats().ready
//!     }
//! }
//!
//! # async fn test() {
//! conformance::run(Memory(MemoryBroker::new(Duration::from_secs(2)))).await;
//! # }
//! ```

mod faults;
mod flow;
mod replying;
mod settling;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, ready};
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::time::timeout;

use crate::message::{Message, Receipt};
use crate::source::{Features, Source};

/// Longer than anything that is expected to happen takes, a lease that runs out excepted.
const LIMIT: Duration = Duration::from_secs(30);
/// How long nothing must happen for the suite to believe that nothing will.
const QUIET: Duration = Duration::from_millis(500);

/// What a producer that waits is told about its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable.
    Stored,
    /// It is not known to be durable: send it again, not before this long from now.
    Repeat(Duration),
    /// It can never be stored, and why.
    Refused(String),
}

/// The broker's side of the suite.
pub trait Harness: Send {
    /// The source under test.
    type Source: Source;

    /// Begins a test: from now on, `connect` and `publish` use a queue that is empty and that nobody else uses.
    fn fresh_queue(&mut self) -> impl Future<Output = ()> + Send;

    /// A new source on the current queue, for at most `max_in_flight` unsettled messages. It must receive what is
    /// published after this returns.
    fn connect(&mut self, max_in_flight: NonZeroUsize) -> impl Future<Output = Self::Source> + Send;

    /// Publishes to the current queue, in this order, each with an id of its own. Returns when the broker has them;
    /// for a source that replies, when they are on their way: it does not wait for the answers.
    fn publish(&mut self, bodies: Vec<String>) -> impl Future<Output = ()> + Send;

    /// As [`Harness::publish`], in such a way that the broker keeps the order: with one key, where order is kept per key.
    fn publish_in_order(&mut self, bodies: Vec<String>) -> impl Future<Output = ()> + Send {
        self.publish(bodies)
    }

    /// Breaks every connection of the sources on the current queue, so that they have to connect anew. False when
    /// that cannot be done here.
    fn break_connections(&mut self) -> impl Future<Output = bool> + Send;

    /// How many published messages the broker still has for a new consumer, when no source is connected any more;
    /// for a source that replies, how many producers have not been told that their message is stored. Waits until
    /// the broker's count is settled.
    fn left(&mut self) -> impl Future<Output = u64> + Send;

    /// For a source that replies: what the producer of each body was told in the end. Waits until everybody on the
    /// current queue has an answer. A producer that was told that there is no room has none yet: it repeats.
    fn answers(&mut self) -> impl Future<Output = BTreeMap<String, Answer>> + Send {
        ready(BTreeMap::new())
    }

    /// Whether the broker keeps one position per log in place of a state per message: what stands behind a message
    /// that is unsettled is then left with it, however it was settled.
    fn keeps_a_position(&self) -> bool {
        false
    }

    /// How many messages the flow test sends; less for a slow stand-in of a broker.
    fn flow_count(&self) -> usize {
        10_000
    }
}

/// Runs the whole suite.
///
/// # Panics
/// At the first claim that does not hold.
pub async fn run<H: Harness>(mut harness: H) {
    let features = features(&mut harness).await;

    settling::an_acknowledged_message_is_gone(&mut harness).await;
    settling::a_dropped_message_is_not_gone(&mut harness).await;
    settling::any_order_of_settling_is_right(&mut harness).await;
    settling::close_waits_for_tokens_and_flushes(&mut harness).await;
    flow::no_more_than_the_limit_is_out(&mut harness).await;
    flow::a_dropped_recv_loses_nothing(&mut harness).await;
    flow::a_long_flow_passes_a_small_window(&mut harness).await;
    if features.ordered {
        flow::messages_come_in_order(&mut harness).await;
    }
    if features.replies {
        replying::every_producer_is_told_what_became_of_its_message(&mut harness).await;
        replying::close_answers_everybody(&mut harness).await;
    } else {
        settling::close_keeps_its_deadline(&mut harness).await;
        settling::a_dropped_message_comes_again(&mut harness).await;
        settling::a_retried_message_comes_again(&mut harness).await;
        faults::a_crash_before_the_ack_redelivers_the_same_position(&mut harness).await;
        faults::a_broken_connection_is_made_again(&mut harness).await;
    }
    if let Some(lease) = features.lease {
        faults::a_lease_outlives_a_slow_consumer(&mut harness, lease).await;
    }
}

async fn features<H: Harness>(harness: &mut H) -> Features {
    harness.fresh_queue().await;
    let source = harness.connect(slots(1)).await;
    let features = source.features();
    close(source).await;
    features
}

fn slots(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("the suite asks for at least one")
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("message {number}")).collect()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

fn texts(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().map(text).collect()
}

fn ack(messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

/// Receives exactly `count` messages.
async fn take<S: Source>(source: &mut S, count: usize, limit: Duration) -> Vec<Message> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let max = slots(count - taken.len());
        let messages = timeout(limit, source.recv(max)).await;
        let messages =
            messages.unwrap_or_else(|_| panicked(&format!("only {} of {count} came", taken.len())));
        let messages = messages.unwrap_or_else(|error| panicked(&format!("the source ended: {error}")));
        assert!(!messages.is_empty(), "recv returned without a message");
        assert!(messages.len() <= max.get(), "recv returned more than it was asked for");
        taken.extend(messages);
    }
    taken
}

async fn stays_quiet<S: Source>(source: &mut S, how_long: Duration) -> bool {
    timeout(how_long, source.recv(slots(1))).await.is_err()
}

async fn close<S: Source>(source: S) {
    let closed = timeout(LIMIT + LIMIT, source.close(LIMIT)).await.expect("close did not return");
    assert!(closed.is_ok(), "close did not flush: {closed:?}");
}

#[expect(clippy::panic, reason = "this is a test suite; `assert!` cannot return a value")]
fn panicked<T>(problem: &str) -> T {
    panic!("{problem}")
}
