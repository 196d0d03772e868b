//! A publisher that knows what the broker has confirmed, and comes back after an outage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Clock, SystemClock};
use longshore_testkit::broker::Queue;
use longshore_testkit::publication::Publication;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_millis(20);
/// Between two tries to reach a broker that is away.
const PAUSE: Duration = Duration::from_millis(100);

/// What was published, by number.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Taken over by the broker, and when it was sent.
    pub(crate) confirmed: HashMap<u64, Instant>,
    /// Sent without an answer: in the queue or not.
    pub(crate) unsure: HashSet<u64>,
    /// How many were taken over, also where none is kept.
    pub(crate) count: usize,
    next: u64,
}

impl Published {
    /// Messages with these numbers, all confirmed.
    pub(crate) fn of(numbers: impl IntoIterator<Item = u64>) -> Self {
        let now = Instant::now();
        let confirmed: HashMap<_, _> = numbers.into_iter().map(|number| (number, now)).collect();
        Self { count: confirmed.len(), confirmed, ..Self::default() }
    }
}

impl Published {
    /// The same with numbers from `first` on.
    pub(crate) fn numbered_from(self, first: u64) -> Self {
        let confirmed = self.confirmed.into_iter().map(|(number, at)| (first + number, at)).collect();
        let unsure = self.unsure.into_iter().map(|number| first + number).collect();
        Self { confirmed, unsure, ..self }
    }

    /// Adds what somebody else published.
    pub(crate) fn extend(&mut self, other: Self) {
        self.confirmed.extend(other.confirmed);
        self.unsure.extend(other.unsure);
        self.count += other.count;
    }
}

/// A publisher at a steady rate.
#[derive(Debug)]
pub(crate) struct Load {
    stop: CancellationToken,
    published: Arc<Mutex<Published>>,
    task: JoinHandle<()>,
}

impl Load {
    /// Publishes `rate` messages a second, below 50 or a multiple of it, as `message` makes them of their number.
    pub(crate) fn start(
        queue: &Arc<Queue>,
        rate: u64,
        message: impl Fn(u64) -> Publication + Send + Sync + 'static,
    ) -> Self {
        Self::begin(queue, rate, message, true)
    }

    /// As [`Self::start`], and only counts: a day's numbers would not fit.
    #[cfg(feature = "soak-tests")]
    pub(crate) fn start_counting(
        queue: &Arc<Queue>,
        rate: u64,
        message: impl Fn(u64) -> Publication + Send + Sync + 'static,
    ) -> Self {
        Self::begin(queue, rate, message, false)
    }

    fn begin(
        queue: &Arc<Queue>,
        rate: u64,
        message: impl Fn(u64) -> Publication + Send + Sync + 'static,
        keep: bool,
    ) -> Self {
        let (stop, published) = (CancellationToken::new(), Arc::new(Mutex::new(Published::default())));
        let publisher = Publisher {
            queue: Arc::clone(queue),
            per_tick: (rate / 50).max(1),
            tick: if rate < 50 { Duration::from_secs(1) / rate as u32 } else { TICK },
            published: Arc::clone(&published),
            message,
            keep,
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
    queue: Arc<Queue>,
    per_tick: u64,
    tick: Duration,
    published: Arc<Mutex<Published>>,
    message: M,
    /// Whether the numbers are kept, or only counted.
    keep: bool,
}

impl<M: Fn(u64) -> Publication + Send + Sync> Publisher<M> {
    async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(self.tick);
        // After an outage the rate goes on; what was not sent meanwhile is not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            ticks.tick().await;
            if !self.publish().await {
                sleep(PAUSE).await;
            }
        }
    }

    /// One tick's messages; false when the broker did not take them all.
    async fn publish(&self) -> bool {
        let mut published = self.published.lock().await;
        let numbers = published.next..published.next + self.per_tick;
        published.next = numbers.end;
        let at = Instant::now();
        let taken = self.queue.try_publish(numbers.clone().map(&self.message).collect()).await;
        for (number, taken) in numbers.zip(&taken) {
            if *taken {
                published.count += 1;
                if self.keep {
                    published.confirmed.insert(number, at);
                }
            } else {
                published.unsure.insert(number);
            }
        }
        taken.iter().all(|taken| *taken)
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
pub(crate) fn broadcast(number: u64) -> Publication {
    identified(number, Identity::of(number)).header("x-convoy-message-type", "broadcast")
}

fn identified(number: u64, identity: Identity) -> Publication {
    let message = Publication::new(format!(r#"{{"event_type": "fault.test", "data": {{"n": {number}}}}}"#));
    let (id, now) = (Some(format!("m-{number}")), Some(SystemClock.now().as_millis()));
    match identity {
        Identity::Dated => Publication { id, timestamp_ms: now, ..message },
        Identity::Named => Publication { id, ..message },
        Identity::Nameless => message,
    }
}
