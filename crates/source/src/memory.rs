//! A broker in memory and its source: the reference for the contract, and the broker of model tests.
//!
//! It has what real brokers have: leases that run out, redelivery, delays, connections that break. It does not
//! persist anything. Time is tokio's, so tests may pause it. Invariant: a message is ready, leased, or
//! acknowledged, and never lost.

mod broker;

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

pub use broker::{MemoryBroker, Publication, Stats};

use crate::error::SourceError;
use crate::in_flight::{Settlements, Tracker, in_flight};
use crate::lease::Extension;
use crate::message::{Message, Position};
use crate::source::{Features, Source};
use broker::{Delivery, Received};

/// How many settlements are taken at once.
const ROUND: usize = 1024;

/// A consumer of a [`MemoryBroker`].
#[derive(Debug)]
pub struct MemorySource {
    broker: MemoryBroker,
    connection: u64,
    tracker: Tracker<u64>,
    /// Extends the leases of what is out. Dropped with the source, so that a crash lets them run out.
    _extension: Extension,
    settler: Settler,
    close: oneshot::Sender<Instant>,
}

impl MemorySource {
    /// A new connection to `broker` for at most `max_in_flight` unsettled messages. Needs a tokio runtime.
    #[must_use]
    pub fn connect(broker: &MemoryBroker, max_in_flight: NonZeroUsize) -> Self {
        let (tracker, settlements) = in_flight(max_in_flight);
        let (close, closing) = oneshot::channel();
        let connection = broker.open();
        let extended = broker.clone();
        let extension = Extension::start(broker.lease(), move || {
            extended.extend(connection);
            std::future::ready(())
        });
        let settler = Settler(tokio::spawn(settle(broker.clone(), settlements, closing)));
        Self { broker: broker.clone(), connection, tracker, _extension: extension, settler, close }
    }
}

impl Source for MemorySource {
    fn features(&self) -> Features {
        Features {
            ordered: true,
            native_retry_delay: true,
            redelivery_count: true,
            lease: Some(self.broker.lease()),
            replies: false,
        }
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        let mut slots = self.tracker.reserve(max).await;
        let received = self.broker.receive(self.connection, slots.len()).await;
        let Received::Deliveries(deliveries) = received else {
            return Err(SourceError::Disconnected("the broker hung up".to_owned()));
        };
        // No await from here on: dropping `recv` cannot strand what was taken.
        let message = |delivery: Delivery| {
            let ack = slots.fill(delivery.id)?;
            let Publication { body, headers, message_id, timestamp_ms, address, offset } =
                delivery.publication;
            Some(Message {
                body,
                headers,
                position: Position { message_id, timestamp_ms, address, offset, ..Position::default() },
                route: None,
                redelivered: delivery.attempt > 1,
                attempt: Some(delivery.attempt),
                tombstone: false,
                ack,
            })
        };
        Ok(deliveries.into_iter().filter_map(message).collect())
    }

    async fn close(self, deadline: Duration) -> Result<(), SourceError> {
        let Self { broker, connection, mut settler, close, .. } = self;
        let deadline = Instant::now() + deadline.min(broker::LONGEST);
        broker.stop(connection);
        let _ = close.send(deadline);
        let lost = timeout_at(deadline + ROUND_TRIP, &mut settler.0).await;
        broker.hang_up(connection);
        match lost {
            Ok(Ok(0)) => Ok(()),
            Ok(Ok(lost)) => {
                Err(SourceError::Disconnected(format!("{lost} settlements did not reach the broker")))
            }
            _ => Err(SourceError::Disconnected("settlements were still being written".to_owned())),
        }
    }
}

/// More than the settling task needs to see its deadline.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// A task that ends with its owner; yields how many settlements did not reach the broker since the close.
#[derive(Debug)]
struct Settler(JoinHandle<u64>);

impl Drop for Settler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn settle(
    broker: MemoryBroker,
    mut settlements: Settlements<u64>,
    mut close: oneshot::Receiver<Instant>,
) -> u64 {
    let mut round = Vec::new();
    let mut deadline = None;
    let mut lost = 0;
    loop {
        if deadline.is_some() && settlements.taken() == 0 {
            return lost;
        }
        tokio::select! {
            biased;
            count = settlements.next_many(&mut round, ROUND) => {
                if count == 0 {
                    return lost;
                }
                for settlement in round.drain(..) {
                    let known = broker.settle(settlement.handle, &settlement.how);
                    lost += u64::from(!known && deadline.is_some());
                }
            }
            at = &mut close, if deadline.is_none() => match at {
                Ok(at) => deadline = Some(at),
                Err(_) => return lost,
            },
            () = until(deadline), if deadline.is_some() => return lost,
        }
    }
}

fn until(deadline: Option<Instant>) -> impl Future<Output = ()> {
    sleep_until(deadline.unwrap_or_else(Instant::now))
}
