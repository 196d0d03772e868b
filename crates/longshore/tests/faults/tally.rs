//! The verdict of a run: what was published against what is stored and what arrived.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use longshore_testkit::gateway::Gateway;
use tokio::time::{Instant, sleep};

use crate::load::Published;
use crate::stage::Stage;

/// Between two looks at the database while a run settles.
const POLL: Duration = Duration::from_millis(100);

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Confirmed by the broker, or answered `201`.
    pub(crate) published: usize,
    /// Sent without an answer.
    pub(crate) unsure: usize,
    /// Numbers with an event.
    pub(crate) stored: usize,
    /// Numbers that arrived at the receiver.
    pub(crate) delivered: usize,
    /// Published and not stored.
    pub(crate) lost: usize,
    /// Stored and not delivered.
    pub(crate) undelivered: usize,
    /// Events beyond the first of a number.
    pub(crate) doubled: usize,
    /// Stored although nobody sent it.
    pub(crate) foreign: usize,
    /// Requests beyond the first of a number.
    pub(crate) repeated: usize,
}

impl Tally {
    /// Asserts that everything published is stored exactly once and delivered at least once.
    pub(crate) fn assert_exactly_once_stored(&self, scenario: &str) {
        eprintln!("{scenario}: {self}");
        assert!(self.published > 0, "{scenario}: nothing was published");
        let faults = [self.lost, self.undelivered, self.doubled, self.foreign];
        assert_eq!(faults, [0; 4], "{scenario}: lost, undelivered, doubled, foreign: {self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "published {}, unconfirmed {}, stored {}, delivered {}, lost {}, doubled {}, sent again {}",
            self.published, self.unsure, self.stored, self.delivered, self.lost, self.doubled, self.repeated
        )
    }
}

impl Stage {
    /// Waits until the gateway is through with everything, stops it, which must succeed, and counts.
    pub(crate) async fn finish(
        &self,
        gateway: &mut Gateway,
        published: &Published,
        patience: Duration,
    ) -> Tally {
        self.settle(published.confirmed.len(), patience).await;
        assert_eq!(gateway.sigterm(patience).await.code(), Some(0), "the gateway stops with success");
        // What it had not acknowledged would be ready again now.
        assert_eq!(self.queue.left().await, 0, "everything is acknowledged");
        self.tally(published).await
    }

    /// Waits, at most `patience`, until so many events are stored, the queue is empty and no delivery is due.
    pub(crate) async fn settle(&self, published: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let stored = self.count("SELECT count(*) FROM events").await;
            let open = self.count("SELECT count(*) FROM deliveries WHERE finished_at IS NULL").await;
            let ready = self.queue.left().await;
            let is_settled = stored >= i64::try_from(published).unwrap() && open == 0 && ready == 0;
            if is_settled || Instant::now() >= deadline {
                return; // the tally shows what is missing
            }
            sleep(POLL).await;
        }
    }

    /// Counts.
    pub(crate) async fn tally(&self, published: &Published) -> Tally {
        let events: HashMap<u64, usize> = self.numbers().await;
        let mut requests: HashMap<u64, usize> = HashMap::new();
        for request in self.receiver.requests() {
            *requests.entry(request.json()["n"].as_u64().unwrap()).or_default() += 1;
        }
        let sent: HashSet<u64> = published.confirmed.keys().chain(&published.unsure).copied().collect();
        Tally {
            published: published.confirmed.len(),
            unsure: published.unsure.len(),
            stored: events.len(),
            delivered: requests.len(),
            lost: published.confirmed.keys().filter(|number| !events.contains_key(number)).count(),
            undelivered: events.keys().filter(|number| !requests.contains_key(number)).count(),
            doubled: events.values().map(|count| count - 1).sum(),
            foreign: events.keys().filter(|number| !sent.contains(number)).count(),
            repeated: requests.values().map(|count| count - 1).sum(),
        }
    }

    /// How many events there are of each number. What is kept and marked as a duplicate, by its idempotency key, is
    /// none.
    pub(crate) async fn numbers(&self) -> HashMap<u64, usize> {
        let query = "SELECT (convert_from(body, 'UTF8')::json ->> 'n')::bigint, count(*) FROM events
                     WHERE NOT is_duplicate GROUP BY 1";
        let rows: Vec<(i64, i64)> = sqlx::query_as(query).fetch_all(&self.pool).await.unwrap();
        rows.into_iter()
            .map(|(number, count)| (number.try_into().unwrap(), count.try_into().unwrap()))
            .collect()
    }
}
