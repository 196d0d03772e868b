//! Partitions: one per day, created ahead, dropped by retention. No extension, no row-by-row deletes.
//!
//! Four tables are cut by the time in their rows' ids, one by date. All run on UTC days.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{Clock, EventId, SystemClock, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection};

use crate::connect::Store;
use crate::error::sort;

/// Days for which partitions exist ahead of time, unless configured otherwise.
pub const DEFAULT_DAYS_AHEAD: u32 = 7;

/// A redelivery by a broker is recognised for this many days when the message's position is no event id.
const IDENTITY_DAYS: i64 = 8;
const DAY_MS: i64 = 86_400_000;
/// One advisory lock for all partition work, so that two processes do not create the same day.
const LOCK: i64 = 0x6c6f_6e67_7368_6f72;
/// Another for dropping, which takes its time and must not keep new days from being made.
const LOCK_DROPS: i64 = LOCK + 1;

/// How long finished things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events with their deliveries and attempts, and idempotency keys.
    pub events: Duration,
    /// Quarantined messages.
    pub quarantine: Duration,
    /// Days for which partitions are created ahead.
    pub days_ahead: u32,
}

/// A table cut by time, and how its partitions are stored.
struct Partitioned {
    table: &'static str,
    storage: &'static str,
    by_date: bool,
}

const TABLES: [Partitioned; 5] = [
    Partitioned { table: "events", storage: "", by_date: false },
    // Half of each page is left for the in-place update at a delivery's end.
    Partitioned { table: "deliveries", storage: "WITH (fillfactor = 50)", by_date: false },
    Partitioned { table: "attempts", storage: "", by_date: false },
    Partitioned { table: "quarantine", storage: "", by_date: false },
    Partitioned { table: "message_identities", storage: "", by_date: true },
];

impl Store {
    /// Creates the partitions from yesterday to `days_ahead` days from now that are missing, and learns where the
    /// oldest begins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_partitions(&self, days_ahead: u32) -> Result<(), StoreError> {
        let today = day_of(SystemClock.now());
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        lock(&mut transaction).await?;
        let existing = existing(&mut transaction).await?;
        for day in today - 1..=today + i64::from(days_ahead) {
            for partitioned in &TABLES {
                let name = partition_name(partitioned.table, day);
                if !existing.contains(&name) {
                    create(&mut transaction, partitioned, &name, day).await?;
                }
            }
        }
        transaction.commit().await.map_err(sort)?;
        self.learn_floor().await
    }

    /// Learns where the oldest partition of events begins; derived ids from there on find a place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn learn_floor(&self) -> Result<(), StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let today = day_of(SystemClock.now());
        let days: HashSet<i64> = existing(&mut connection)
            .await?
            .iter()
            .filter_map(|name| name.strip_prefix("events_").and_then(day_of_suffix))
            .collect();
        // Without a gap from there to today: after a long standstill there are days that nobody made.
        let oldest = (0..).map(|back| today - back).take_while(|day| days.contains(day)).last();
        // A day of margin: the oldest partition may be dropped while its messages are still on their way.
        let floor =
            oldest.map_or(i64::MAX, |day| if day < today - 1 { day + 1 } else { day }.saturating_mul(DAY_MS));
        self.inner.floor_ms.store(floor, Ordering::Relaxed);
        Ok(())
    }

    /// For how many days after today every table has its partition, without a gap; `None` when today's is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn days_ahead(&self) -> Result<Option<u32>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let existing: HashSet<String> = existing(&mut connection).await?.into_iter().collect();
        let today = day_of(SystemClock.now());
        let is_whole = |ahead: &u32| {
            let day = today + i64::from(*ahead);
            TABLES.iter().all(|partitioned| existing.contains(&partition_name(partitioned.table, day)))
        };
        Ok((0..).take_while(is_whole).last())
    }

    /// Drops partitions that are older than their retention, and with them idempotency keys and deliveries that still
    /// waited. Returns the names of what was dropped; nothing when another process is at it.
    ///
    /// # Errors
    /// [`StoreError`]; what was dropped before stays dropped.
    pub async fn drop_partitions(&self, retention: &Retention) -> Result<Vec<String>, StoreError> {
        let mut connection = self.pool().acquire().await.map_err(sort)?;
        let is_ours = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "is_ours!""#, LOCK_DROPS)
            .fetch_one(&mut *connection)
            .await
            .map_err(sort)?;
        if !is_ours {
            return Ok(Vec::new());
        }
        let dropped = drop_what_is_over(&mut connection, retention, SystemClock.now()).await;
        // Closed, not given back: it ends the lock and the settings, however the work ended.
        connection.close().await.map_err(sort)?;
        let dropped = dropped?;
        self.learn_floor().await?;
        Ok(dropped)
    }
}

