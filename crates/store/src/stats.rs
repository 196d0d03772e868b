//! Figures by hour, rolled up from what the hot path left.
//!
//! What it is for: to count events and deliveries once, so that whoever asks reads a few rows. What it does not do: count
//! anything while it happens; a figure is as old as the last roll of its hour. Invariants: an hour is written as a whole,
//! in one transaction, from the rows whose ids are of it, so that rolling it again gives the same or what is true by now;
//! an hour is left as it is once its rows may be gone.

use std::collections::HashMap;
use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{EventId, ProjectId, Timestamp};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::{misconfigured, sort};

/// An hour, in seconds.
const HOUR: i64 = 3_600;
/// Hours rolled in one round: what was never rolled is caught up with over some rounds.
const MOST_HOURS: usize = 24;
/// An hour is not rolled more often than that.
const SOONEST: Duration = Duration::from_secs(240);
/// Within that of the end of retention an hour is left alone: its rows may be on their way out.
const MARGIN: Duration = Duration::from_secs(7_200);
/// Old figures are removed so many rows at a time.
const BATCH: i64 = 5_000;

/// What is known of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rolled {
    at: Timestamp,
    is_open: bool,
}

impl Store {
    /// Rolls up the hours that are due at `now`, the newest first; how many there were. `kept` is how long events are kept.
    ///
    /// # Errors
    /// [`StoreError`]; hours that were rolled stay rolled.
    pub async fn roll_up(&self, now: Timestamp, kept: Duration) -> Result<usize, StoreError> {
        let from = floor_of(now.before(sure(kept))) + 1;
        let known = sqlx::query!(
            "SELECT hour, rolled_at, is_open FROM stats_hours WHERE hour >= $1",
            Timestamp::from_secs(from * HOUR).to_utc()
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let known = known.into_iter().map(|row| {
            let rolled = Rolled { at: Timestamp::from_utc(row.rolled_at), is_open: row.is_open };
            (row.hour.unix_timestamp().div_euclid(HOUR), rolled)
        });
        let due = due(now, from, &known.collect());
        let own = self.retentions(kept).await?;
        for hour in &due {
            let start = Timestamp::from_secs(hour * HOUR);
            let gone = own.iter().filter(|(_, kept)| start < now.before(sure(*kept)));
            let gone: Vec<Uuid> = gone.map(|(project, _)| project.as_uuid()).collect();
            self.roll(now, start, &gone).await?;
        }
        Ok(due.len())
    }

    /// Projects that keep events for less long than `kept`.
    async fn retentions(&self, kept: Duration) -> Result<Vec<(ProjectId, Duration)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT id, settings->>'retention' AS "retention!" FROM projects
               WHERE settings->>'retention' IS NOT NULL"#
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let mut own = Vec::new();
        for row in rows {
            let retention = longshore_core::duration::parse(&row.retention).map_err(misconfigured)?;
            own.extend((retention < kept).then_some((ProjectId::from_uuid(row.id), retention)));
        }
        Ok(own)
    }

    /// Writes one hour anew, but for the projects whose rows of it are gone.
    async fn roll(&self, now: Timestamp, start: Timestamp, gone: &[Uuid]) -> Result<(), StoreError> {
        let end = Timestamp::from_secs(start.as_secs() + HOUR);
        let (first, next) = (EventId::floor(start).as_uuid(), EventId::floor(end).as_uuid());
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        // An hour of a large installation takes longer than a request may.
        sqlx::query!("SET LOCAL statement_timeout = '15min'")
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        sqlx::query!(
            "DELETE FROM stats_hourly WHERE hour = $1 AND project_id <> ALL ($2)",
            start.to_utc(),
            gone
        )
        .execute(&mut *transaction)
        .await
        .map_err(sort)?;
        sqlx::query_file!("queries/roll_up.sql", start.to_utc(), first, next, gone, now.to_utc())
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        transaction.commit().await.map_err(sort)
    }

    /// Forgets figures of before `before`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_stats(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let gone = sqlx::query!(
                "DELETE FROM stats_hourly WHERE ctid = ANY (ARRAY (
                     SELECT ctid FROM stats_hourly WHERE hour < $1 LIMIT $2))",
                before.to_utc(),
                BATCH,
            )
            .execute(self.pool())
            .await
            .map_err(sort)?
            .rows_affected();
            dropped += gone;
            if gone < BATCH.unsigned_abs() {
                break;
            }
        }
        sqlx::query!("DELETE FROM stats_hours WHERE hour < $1", before.to_utc())
            .execute(self.pool())
            .await
            .map_err(sort)?;
        Ok(dropped)
    }
}

/// For how long rows are surely there that are kept for `kept`.
fn sure(kept: Duration) -> Duration {
    kept.saturating_sub(MARGIN.min(kept / 4))
}

/// The hour of that instant, counted from the epoch.
const fn floor_of(at: Timestamp) -> i64 {
    at.as_secs().div_euclid(HOUR)
}

/// The hours that are due: those never rolled, and those whose last roll is old for their age. The older an hour is, the
/// less often it is rolled: what is late comes late by a fraction of its age.
fn due(now: Timestamp, from: i64, known: &HashMap<i64, Rolled>) -> Vec<i64> {
    let is_due = |hour: &i64| match known.get(hour) {
        None => true,
        Some(rolled) => {
            let age = now.since(Timestamp::from_secs((hour + 1) * HOUR));
            let share = if rolled.is_open { age / 8 } else { age / 2 };
            now.since(rolled.at) >= share.max(SOONEST)
        }
    };
    (from..=floor_of(now)).rev().filter(is_due).take(MOST_HOURS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_hours_are_rolled_seldom_and_the_newest_come_first() {
        let now = Timestamp::from_secs(100 * HOUR + 1_800);
        let rolled =
            |secs_ago: u64, is_open| Rolled { at: now.before(Duration::from_secs(secs_ago)), is_open };
        let known = HashMap::from([
            (100, rolled(300, true)),
            (99, rolled(60, true)),
            (98, rolled(2_000, false)),
            (97, rolled(2_000, true)),
            (96, rolled(90_000, false)),
        ]);

        assert_eq!(due(now, 95, &known), [100, 97, 96, 95]);
        assert_eq!(due(now, 1, &HashMap::new()).len(), MOST_HOURS);
        assert_eq!(due(now, 1, &HashMap::new())[0], 100);
    }
}
