//! Since when endpoints fail, known to the whole fleet without a write per attempt.
//!
//! A row is written at the first failure and deleted at the first success after it. Each process knows which rows
//! there are, from what it wrote and from a look every few seconds, and when it last saw a success: so a success of
//! which no row was known yet still ends the row. Only endpoints of projects that switch endpoints off are watched.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_core::ports::{Outcome, StoreError};
use longshore_core::{EndpointId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// How long a success is remembered: longer than between two looks.
const REMEMBERED: Duration = Duration::from_secs(120);

/// What this process knows.
#[derive(Debug, Default)]
pub(crate) struct Failing(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    failing: HashSet<EndpointId>,
    succeeded: HashMap<EndpointId, Instant>,
}

/// What a batch of outcomes changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Endpoints that begin to fail, with the end of their first failed attempt; sorted.
    began: Vec<(EndpointId, Timestamp)>,
    /// Endpoints that fail no more; sorted.
    ended: Vec<EndpointId>,
    succeeded: HashSet<EndpointId>,
}

impl Failing {
    /// Looks through a batch.
    pub(crate) fn changes(&self, outcomes: &[&Outcome]) -> Changes {
        let mut changes = Changes::default();
        let mut failed: HashMap<EndpointId, Timestamp> = HashMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.aftermath.is_watched) {
            let Some(attempt) = &outcome.attempt else { continue };
            if attempt.outcome.is_success() {
                changes.succeeded.insert(outcome.endpoint);
            } else {
                let at = attempt.started_at.after(attempt.duration);
                failed.entry(outcome.endpoint).and_modify(|first| *first = at.min(*first)).or_insert(at);
            }
        }
        if failed.is_empty() && changes.succeeded.is_empty() {
            return changes;
        }
        let known = self.lock();
        changes.ended =
            changes.succeeded.iter().filter(|endpoint| known.failing.contains(endpoint)).copied().collect();
        changes.ended.sort_unstable();
        let is_new = |endpoint: &EndpointId| {
            !known.failing.contains(endpoint) && !changes.succeeded.contains(endpoint)
        };
        changes.began = failed.into_iter().filter(|(endpoint, _)| is_new(endpoint)).collect();
        changes.began.sort_unstable();
        changes
    }

    /// The changes are in the database.
    pub(crate) fn commit(&self, changes: &Changes) {
        if changes.began.is_empty() && changes.succeeded.is_empty() {
            return;
        }
        let mut known = self.lock();
        for endpoint in &changes.succeeded {
            known.failing.remove(endpoint);
            known.succeeded.insert(*endpoint, Instant::now());
        }
        known.failing.extend(changes.began.iter().map(|(endpoint, _)| *endpoint));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here is left half-changed by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Changes {
    /// Writes what there is to write: most of the time nothing.
    pub(crate) async fn write(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if !self.ended.is_empty() {
            let ended: Vec<Uuid> = self.ended.iter().map(|endpoint| endpoint.as_uuid()).collect();
            sqlx::query!("DELETE FROM failing_endpoints WHERE endpoint_id = ANY($1)", &ended)
                .execute(&mut *connection)
                .await
                .map_err(sort)?;
        }
        if !self.began.is_empty() {
            let (endpoints, since): (Vec<Uuid>, Vec<_>) =
                self.began.iter().map(|(endpoint, at)| (endpoint.as_uuid(), at.to_utc())).unzip();
            sqlx::query!(
                "INSERT INTO failing_endpoints (endpoint_id, failing_since)
                 SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS t (endpoint_id, failing_since)
                 ORDER BY endpoint_id
                 ON CONFLICT DO NOTHING",
                &endpoints,
                &since,
            )
            .execute(&mut *connection)
            .await
            .map_err(sort)?;
        }
        Ok(())
    }
}

impl Store {
    /// Learns which endpoints fail in the eyes of the fleet, and ends what this process knows to have ended. Call it
    /// every second or two: a success counts for the others from then on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refresh_failing(&self) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let refreshed = refresh(self, &mut connection).await;
            connection.end(refreshed)
        })
        .await
    }
}

async fn refresh(store: &Store, connection: &mut PgConnection) -> Result<(), StoreError> {
    let asked_at = Instant::now();
    let rows = sqlx::query!(
        r#"SELECT endpoint_id, extract(epoch FROM now() - failing_since)::float8 AS "age!" FROM failing_endpoints"#
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    let mut ended: Vec<Uuid> = Vec::new();
    {
        let mut known = store.failing().lock();
        known.succeeded.retain(|_, at| at.elapsed() < REMEMBERED);
        // What began since the question was asked is asked for next time; until then it is not known to be written,
        // which at most writes it again.
        known.failing.clear();
        for row in rows {
            let endpoint = EndpointId::from_uuid(row.endpoint_id);
            let age = Duration::from_secs_f64(row.age.max(0.0));
            let has_succeeded = known
                .succeeded
                .get(&endpoint)
                .is_some_and(|at| asked_at.saturating_duration_since(*at) < age);
            if has_succeeded {
                ended.push(row.endpoint_id);
            } else {
                known.failing.insert(endpoint);
            }
        }
    }
    if !ended.is_empty() {
        ended.sort_unstable();
        sqlx::query!("DELETE FROM failing_endpoints WHERE endpoint_id = ANY($1)", &ended)
            .execute(connection)
            .await
            .map_err(sort)?;
    }
    Ok(())
}