async fn drop_what_is_over(
    connection: &mut PgConnection,
    retention: &Retention,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    // Detaching waits for whoever still uses the partition.
    sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await.map_err(sort)?;
    let mut dropped = Vec::new();
    for (name, is_attached, is_pending) in droppable(connection).await? {
        let Some((partitioned, day)) = parse_name(&name) else { continue };
        let keep = match partitioned.table {
            "quarantine" => retention.quarantine,
            "message_identities" => Duration::from_secs(u64::try_from(IDENTITY_DAYS).unwrap_or(8) * 86_400),
            _ => retention.events,
        };
        // A day is over when its last instant is older than what is kept.
        if (day + 1) * DAY_MS > now.before(keep).as_millis() {
            continue;
        }
        if is_attached {
            // Detached first, concurrently: dropping at once would lock the whole table against everybody.
            let how = if is_pending { "FINALIZE" } else { "CONCURRENTLY" };
            let detach = format!("ALTER TABLE {} DETACH PARTITION {name} {how}", partitioned.table);
            sqlx::query(AssertSqlSafe(detach)).execute(&mut *connection).await.map_err(sort)?;
        }
        sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}")))
            .execute(&mut *connection)
            .await
            .map_err(sort)?;
        tracing::info!(partition = %name, "dropped by retention");
        dropped.push(name);
    }
    let kept_from = now.before(retention.events);
    let first_day = Timestamp::from_millis(day_of(kept_from) * DAY_MS);
    // A delivery that still waited went with its partition; its row would be claimed in vain for ever.
    sqlx::query!(
        "DELETE FROM schedule WHERE delivery_id < $1 OR event_id < $1",
        EventId::floor(first_day).as_uuid()
    )
    .execute(&mut *connection)
    .await
    .map_err(sort)?;
    // A log that was not read for so long is read on from where its broker says.
    sqlx::query!("DELETE FROM source_offsets WHERE received_at < $1", kept_from.to_utc())
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
    sqlx::query!("DELETE FROM idempotency_keys WHERE event_id < $1", EventId::floor(kept_from).as_uuid())
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
    Ok(dropped)
}

/// Every table that is or was a partition, oldest first; whether it is attached, and whether a detaching was begun
/// and not finished because its process ended.
async fn droppable(connection: &mut PgConnection) -> Result<Vec<(String, bool, bool)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT relname::text AS "name!", inhrelid IS NOT NULL AS "is_attached!",
               COALESCE(inhdetachpending, false) AS "is_pending!"
           FROM pg_class
           LEFT JOIN pg_inherits ON inhrelid = pg_class.oid
           WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname ~ '_[0-9]{8}$'
           ORDER BY relname"#
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    Ok(rows.into_iter().map(|row| (row.name, row.is_attached, row.is_pending)).collect())
}

async fn lock(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK).execute(connection).await.map(drop).map_err(sort)
}

async fn existing(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    let parents: Vec<String> = TABLES.iter().map(|partitioned| partitioned.table.to_owned()).collect();
    sqlx::query_scalar!(
        r#"SELECT child.relname::text AS "name!"
           FROM pg_inherits
           JOIN pg_class child ON child.oid = inhrelid
           JOIN pg_class parent ON parent.oid = inhparent
           WHERE parent.relname = ANY ($1) AND parent.relnamespace = current_schema()::regnamespace
           ORDER BY child.relname"#,
        &parents
    )
    .fetch_all(connection)
    .await
    .map_err(sort)
}

/// Made as a table of its own and attached: attaching takes a lock that lets reads and writes of the parent go on.
async fn create(
    connection: &mut PgConnection,
    partitioned: &Partitioned,
    name: &str,
    day: i64,
) -> Result<(), StoreError> {
    let Partitioned { table, storage, by_date } = partitioned;
    let bound = |day: i64| {
        let start = Timestamp::from_millis(day * DAY_MS);
        if *by_date { start.to_utc().date().to_string() } else { EventId::floor(start).as_uuid().to_string() }
    };
    let (from, to) = (bound(day), bound(day + 1));
    let column = if *by_date { "seen_on" } else { "id" };
    let statements = [
        format!("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) {storage}"),
        // Spares the scan when attaching; redundant afterwards.
        format!(
            "ALTER TABLE {name} ADD CONSTRAINT bounds CHECK ({column} >= '{from}' AND {column} < '{to}')"
        ),
        format!("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')"),
        format!("ALTER TABLE {name} DROP CONSTRAINT bounds"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(sort)?;
    }
    Ok(())
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}

/// `events_20261122`
fn partition_name(table: &str, day: i64) -> String {
    let date = Timestamp::from_millis(day * DAY_MS).to_utc().date();
    format!("{table}_{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}

fn parse_name(name: &str) -> Option<(&'static Partitioned, i64)> {
    TABLES.iter().find_map(|partitioned| {
        let suffix = name.strip_prefix(partitioned.table)?.strip_prefix('_')?;
        Some((partitioned, day_of_suffix(suffix)?))
    })
}

fn day_of_suffix(suffix: &str) -> Option<i64> {
    if suffix.len() != 8 || !suffix.is_ascii() {
        return None;
    }
    let month = time::Month::try_from(suffix[4..6].parse::<u8>().ok()?).ok()?;
    let date =
        time::Date::from_calendar_date(suffix[..4].parse().ok()?, month, suffix[6..].parse().ok()?).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp() * 1_000 / DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_names_round_trip() {
        let day = day_of(Timestamp::from_secs(1_795_305_600));

        assert_eq!(partition_name("events", day), "events_20261122");
        let (partitioned, parsed) = parse_name("message_identities_20261122").unwrap();
        assert_eq!((partitioned.table, parsed), ("message_identities", day));
        for name in ["events", "events_2026112", "events_20261322", "eventsx_20261122", "other_20261122"] {
            assert!(parse_name(name).is_none(), "{name}");
        }
    }
}
