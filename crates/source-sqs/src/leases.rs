//! Keeps messages away from other consumers while somebody here works on them.
//!
//! One task extends the visibility of everything that is out, at half of the visibility timeout, ten by one request.
//! Invariant: what is settled or was dropped is extended no more, so that what nobody works on comes back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry as Entry};
use futures_util::StreamExt as _;
use futures_util::stream;
use longshore_source::{SourceError, Status};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::client::Queue;
use crate::error::explain;

/// The most entries of one request (SQS API reference, "batch actions").
pub(crate) const BATCH: usize = 10;
/// Extending requests that are under way at once.
const AT_ONCE: usize = 8;
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
        let held = Held { visibility, leases: HashMap::new(), next: 0 };
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
        let due = Some(since + held.visibility / 2);
        held.leases.insert(number, Lease { receipt: receipt.to_owned(), since, due, lost: false });
        drop(held);
        self.added.notify_one();
        number
    }

    /// The message is on its way back to the broker. Returns whether its lease was lost before, and counted.
    pub(crate) fn end(&self, number: u64) -> bool {
        self.lock().leases.remove(&number).is_some_and(|lease| lease.lost)
    }

    /// How long a message has been out.
    pub(crate) fn age(&self, number: u64) -> Duration {
        self.lock().leases.get(&number).map_or(Duration::ZERO, |lease| lease.since.elapsed())
    }

    /// Ends every lease; returns the receipts that may still be good.
    pub(crate) fn end_all(&self) -> Vec<String> {
        let leases = std::mem::take(&mut self.lock().leases);
        leases.into_values().filter(|lease| !lease.lost).map(|lease| lease.receipt).collect()
    }

    /// What is to be extended now, and by how many seconds; or when there will be something.
    fn due(&self) -> Result<Vec<(u64, String, i32)>, Option<Instant>> {
        let (now, longest) = (Instant::now(), self.longest);
        let mut held = self.lock();
        let visibility = held.visibility;
        // What is due a little later comes along, for fuller requests.
        let soon = now + visibility / 10;
        let first = held.leases.values().filter_map(|lease| lease.due).min();
        if first.is_none_or(|first| first > now) {
            return Err(first);
        }
        let mut due = Vec::new();
        for (number, lease) in &mut held.leases {
            if lease.due.is_none_or(|due| due > soon) {
                continue;
            }
            let left = longest.saturating_sub(lease.since.elapsed()).min(visibility).as_secs();
            if left == 0 {
                tracing::warn!(
                    "a message is not kept from other consumers any longer: it has been out too long"
                );
                lease.due = None;
                continue;
            }
            // Until the answer says otherwise; it is asked for at half of what it now has.
            lease.due = Some(now + visibility / 2);
            due.push((*number, lease.receipt.clone(), i32::try_from(left).unwrap_or(i32::MAX)));
        }
        Ok(due)
    }

    fn again(&self, numbers: impl IntoIterator<Item = u64>, at: Instant) {
        let mut held = self.lock();
        for number in numbers {
            if let Some(lease) = held.leases.get_mut(&number) {
                lease.due = lease.due.map(|due| due.min(at));
            }
        }
    }

    /// Returns whether it was still out.
    fn lose(&self, number: u64) -> bool {
        let mut held = self.lock();
        let Some(lease) = held.leases.get_mut(&number) else { return false };
        (lease.due, lease.lost) = (None, true);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in here is left half-changed by a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Extends what is out, until it is aborted.
    pub(crate) async fn keep(&self, queue: &Queue, status: &Status) {
        loop {
            match self.due() {
                Ok(due) => {
                    let requests = due.chunks(BATCH).map(|chunk| self.extend(queue, status, chunk));
                    // Collected first: the iterator borrows what the requests borrow.
                    let requests = requests.collect::<Vec<_>>();
                    stream::iter(requests).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
                }
                Err(None) => self.added.notified().await,
                Err(Some(first)) => {
                    tokio::select! {
                        () = sleep_until(first) => {}
                        () = self.added.notified() => {}
                    }
                }
            }
        }
    }

    async fn extend(&self, queue: &Queue, status: &Status, chunk: &[(u64, String, i32)]) {
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
