//! The consuming end of HTTP ingest, and the queue between it and the routes.
//!
//! Invariant: what is in the queue owns a slot, so the queue is as bounded as the slots are; and a queued
//! request whose producer has gone is dropped unread, because it will be repeated.

use std::future::pending;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use longshore_source::{AckToken, Features, Headers, Message, Position, Route, Settled, Source, SourceError};
use tokio::sync::{mpsc, oneshot, watch};

use crate::rejection::Rejection;
use crate::slots::{Held, Slot, Slots};

/// The events that the routes of [`crate::routes`] accept, as a source.
///
/// Dropping it without [`Source::close`] makes the routes answer `503`.
#[derive(Debug)]
pub struct HttpSource {
    queue: mpsc::UnboundedReceiver<Queued>,
    stage: watch::Sender<Stage>,
    slots: Slots,
}

/// The routes' end: takes slots, queues what was read, and knows when to stop waiting.
#[derive(Debug)]
pub(crate) struct Intake {
    queue: mpsc::UnboundedSender<Queued>,
    stage: watch::Receiver<Stage>,
    pub(crate) slots: Slots,
}

/// A request's message on its way to the consumer.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) body: Bytes,
    pub(crate) headers: Headers,
    /// What its producer calls it, so that a repeat is recognised.
    pub(crate) key: Option<String>,
    pub(crate) route: Route,
    pub(crate) reply: Reply,
    pub(crate) slot: Slot,
}

/// Where the end of a message's life is reported.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The request's only message.
    One(oneshot::Sender<Settled>),
    /// One of a batch, with its place in it.
    Item(usize, mpsc::UnboundedSender<(usize, Settled)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// Closing: nothing new is accepted, what was accepted may still be answered.
    Draining,
    /// Closed with messages unsettled: nobody waits for them any more.
    Abandoned,
}

/// Both ends.
pub(crate) fn channel(max_messages: NonZeroUsize, max_bytes: NonZeroUsize) -> (Intake, HttpSource) {
    let slots = Slots::new(max_messages, max_bytes);
    // Unbounded, but every item in it owns a slot.
    let (sender, queue) = mpsc::unbounded_channel();
    let (stage, watch) = watch::channel(Stage::Open);
    (Intake { queue: sender, stage: watch, slots: slots.clone() }, HttpSource { queue, stage, slots })
}

impl Source for HttpSource {
    fn features(&self) -> Features {
        Features { replies: true, ..Features::default() }
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        let mut queued = Vec::new();
        loop {
            if self.queue.recv_many(&mut queued, max.get()).await == 0 {
                return Err(SourceError::Closed);
            }
            let messages: Vec<_> = queued
                .drain(..)
                .filter(|queued| queued.reply.is_awaited())
                .map(Queued::into_message)
                .collect();
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    async fn close(mut self, deadline: Duration) -> Result<(), SourceError> {
        self.stage.send_replace(Stage::Draining);
        self.queue.close();
        // Not handed out, so not stored: dropping them tells their producers to repeat.
        while self.queue.recv().await.is_some() {}
        if tokio::time::timeout(deadline, self.slots.all_free()).await.is_ok() {
            return Ok(());
        }
        let unsettled = self.slots.taken();
        self.stage.send_replace(Stage::Abandoned);
        Err(SourceError::Disconnected(format!(
            "`{unsettled}` events were not settled in time; their producers are told to repeat them"
        )))
    }
}

impl Intake {
    /// Takes room for one message of `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Rejection> {
        if self.queue.is_closed() {
            return Err(Rejection::Stopping);
        }
        self.slots.try_take(bytes).ok_or(Rejection::Full)
    }

    /// Hands a message to the consumer. When that is gone the message is dropped, and its reply with it.
    pub(crate) fn put(&self, queued: Queued) {
        let _ = self.queue.send(queued);
    }

    /// Waits until the source is closed or gone.
    pub(crate) async fn draining(&self) {
        let _ = self.stage.clone().wait_for(|stage| *stage != Stage::Open).await;
    }

    /// Waits until the source was closed and gave up waiting for settlements.
    pub(crate) async fn abandoned(&self) {
        let mut stage = self.stage.clone();
        let told = stage.wait_for(|stage| *stage == Stage::Abandoned).await.is_ok();
        if !told {
            // The source was dropped, but tokens may live on and tell the truth.
            pending::<()>().await;
        }
    }
}

impl Queued {
    fn into_message(self) -> Message {
        let Self { body, headers, key, route, reply, slot } = self;
        let ack = AckToken::new(move |how| {
            // Before the answer: a producer that has it may send its next event at once.
            drop(slot);
            reply.send(how);
        });
        Message {
            body,
            headers,
            position: Position { message_id: key, ..Position::default() },
            route: Some(route),
            redelivered: false,
            attempt: None,
            tombstone: false,
            ack,
        }
    }
}

impl Reply {
    fn is_awaited(&self) -> bool {
        match self {
            Self::One(reply) => !reply.is_closed(),
            Self::Item(_, replies) => !replies.is_closed(),
        }
    }

    fn send(self, how: Settled) {
        // Fails when the request is over: by its deadline, or because the producer hung up.
        match self {
            Self::One(reply) => drop(reply.send(how)),
            Self::Item(index, replies) => drop(replies.send((index, how))),
        }
    }
}
