//! What the source does to a real RabbitMQ, and what RabbitMQ does to it.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

mod links;
mod reports;
mod settings;
mod settling;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use longshore_source::{Message, Receipt, Source as _};
use longshore_source_rabbitmq::RabbitMqSource;
use tokio::time::timeout;

pub(crate) const MANY: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn take(source: &mut RabbitMqSource, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let max = NonZeroUsize::new(count - messages.len()).unwrap();
        messages.extend(timeout(SOON, source.recv(max)).await.expect("no message came").unwrap());
    }
    messages
}

/// Drops what the client had buffered before it went back to `body`.
pub(crate) async fn take_from(source: &mut RabbitMqSource, body: &str, count: usize) -> Vec<Message> {
    let mut messages = take(source, 1).await;
    while texts(&messages) != [body] {
        messages = take(source, 1).await;
    }
    messages.extend(take(source, count - 1).await);
    messages
}

pub(crate) fn ack(messages: Vec<Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

pub(crate) fn bodies(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("body {number}"))
}

pub(crate) fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect()
}
