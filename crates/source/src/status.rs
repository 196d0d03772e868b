//! What a source says about itself: one record that the source and the pipeline write, and anybody reads.
//!
//! What it is for: metrics, the `source_status` table and the API tell the same story. Invariant: counting costs an
//! atomic addition; nothing here waits.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Label, counter, gauge};
use tokio::time::Instant;

use crate::in_flight::Ages;

/// How long a problem may be, in bytes: it is stored and shown.
const PROBLEM_MOST: usize = 500;

/// Whether messages flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not connected yet, or connecting again; no fault is known.
    #[default]
    Connecting,
    /// Connected.
    Consuming,
    /// Connecting again after a fault, which [`Report::problem`] names.
    Failing,
    /// Ended.
    Stopped,
}

impl State {
    /// The word used in the database, the API and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Consuming => "consuming",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One consumer's status at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether messages flow.
    pub state: State,
    /// The last fault, while it lasts. Holds no payload and no credential.
    pub problem: Option<String>,
    /// What works but should be changed, e.g. a queue without a dead-letter queue.
    pub warnings: Vec<String>,
    /// How long ago a message was last settled.
    pub last_progress: Option<Duration>,
    /// Messages that wait at the broker for this consumer or its group, as far as the broker says.
    pub lag: Option<u64>,
    /// Messages handed out and not settled.
    pub in_flight: u64,
    /// How long the oldest of them has been out.
    pub oldest: Option<Duration>,
    /// Messages taken from the broker.
    pub received: u64,
    /// Events stored.
    pub stored: u64,
    /// Events stored and marked: their idempotency key was seen before.
    pub duplicate: u64,
    /// Messages recognised as redeliveries; nothing was stored for them.
    pub redelivered: u64,
    /// Messages quarantined.
    pub quarantined: u64,
    /// Messages given back to the broker.
    pub returned: u64,
    /// Connections made again.
    pub reconnects: u64,
}

/// A shared handle to one consumer's status.
#[derive(Clone)]
pub struct Status {
    inner: Arc<Inner>,
}

struct Inner {
    said: Mutex<Said>,
    received: Count,
    stored: Count,
    duplicate: Count,
    redelivered: Count,
    quarantined: Count,
    acked: Count,
    returned: Count,
    stale: Count,
    reconnects: Count,
    lag: Gauge,
    in_flight: Gauge,
    labels: Vec<Label>,
}

#[derive(Default)]
struct Said {
    state: State,
    problem: Option<String>,
    warnings: Vec<String>,
    last_progress: Option<Instant>,
    lag: Option<u64>,
    ages: Option<Ages>,
    /// What this consumer has added to the gauges, which others with the same labels share.
    lag_shown: u64,
    out: u64,
}

/// A number that is both a metric and readable.
struct Count {
    value: AtomicU64,
    metric: Counter,
}

impl Count {
    fn add(&self, count: usize) {
        self.value.fetch_add(count as u64, Ordering::Relaxed);
        self.metric.increment(count as u64);
    }

    fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

impl Status {
    /// A status of a source of `kind` (`kafka`, …) with that name; both become labels of its metrics.
    #[must_use]
    pub fn new(kind: &'static str, name: &str) -> Self {
        let labels = vec![Label::from_static_parts("kind", kind), Label::new("source", name.to_owned())];
        let count = |name: &'static str, more: Option<(&'static str, &'static str)>| {
            let mut labels = labels.clone();
            labels.extend(more.map(|(key, value)| Label::from_static_parts(key, value)));
            Count { value: AtomicU64::new(0), metric: counter!(name, labels) }
        };
        let settled = |how| count("source_settled_total", Some(("how", how)));
        let became = |what| count("source_messages_total", Some(("became", what)));
        let inner = Inner {
            received: count("source_received_total", None),
            stored: became("stored"),
            duplicate: became("duplicate"),
            redelivered: became("redelivered"),
            quarantined: became("quarantined"),
            acked: settled("ack"),
            returned: settled("requeue"),
            stale: settled("stale"),
            reconnects: count("source_reconnects_total", None),
            lag: gauge!("source_lag_messages", labels.clone()),
            in_flight: gauge!("source_in_flight", labels.clone()),
            said: Mutex::default(),
            labels,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The labels of this source's metrics, for metrics that only one broker has.
    #[must_use]
    pub fn labels(&self) -> Vec<Label> {
        self.inner.labels.clone()
    }

    /// Connected, and consuming: earlier faults are over.
    pub fn consuming(&self) {
        let mut said = self.said();
        said.state = State::Consuming;
        said.problem = None;
    }

    /// Something is wrong and is being tried again. `problem` holds neither payload nor credentials.
    pub fn failing(&self, problem: &str) {
        let mut said = self.said();
        said.state = State::Failing;
        said.problem = Some(shortened(problem));
    }

    /// Disconnected without a fault: a restart of the broker, a stream that ended in good order.
    pub fn connecting(&self) {
        let mut said = self.said();
        if said.state != State::Failing {
            said.state = State::Connecting;
        }
    }

    /// A connection was made again.
    pub fn reconnected(&self) {
        self.inner.reconnects.add(1);
        self.consuming();
    }

    /// Ended: what was out is nobody's any more, and the gauges forget this consumer.
    pub fn stopped(&self) {
        let mut said = self.said();
        said.state = State::Stopped;
        said.ages = None;
        self.inner.in_flight.decrement(std::mem::take(&mut said.out) as f64);
        self.inner.lag.decrement(std::mem::take(&mut said.lag_shown) as f64);
        said.lag = None;
    }

    /// Replaces the list of what works but should be changed.
    pub fn warn(&self, warnings: Vec<String>) {
        self.said().warnings = warnings;
    }

    /// How many messages wait at the broker; `None` when it does not say.
    pub fn lag(&self, messages: Option<u64>) {
        let mut said = self.said();
        said.lag = messages;
        let shown = messages.unwrap_or(0);
        self.inner.lag.increment(shown as f64 - said.lag_shown as f64);
        said.lag_shown = shown;
    }

    /// Lets the report tell what is in flight: `ages` is [`crate::Tracker::ages`].
    pub fn watch(&self, ages: Ages) {
        self.said().ages = Some(ages);
    }

    /// Messages were handed out.
    pub fn received(&self, count: usize) {
        self.inner.received.add(count);
        self.said().out += count as u64;
        self.inner.in_flight.increment(count as f64);
    }

    /// Messages were acknowledged at the broker.
    pub fn acked(&self, count: usize) {
        self.settled(&self.inner.acked, count);
    }

    /// Messages were given back to the broker.
    pub fn returned(&self, count: usize) {
        self.settled(&self.inner.returned, count);
    }

    /// Messages were settled when their connection or claim was gone: the broker delivers them again.
    pub fn stale(&self, count: usize) {
        self.settled(&self.inner.stale, count);
    }

    /// What became of a batch in the store. For the pipeline.
    pub fn became(&self, stored: usize, duplicate: usize, redelivered: usize, quarantined: usize) {
        self.inner.stored.add(stored);
        self.inner.duplicate.add(duplicate);
        self.inner.redelivered.add(redelivered);
        self.inner.quarantined.add(quarantined);
    }

    /// The present state of affairs.
    #[must_use]
    pub fn report(&self) -> Report {
        let inner = &*self.inner;
        let said = self.said();
        let (in_flight, oldest) = said.ages.as_ref().map_or((0, None), Ages::read);
        Report {
            state: said.state,
            problem: said.problem.clone(),
            warnings: said.warnings.clone(),
            last_progress: said.last_progress.map(|at| at.elapsed()),
            lag: said.lag,
            in_flight: in_flight as u64,
            oldest,
            received: inner.received.get(),
            stored: inner.stored.get(),
            duplicate: inner.duplicate.get(),
            redelivered: inner.redelivered.get(),
            quarantined: inner.quarantined.get(),
            returned: inner.returned.get() + inner.stale.get(),
            reconnects: inner.reconnects.get(),
        }
    }

    fn settled(&self, how: &Count, count: usize) {
        if count == 0 {
            return;
        }
        how.add(count);
        let mut said = self.said();
        said.last_progress = Some(Instant::now());
        let gone = said.out.min(count as u64);
        said.out -= gone;
        drop(said);
        self.inner.in_flight.decrement(gone as f64);
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Nothing in here is left half-changed by a panic.
        self.inner.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status").field("report", &self.report()).finish()
    }
}

fn shortened(problem: &str) -> String {
    let end = problem.floor_char_boundary(PROBLEM_MOST);
    problem[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_lasts_until_the_source_consumes_again() {
        let status = Status::new("memory", "orders");
        status.failing("no such queue");
        status.connecting();
        assert_eq!(status.report().problem.as_deref(), Some("no such queue"));
        assert_eq!(status.report().state, State::Failing);

        status.reconnected();

        let report = status.report();
        assert_eq!((report.state, report.problem, report.reconnects), (State::Consuming, None, 1));
    }

    #[test]
    fn a_long_problem_is_cut_at_a_character() {
        let status = Status::new("memory", "orders");
        status.failing(&"é".repeat(600));

        assert_eq!(status.report().problem.unwrap().len(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn settling_is_progress() {
        let status = Status::new("memory", "orders");
        status.received(3);
        assert_eq!(status.report().last_progress, None);

        status.acked(2);
        status.returned(1);
        tokio::time::advance(Duration::from_secs(5)).await;

        let report = status.report();
        assert_eq!((report.received, report.returned), (3, 1));
        assert_eq!(report.last_progress, Some(Duration::from_secs(5)));
    }
}
