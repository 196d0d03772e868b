//! What is leased to this source, and the task that keeps the leases alive: of messages that are worked on, that wait to
//! be handed out, that are held back before a retry, and whose acknowledgement is on its way.
//!
//! Invariant: what is not in the table any more is not extended any more, so it comes back unless it was acknowledged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{Api, MOST_IDS};
use crate::error::{Fate, fates};

/// What the service calls one delivery of a message.
pub(crate) type AckId = Arc<str>;

/// The leases of one source. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    table: Arc<Mutex<HashMap<AckId, Lease>>>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    received: Instant,
    /// Since when it runs.
    since: Instant,
}

impl Leases {
    /// Notes deliveries that have just come.
    pub(crate) fn add(&self, ids: impl Iterator<Item = AckId>) {
        let now = Instant::now();
        self.lock().extend(ids.map(|id| (id, Lease { received: now, since: now })));
    }

    /// Forgets deliveries: they are settled, or shall come back.
    pub(crate) fn remove<'a>(&self, ids: impl Iterator<Item = &'a AckId>) {
        let mut table = self.lock();
        ids.for_each(|id| _ = table.remove(id));
    }

    /// Takes everything that is left.
    pub(crate) fn drain(&self) -> Vec<AckId> {
        self.lock().drain().map(|(id, _)| id).collect()
    }

    /// The leases that have run for `age` or more, and how many were forgotten because they are `oldest` or older.
    fn due(&self, age: Duration, oldest: Duration) -> (Vec<AckId>, usize) {
        let now = Instant::now();
        let mut table = self.lock();
        let before = table.len();
        table.retain(|_, lease| now.duration_since(lease.received) < oldest);
        let forgotten = before - table.len();
        let due = table.iter().filter(|(_, lease)| now.duration_since(lease.since) >= age);
        (due.map(|(id, _)| Arc::clone(id)).collect(), forgotten)
    }

    fn extended(&self, ids: &[AckId], at: Instant) {
        let mut table = self.lock();
        for id in ids {
            if let Some(lease) = table.get_mut(id) {
                lease.since = at;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AckId, Lease>> {
        // Nothing in here is left half-changed by a panic.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends leases until it is dropped. A lease has two fifths of its time left when it is first extended, and is tried
/// again twice before it would end.
pub(crate) async fn keep(leases: Leases, api: Api, ack_deadline: u16, max_extension: Duration) {
    let lease = Duration::from_secs(ack_deadline.into());
    let mut ticks = interval(lease / 5);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (due, forgotten) = leases.due(lease * 2 / 5, max_extension);
        if forgotten > 0 {
            tracing::warn!(
                subscription = api.subscription(),
                count = forgotten,
                "messages were worked on for longer than `max_extension`; they will be delivered again"
            );
        }
        join_all(due.chunks(MOST_IDS).map(|ids| extend(&leases, &api, ack_deadline, ids))).await;
    }
}

async fn extend(leases: &Leases, api: &Api, ack_deadline: u16, ids: &[AckId]) {
    let asked = Instant::now();
    let request = ids.iter().map(|id| id.to_string()).collect();
    match api.modify_ack_deadline(request, ack_deadline).await {
        Ok(()) => leases.extended(ids, asked),
        Err(status) => {
            tracing::debug!(subscription = api.subscription(), %status, count = ids.len(), "leases not extended");
            let fates = fates(&status, ids.iter().map(AsRef::as_ref));
            let of = |fate| ids.iter().zip(&fates).filter(move |(_, is)| **is == fate).map(|(id, _)| id);
            leases.extended(&of(Fate::Done).cloned().collect::<Vec<_>>(), asked);
            leases.remove(of(Fate::Lost));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_extended_in_time_and_not_for_ever() {
        let (leases, second) = (Leases::default(), Duration::from_secs(1));
        leases.add(["a".into(), "b".into()].into_iter());
        assert_eq!(leases.due(4 * second, 30 * second), (vec![], 0));

        tokio::time::advance(4 * second).await;
        let (mut due, _) = leases.due(4 * second, 30 * second);
        due.sort();
        assert_eq!(due, ["a".into(), "b".into()]);
        leases.extended(&["a".into()], Instant::now());
        assert_eq!(leases.due(4 * second, 30 * second), (vec!["b".into()], 0));

        tokio::time::advance(26 * second).await;
        assert_eq!(leases.due(4 * second, 30 * second), (vec![], 2));
    }
}
