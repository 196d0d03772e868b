//! One poller: reserves slots, asks SQS for as many messages, and passes them on.
//!
//! Invariant: what a call brings is either passed on with its token or made visible again, also when the call is
//! answered after the source was closed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName as System;
use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use longshore_source::{Message, Receipt, Slots, SourceError, Status, Tracker};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::client::Queue;
use crate::error::explain;
use crate::groups::{Lot, Place};
use crate::leases::{Leases, hand_back};
use crate::message::Incoming;
use crate::reader::Reader;
use crate::settle::Handle;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The wait after a call that failed: short, so that the end of a fault is soon known.
const PROBE_SECS: i32 = 1;

/// After an answer that brought nothing and came at once: whatever answers so must not be asked without a pause.
const EMPTY_PAUSE: Duration = Duration::from_millis(100);

/// A message on its way to `recv`.
pub(crate) struct Arrived {
    pub(crate) message: Message,
    pub(crate) place: Option<Place>,
}

/// Whether calls go well, for all pollers of a source.
#[derive(Debug)]
pub(crate) struct Health {
    failing: AtomicBool,
    status: Status,
    name: String,
}

impl Health {
    pub(crate) fn new(status: Status, name: &str) -> Arc<Self> {
        Arc::new(Self { failing: AtomicBool::new(false), status, name: name.to_owned() })
    }

    fn good(&self) {
        if self.failing.swap(false, Ordering::AcqRel) {
            self.status.reconnected();
            tracing::info!(source.name = self.name, "consuming again");
        }
    }

    fn bad(&self, error: &SourceError) {
        self.status.failing(&error.to_string());
        // An outage of hours is one line.
        if !self.failing.swap(true, Ordering::AcqRel) {
            tracing::warn!(source.name = self.name, %error, "receiving failed; trying again");
        }
    }
}

/// What pollers share.
#[derive(Clone)]
pub(crate) struct Poller {
    pub(crate) queue: Queue,
    pub(crate) tracker: Arc<Tracker<Handle>>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) arrived: mpsc::UnboundedSender<Arrived>,
    pub(crate) health: Arc<Health>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) lots: Arc<AtomicU64>,
    pub(crate) wait_secs: i32,
    pub(crate) max_messages: NonZeroUsize,
    /// Asked for with each call; `None` leaves it to the queue.
    pub(crate) visibility_secs: Option<i32>,
}

/// What one call asks for.
struct Ask {
    count: usize,
    wait_secs: i32,
    /// On a FIFO queue: repeated when an answer is lost, so that SQS gives the same messages again.
    attempt_id: Option<String>,
}

