//! How the Postgres behind an installation is: its version, its settings, its age. For people who look after it.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{Clock, SystemClock, Timestamp};

use crate::connect::Store;
use crate::error::sort;

/// What is known of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkup {
    /// `server_version_num`: 140000 for 14.
    pub version: i32,
    /// Its version as it says it.
    pub version_text: String,
    /// Whether it only reads: a standby.
    pub is_standby: bool,
    /// Settings that promises depend on, as name and value.
    pub settings: Vec<(String, String)>,
    /// Connections it takes, without those kept for superusers.
    pub connections: i64,
    /// Connections there are, ours included.
    pub connected: i64,
    /// Transactions since the oldest row that was not frozen; at two thousand million Postgres stops.
    pub xid_age: i64,
    /// Transactions that the oldest snapshot, replication slot or prepared transaction holds back from being cleaned up after.
    pub xmin_age: i64,
    /// For how long the longest transaction has been open.
    pub longest_transaction: Duration,
    /// How far its clock is ahead of ours, in milliseconds; behind when negative.
    pub clock_ahead_ms: i64,
    /// How wrong that may be: half of the question's way there and back.
    pub clock_doubt: Duration,
}

impl Store {
    /// Looks at the server. Needs no schema.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn checkup(&self) -> Result<Checkup, StoreError> {
        let row = sqlx::query!(
            r#"SELECT current_setting('server_version_num')::int AS "version!",
                   current_setting('server_version') AS "version_text!",
                   pg_is_in_recovery() AS "is_standby!",
                   current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                       AS "connections!",
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS "connected!",
                   (SELECT max(age(datfrozenxid))::bigint FROM pg_database WHERE datallowconn) AS "xid_age!",
                   GREATEST(
                       (SELECT max(age(backend_xmin)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()),
                       (SELECT max(GREATEST(age(xmin), age(catalog_xmin))) FROM pg_replication_slots),
                       (SELECT max(age(transaction)) FROM pg_prepared_xacts),
                       0)::bigint AS "xmin_age!",
                   COALESCE((SELECT extract(epoch FROM max(clock_timestamp() - xact_start))::float8
                       FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'), 0)
                       AS "longest!""#
        )
        .fetch_one(self.pool())
        .await
        .map_err(sort)?;
        let settings = sqlx::query!(
            r#"SELECT name AS "name!", setting AS "setting!" FROM pg_settings
               WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum') ORDER BY name"#
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let (clock_ahead_ms, clock_doubt) = self.clock().await?;
        Ok(Checkup {
            version: row.version,
            version_text: row.version_text,
            is_standby: row.is_standby,
            settings: settings.into_iter().map(|row| (row.name, row.setting)).collect(),
            connections: row.connections,
            connected: row.connected,
            xid_age: row.xid_age,
            xmin_age: row.xmin_age,
            longest_transaction: Duration::from_secs_f64(row.longest.max(0.0)),
            clock_ahead_ms,
            clock_doubt,
        })
    }

    /// How far the server's clock is ahead, in milliseconds, and how wrong that may be.
    async fn clock(&self) -> Result<(i64, Duration), StoreError> {
        let asked = SystemClock.now();
        let there = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
            .fetch_one(self.pool())
            .await
            .map(Timestamp::from_utc)
            .map_err(sort)?;
        let answered = SystemClock.now();
        let middle = asked.as_millis().midpoint(answered.as_millis());
        let doubt = u64::try_from(answered.as_millis() - asked.as_millis()).unwrap_or_default().div_ceil(2);
        Ok((there.as_millis() - middle, Duration::from_millis(doubt)))
    }
}
