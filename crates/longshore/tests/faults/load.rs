//! A publisher that knows what the broker has confirmed, and comes back after an outage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_testkit::rabbitmq::{Outgoing, Rabbit};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(20);
/// Between two tries to reach a broker that is away.
const PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What was published, by number.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Taken over by the broker, and when it was sent.
    pub(crate) confirmed: HashMap<u64, Instant>,
    /// Sent without an answer: in the queue or not.
    pub(crate) unsure: HashSet<u64>,
    next: u64,
}

/// A publisher at a steady rate.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    published: Arc<Mutex<Published>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Publishes `rate` messages a second, a multiple of 50, as `message` makes them of their number.
    pub(crate) fn start(
        amqp_url: &str,
        queue: &str,
        rate: u64,
        message: impl Fn(u64) -> Outgoing + Send + Sync + 'static,
    ) -> Self {
        let (stop, published) = (CancellationToken::new(), Arc::new(Mutex::new(Published::default())));
        let publisher = Publisher {
            amqp_url: amqp_url.to_owned(),
            queue: queue.to_owned(),
            per_tick: rate / 50,
            published: Arc::clone(&published),
            message,
        };
        let task = tokio::spawn(publisher.run(stop.clone()));
        Self { stop, published, task }
    }

    /// What is published so far. While this is held nothing is published, and everything sent is confirmed or
    /// will never be.
    pub(crate) async fn hold(&self) -> MutexGuard<'_, Published> {
        self.published.lock().await
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Published {
        self.stop.cancel();
        self.task.await.unwrap();
        std::mem::take(&mut *self.published.lock().await)
    }
}

struct Publisher<M> {
    amqp_url: String,
    queue: String,
    per_tick: u64,
    published: Arc<Mutex<Published>>,
    message: M,
}

impl<M: Fn(u64) -> Outgoing + Send + Sync> Publisher<M> {
    async fn run(self, stop: CancellationToken) {
        let mut rabbit = None;
        let mut ticks = interval(TICK);
        // After an outage the rate goes on; what was not sent meanwhile is not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let connection = match rabbit.take() {
                Some(connection) => connection,
                None => match timeout(CONNECT_TIMEOUT, Rabbit::try_connect_to(&self.amqp_url)).await {
                    Ok(Ok(connection)) => connection,
                    _ => {
                        sleep(PAUSE).await;
                        continue;
                    }
                },
            };
            ticks.tick().await;
            if self.publish(&connection).await {
                rabbit = Some(connection);
            }
        }
    }

    /// One tick's messages; false when the connection is of no use any more.
    async fn publish(&self, rabbit: &Rabbit) -> bool {
        let mut published = self.published.lock().await;
        let numbers = published.next..published.next + self.per_tick;
        published.next = numbers.end;
        let at = Instant::now();
        let mut taken = 0;
        let messages: Vec<Outgoing> = numbers.clone().map(&self.message).collect();
        let result = rabbit.existing(&self.queue).try_publish(messages, |_| taken += 1).await;
        let (confirmed, unsure) = (numbers.start..numbers.start + taken, numbers.start + taken..numbers.end);
        published.confirmed.extend(confirmed.map(|number| (number, at)));
        published.unsure.extend(unsure);
        result.is_ok()
    }
}

/// By what a redelivery of a message can be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// `message_id` and `timestamp`.
    Dated,
    /// `message_id`.
    Named,
    /// Nothing but its content.
    Nameless,
}

impl Identity {
    pub(crate) const ALL: [Self; 3] = [Self::Dated, Self::Named, Self::Nameless];

    /// Numbers take turns.
    pub(crate) const fn of(number: u64) -> Self {
        Self::ALL[(number % 3) as usize]
    }
}

/// A broadcast event with that number; its identity takes turns.
pub(crate) fn broadcast(number: u64) -> Outgoing {
    identified(number, Identity::of(number)).header("x-convoy-message-type", "broadcast")
}

fn identified(number: u64, identity: Identity) -> Outgoing {
    let message = Outgoing::new(format!(r#"{{"event_type": "fault.test", "data": {{"n": {number}}}}}"#));
    match identity {
        Identity::Dated => message.identified(format!("m-{number}"), unix_now()),
        Identity::Named => Outgoing { message_id: Some(format!("m-{number}")), ..message },
        Identity::Nameless => message,
    }
}

fn unix_now() -> u64 {
    SystemClock.now().as_secs().try_into().unwrap()
}