impl Poller {
    /// Polls until `stop`. A call that is open then is not abandoned: what it still brings goes back at once.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pauses = pauses();
        let mut attempts = self.queue.is_fifo.then(Attempts::new);
        let mut failed = false;
        loop {
            let slots = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                slots = self.tracker.reserve(self.max_messages) => slots,
            };
            let ask = Ask {
                count: slots.len(),
                wait_secs: if failed { self.wait_secs.min(PROBE_SECS) } else { self.wait_secs },
                attempt_id: attempts.as_ref().map(Attempts::id),
            };
            let asked = Instant::now();
            let mut call = Box::pin(receive(self.queue.clone(), ask, self.visibility_secs));
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let queue = self.queue.clone();
                    // The source counts as closed when nobody holds a slot or the tracker.
                    drop((slots, self));
                    return linger(call.await, &queue).await;
                }
                answer = &mut call => answer,
            };
            match answer {
                Ok(messages) => {
                    failed = false;
                    pauses.reset();
                    self.health.good();
                    if let Some(attempts) = &mut attempts {
                        attempts.next();
                    }
                    let is_hasty = messages.is_empty() && asked.elapsed() < EMPTY_PAUSE;
                    self.pass_on(messages, slots).await;
                    if is_hasty {
                        sleep(EMPTY_PAUSE).await;
                    }
                }
                Err(error) => {
                    failed = true;
                    drop(slots);
                    self.health.bad(&error);
                    let pause = pauses.next_backoff().unwrap_or(LONGEST_PAUSE);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// One call that does not wait, so that what refuses us does so at the start.
    pub(crate) async fn first(&self) -> Result<(), SourceError> {
        let slots = self.tracker.reserve(self.max_messages).await;
        let ask = Ask { count: slots.len(), wait_secs: 0, attempt_id: None };
        let messages = receive(self.queue.clone(), ask, self.visibility_secs).await?;
        self.pass_on(messages, slots).await;
        Ok(())
    }

    async fn pass_on(&self, messages: Vec<Incoming>, mut slots: Slots<Handle>) {
        let since = Instant::now();
        let places = self.places(&messages);
        let mut surplus = Vec::new();
        for (mut incoming, place) in messages.into_iter().zip(places) {
            let wanted = self.reader.read(&mut incoming);
            let Incoming { receipt, body, headers, position, attempt } = incoming;
            if slots.is_empty() {
                surplus.push(receipt);
                continue;
            }
            let number = self.leases.add(&receipt, since);
            let handle = Handle { number, receipt, place: place.clone() };
            let Some(ack) = slots.fill_sized(handle, body.len()) else { continue };
            self.health.status.received(1);
            if !wanted {
                ack.ack(Receipt::default());
                continue;
            }
            let message = Message {
                body,
                headers,
                position,
                route: None,
                redelivered: attempt.is_some_and(|attempt| attempt > 1),
                attempt,
                tombstone: false,
                ack,
            };
            // Fails only when the source is gone; the token then gives the message back.
            let _ = self.arrived.send(Arrived { message, place });
        }
        if !surplus.is_empty() {
            // No server of SQS gives more than it was asked for; should one do so, nothing is kept from others.
            hand_back(&self.queue, &surplus).await;
        }
    }

    /// Where each message stands in its group, on a FIFO queue.
    fn places(&self, messages: &[Incoming]) -> Vec<Option<Place>> {
        if !self.queue.is_fifo {
            return vec![None; messages.len()];
        }
        let group = |message: &Incoming| message.position.key.clone().unwrap_or_default();
        let mut sizes = HashMap::<String, usize>::new();
        for message in messages {
            *sizes.entry(group(message)).or_default() += 1;
        }
        let lot = |size| (Lot::new(self.lots.fetch_add(1, Ordering::Relaxed), size), 0);
        let mut lots = sizes.into_iter().map(|(key, size)| (key, lot(size))).collect::<HashMap<_, _>>();
        let place = |message| {
            let (lot, next) = lots.get_mut(&group(message))?;
            *next += 1;
            Some(Place { lot: Arc::clone(lot), index: *next - 1 })
        };
        messages.iter().map(place).collect()
    }
}

async fn receive(queue: Queue, ask: Ask, visibility_secs: Option<i32>) -> Result<Vec<Incoming>, SourceError> {
    let call = queue
        .polls
        .receive_message()
        .queue_url(&queue.url)
        .max_number_of_messages(i32::try_from(ask.count).unwrap_or(1))
        .wait_time_seconds(ask.wait_secs)
        .set_visibility_timeout(visibility_secs)
        .set_receive_request_attempt_id(ask.attempt_id)
        .message_attribute_names("All")
        .message_system_attribute_names(System::ApproximateReceiveCount)
        .message_system_attribute_names(System::SentTimestamp)
        .message_system_attribute_names(System::MessageGroupId);
    let answer = call.send().await;
    let answer = answer.map_err(|error| explain(&error, &format!("receiving from `{}`", queue.name)))?;
    let messages = answer.messages.unwrap_or_default().into_iter();
    Ok(messages.map(|message| Incoming::of(message, &queue.name)).collect())
}

async fn linger(answer: Result<Vec<Incoming>, SourceError>, queue: &Queue) {
    let receipts = answer.unwrap_or_default().into_iter().map(|message| message.receipt).collect::<Vec<_>>();
    hand_back(queue, &receipts).await;
}

/// Ids of receive calls, unique among all consumers of a queue.
struct Attempts {
    prefix: u64,
    number: u64,
}

impl Attempts {
    fn new() -> Self {
        // The standard library's own source of randomness: enough for a name.
        Self { prefix: RandomState::new().build_hasher().finish(), number: 0 }
    }

    fn id(&self) -> String {
        format!("{:016x}-{}", self.prefix, self.number)
    }

    fn next(&mut self) {
        self.number += 1;
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_PAUSE)
        .with_max_interval(LONGEST_PAUSE)
        .with_max_elapsed_time(None)
        .build()
}
