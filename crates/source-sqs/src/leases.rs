//! Keeps messages away from other consumers while somebody here works on them.
//!
//! One task extends the visibility of everything that is out, at half of what it has, ten by one request, the most
//! urgent first. What has been out for long is kept for longer: a queue whose timeout is short is not asked more and more
//! often while everything is slow, and after a crash a message is away no longer than a few times what it was out for.
//! Invariant: what is settled or was dropped is extended no more, so that what nobody works on comes back.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry as Entry};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longshore_source::{SourceError, Status};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::client::Queue;
use crate::error::explain;

/// The most entries of one request (SQS API reference, "batch actions").
pub(crate) const BATCH: usize = 10;
/// Extending requests that are under way at once.
const AT_ONCE: usize = 8;
/// An extension lasts this many times as long as the message has been out, but not less than the visibility timeout…
const TIMES_AGE: u32 = 4;
/// …and, unless that is longer, not more than this.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// After a request that failed as a whole.
const PAUSE: Duration = Duration::from_millis(500);

/// The messages that are out, by a number of ours.
#[derive(Debug)]
pub(crate) struct Leases {
    held: Mutex<Held>,
    added: Notify,
    longest: Duration,
}

#[derive(Debug)]
struct Held {
    visibility: Duration,
    leases: HashMap<u64, Lease>,
    /// When each is to be extended.
    due: BTreeSet<(Instant, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Lease {
    receipt: String,
    since: Instant,
    /// When to extend it; `None` when it is lost or may not be extended any further.
    due: Option<Instant>,
    lost: bool,
}

impl Leases {
    /// `longest` bounds how long a message is kept altogether.
    pub(crate) fn new(visibility: Duration, longest: Duration) -> Self {
        let held = Held { visibility, leases: HashMap::new(), due: BTreeSet::new(), next: 0 };
        Self { held: Mutex::new(held), added: Notify::new(), longest }
    }

    pub(crate) fn visibility(&self) -> Duration {
        self.lock().visibility
    }

    pub(crate) fn set_visibility(&self, visibility: Duration) {
        self.lock().visibility = visibility;
    }

    /// A message was received at `since`. Returns its number.
    pub(crate) fn add(&self, receipt: &str, since: Instant) -> u64 {
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        let due = since + held.visibility / 2;
        held.leases.insert(number, Lease { receipt: receipt.to_owned(), since, due: None, lost: false });
        held.plan(number, Some(due));
        drop(held);
        self.added.notify_one();
        number
    }

    /// The message is on its way back to the broker. Returns whether its lease was lost before, and counted.
    pub(crate) fn end(&self, number: u64) -> bool {
        let mut held = self.lock();
        held.plan(number, None);
        held.leases.remove(&number).is_some_and(|lease| lease.lost)
    }

    /// How long a message has been out.
    pub(crate) fn age(&self, number: u64) -> Duration {
        self.lock().leases.get(&number).map_or(Duration::ZERO, |lease| lease.since.elapsed())
    }

    /// Ends every lease; returns the receipts that may still be good.
    pub(crate) fn end_all(&self) -> Vec<String> {
        let mut held = self.lock();
        held.due.clear();
        let leases = std::mem::take(&mut held.leases);
        drop(held);
        leases.into_values().filter(|lease| !lease.lost).map(|lease| lease.receipt).collect()
    }

    /// What is to be extended now by one request, and to how many seconds from now; or when there will be something.
    fn due(&self) -> Result<Vec<(u64, String, i32)>, Option<Instant>> {
        let now = Instant::now();
        let mut held = self.lock();
        let visibility = held.visibility;
        // What is due a little later comes along, for fuller requests.
        let soon = now + visibility / 10;
        if held.due.first().is_none_or(|(first, _)| *first > now) {
            return Err(held.due.first().map(|(first, _)| *first));
        }
        let numbers: Vec<u64> = held
            .due
            .iter()
            .take_while(|(at, _)| *at <= soon)
            .map(|(_, number)| *number)
            .take(BATCH)
            .collect();
        let mut due = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(lease) = held.leases.get(&number) else { continue };
            let age = now.duration_since(lease.since);
            let step = (age * TIMES_AGE).clamp(visibility, visibility.max(LONGEST_STEP));
            let left = self.longest.saturating_sub(age).min(step).as_secs();
            if left == 0 {
                tracing::warn!(
                    "a message is not kept from other consumers any longer: it has been out too long"
                );
                held.plan(number, None);
                continue;
            }
            due.push((number, lease.receipt.clone(), i32::try_from(left).unwrap_or(i32::MAX)));
            // Until the answer says otherwise.
            held.plan(number, Some(now + Duration::from_secs(left) / 2));
        }
        Ok(due)
    }

    /// These were not extended: they are due again at that time, unless they were lost or ended meanwhile.
    fn again(&self, numbers: impl IntoIterator<Item = u64>, at: Instant) {
        let mut held = self.lock();
        for number in numbers {
            let due = held.leases.get(&number).and_then(|lease| lease.due);
            held.plan(number, due.map(|due| due.min(at)));
        }
    }

    /// Returns whether it was still out.
    fn lose(&self, number: u64) -> bool {
        let mut held = self.lock();
        held.plan(number, None);
        let Some(lease) = held.leases.get_mut(&number) else { return false };
        lease.lost = true;
        true
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in here is left half-changed by a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Extends what is out, until it is aborted. Requests do not wait for one another: one that takes long holds up
    /// nothing but its own messages.
    pub(crate) async fn keep(&self, queue: &Queue, status: &Status) {
        let mut flying = FuturesUnordered::new();
        loop {
            let mut next = None;
            while flying.len() < AT_ONCE {
                match self.due() {
                    Ok(due) => flying.push(self.extend(queue, status, due)),
                    Err(first) => {
                        next = first;
                        break;
                    }
                }
            }
            tokio::select! {
                Some(()) = flying.next() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.added.notified(), if flying.len() < AT_ONCE => {}
            }
        }
    }

    async fn extend(&self, queue: &Queue, status: &Status, chunk: Vec<(u64, String, i32)>) {
        let entries = chunk.iter().map(|(_, receipt, seconds)| (receipt.as_str(), *seconds));
        let failed = match change_visibility(queue, entries).await {
            Ok(failed) => failed,
            Err(error) => {
                tracing::warn!(queue = queue.name, %error, "messages could not be kept; trying again");
                return self.again(chunk.iter().map(|(number, ..)| *number), Instant::now() + PAUSE);
            }
        };
        for (index, failure) in failed {
            let Some((number, ..)) = chunk.get(index) else { continue };
            if !failure.sender_fault {
                self.again([*number], Instant::now() + PAUSE);
            } else if self.lose(*number) {
                tracing::debug!(queue = queue.name, code = failure.code, "a message is not ours any more");
                status.stale(1);
            }
        }
    }
}

impl Held {
    /// Sets when a message is to be extended, or that it is not any more.
    fn plan(&mut self, number: u64, due: Option<Instant>) {
        let Some(lease) = self.leases.get_mut(&number) else { return };
        if let Some(before) = std::mem::replace(&mut lease.due, due) {
            self.due.remove(&(before, number));
        }
        self.due.extend(due.map(|due| (due, number)));
    }
}

/// Changes the visibility of at most ten messages; returns the entries that failed, by their place.
pub(crate) async fn change_visibility(
    queue: &Queue,
    entries: impl IntoIterator<Item = (&str, i32)>,
) -> Result<Vec<(usize, BatchResultErrorEntry)>, SourceError> {
    let mut call = queue.calls.change_message_visibility_batch().queue_url(&queue.url);
    for (index, (receipt, seconds)) in entries.into_iter().enumerate() {
        let entry =
            Entry::builder().id(index.to_string()).receipt_handle(receipt).visibility_timeout(seconds);
        call = call.entries(entry.build().expect("an id and a receipt handle are set"));
    }
    let answer = call.send().await;
    let answer =
        answer.map_err(|error| explain(&error, &format!("changing visibility in `{}`", queue.name)))?;
    Ok(by_place(answer.failed))
}

/// Failures by the place of their entry, which is its id.
pub(crate) fn by_place(failed: Vec<BatchResultErrorEntry>) -> Vec<(usize, BatchResultErrorEntry)> {
    failed.into_iter().filter_map(|failure| Some((failure.id.parse().ok()?, failure))).collect()
}

/// Makes messages visible at once, as well as can be done in a few tries.
pub(crate) async fn hand_back(queue: &Queue, receipts: &[String]) {
    for chunk in receipts.chunks(BATCH) {
        for _ in 0..3 {
            let entries = chunk.iter().map(|receipt| (receipt.as_str(), 0));
            match change_visibility(queue, entries).await {
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(queue = queue.name, %error, "messages could not be handed back");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn names(due: Result<Vec<(u64, String, i32)>, Option<Instant>>) -> Vec<(String, i32)> {
        due.unwrap_or_default().into_iter().map(|(_, receipt, seconds)| (receipt, seconds)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_urgent_comes_first_and_ten_at_a_time() {
        let leases = Leases::new(2 * SECOND, 100 * SECOND);
        let begun = Instant::now();
        tokio::time::advance(SECOND / 2).await;
        for number in 0..12 {
            leases.add(&format!("late {number}"), Instant::now());
        }
        leases.add("early", begun);

        assert_eq!(leases.due().unwrap_err(), Some(begun + SECOND));
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(names(leases.due()), [("early".to_owned(), 4)]);
        tokio::time::advance(SECOND / 2).await;
        assert_eq!(leases.due().map(|due| due.len()), Ok(10));
        assert_eq!(leases.due().map(|due| due.len()), Ok(2));
        assert_eq!(leases.due().unwrap_err(), Some(begun + 3 * SECOND), "early, at half of its four seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_out_for_long_is_asked_for_less_and_less_often_and_not_for_ever() {
        let leases = Leases::new(2 * SECOND, 100 * SECOND);
        let begun = Instant::now();
        let number = leases.add("a", begun);
        let mut asked = Vec::new();
        for _ in 0..50 {
            match leases.due() {
                Ok(due) => {
                    asked.extend(due.into_iter().map(|(.., seconds)| (begun.elapsed().as_secs(), seconds)));
                }
                Err(Some(next)) => tokio::time::advance(next - Instant::now()).await,
                Err(None) => break,
            }
        }
        let (first, last) = (&asked[..5], asked[asked.len() - 1]);
        assert_eq!(first, [(1, 4), (3, 12), (9, 30), (24, 30), (39, 30)]);
        assert_eq!(last, (99, 1), "until the longest that a message may be out");
        assert!(!leases.end(number));

        let long = Leases::new(60 * SECOND, 1_000 * SECOND);
        long.add("b", Instant::now());
        tokio::time::advance(30 * SECOND).await;
        assert_eq!(names(long.due()), [("b".to_owned(), 60)], "never to less than the timeout");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_failed_is_made_again_and_what_ended_is_not() {
        let leases = Leases::new(2 * SECOND, 100 * SECOND);
        let (kept, ended) = (leases.add("kept", Instant::now()), leases.add("ended", Instant::now()));
        tokio::time::advance(SECOND).await;
        assert_eq!(leases.due().map(|due| due.len()), Ok(2));

        assert!(!leases.end(ended));
        let at = Instant::now() + PAUSE;
        leases.again([kept, ended], at);
        assert_eq!(leases.due().unwrap_err(), Some(at));
        assert!(leases.lose(kept) && !leases.lose(ended));
        assert_eq!(leases.due().unwrap_err(), None);
        assert!(leases.end(kept), "it was lost");
    }
}
