//! What the tests do to sources and queues, in short.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

pub(crate) mod scripted;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use longshore_source::{Context, Message, Receipt, Source as _, SourceError};
use longshore_source_sqs::{SqsConfig, SqsSource};
use longshore_testkit::publication::Publication;
use longshore_testkit::sqs::TestQueue;
use tokio::time::timeout;

/// More than a test ever publishes at once.
pub(crate) const MANY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

pub(crate) fn config(queue: &TestQueue) -> SqsConfig {
    serde_json::from_value(queue.settings()).unwrap()
}

pub(crate) fn config_at(queue: &TestQueue, endpoint: &str) -> SqsConfig {
    serde_json::from_value(queue.settings_at(endpoint)).unwrap()
}

/// Connects under a name that says nothing.
pub(crate) async fn connect(config: SqsConfig) -> Result<SqsSource, SourceError> {
    longshore_source_sqs::connect(config, Context::new("sqs", "test")).await
}

pub(crate) fn numbered(numbers: Range<usize>) -> impl Iterator<Item = Publication> {
    numbers.map(|number| Publication::new(number.to_string()))
}

/// Receives exactly `count` messages, each within `limit` of the one before.
pub(crate) async fn take(source: &mut SqsSource, count: usize, limit: Duration) -> Vec<Message> {
    let mut taken = Vec::new();
    while let Some(missing) = NonZeroUsize::new(count - taken.len()) {
        let messages = timeout(limit, source.recv(missing)).await;
        let got = taken.len();
        taken.extend(messages.unwrap_or_else(|_| unreachable!("only {got} of {count} came")).unwrap());
    }
    taken
}

pub(crate) fn ack(messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}
