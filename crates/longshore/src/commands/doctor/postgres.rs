//! Postgres, its schema and its days.

use std::time::Duration;

use longshore_core::duration;
use longshore_store::{Checkup, Store};

use super::findings::{Findings, Level};
use crate::config::Config;

const OLDEST_VERSION: i32 = 140_000;
/// Settings and what they must not be, with what happens otherwise.
const SETTINGS: [(&str, Level, &str); 4] = [
    (
        "fsync",
        Level::Fail,
        "turn it on: when the machine crashes, what was acknowledged is lost and tables may be broken",
    ),
    ("full_page_writes", Level::Fail, "turn it on: when the machine crashes, tables may be broken"),
    ("synchronous_commit", Level::Fail, "turn it on: when Postgres crashes, what was acknowledged is lost"),
    ("autovacuum", Level::Fail, "turn it on: without it the tables of deliveries only grow"),
];
/// At two thousand million transactions Postgres stops.
const XID_WARN: i64 = 500_000_000;
const XID_FAIL: i64 = 1_500_000_000;
/// So many transactions of rows that cannot be cleaned up slow the hot tables down.
const XMIN_WARN: i64 = 5_000_000;
const LONG_TRANSACTION: Duration = Duration::from_secs(600);
/// Schedules and expiries go by this process's clock, leases by that of Postgres.
const SKEW_WARN: Duration = Duration::from_secs(1);
const SKEW_FAIL: Duration = Duration::from_secs(60);

/// The server.
pub(super) fn look(findings: &mut Findings, config: &Config, server: &Checkup) {
    let version = format!("version {}", server.version_text);
    if server.version >= OLDEST_VERSION {
        findings.ok("postgres", &version);
    } else {
        findings.add(Level::Fail, "postgres", &version, "move to version 14 or later");
    }
    if server.is_standby {
        findings.add(
            Level::Fail,
            "postgres",
            "a standby, which only reads",
            "name the primary in `database.url`",
        );
    }
    for (name, level, advice) in SETTINGS {
        let value = server.settings.iter().find(|(known, _)| known == name).map_or("?", |(_, value)| value);
        let what = format!("postgres {name}");
        if value == "off" { findings.add(level, &what, value, advice) } else { findings.ok(&what, value) }
    }
    connections(findings, config, server);
    age(findings, server);
    clock(findings, server);
}

fn connections(findings: &mut Findings, config: &Config, server: &Checkup) {
    let ours = i64::from(config.database.max_connections.get()) + i64::from(config.api.max_connections.get());
    let found =
        format!("{} of {} in use; a process takes {ours} at most", server.connected, server.connections);
    if server.connections - server.connected >= ours {
        return findings.ok("postgres connections", &found);
    }
    let advice =
        "raise `max_connections` of Postgres, or lower `database.max_connections` and `api.max_connections`";
    findings.add(Level::Warn, "postgres connections", &found, advice);
}

fn age(findings: &mut Findings, server: &Checkup) {
    let found = format!("{} transactions", server.xid_age);
    let advice =
        "let vacuum freeze: look for what holds it up (long transactions, slots), then `VACUUM (FREEZE)`";
    match server.xid_age {
        XID_FAIL.. => findings.add(Level::Fail, "postgres age", &found, advice),
        XID_WARN.. => findings.add(Level::Warn, "postgres age", &found, advice),
        _ => findings.ok("postgres age", &found),
    }
    let open = server.longest_transaction;
    let longest = duration::format(Duration::from_secs(open.as_secs()));
    let found = format!("{} transactions held back; the longest is open for {longest}", server.xmin_age);
    if server.xmin_age < XMIN_WARN && open < LONG_TRANSACTION {
        return findings.ok("postgres xmin", &found);
    }
    let advice = "end what holds it back: a forgotten session in pg_stat_activity, a slot in pg_replication_slots, a row in pg_prepared_xacts";
    findings.add(Level::Warn, "postgres xmin", &found, advice);
}

fn clock(findings: &mut Findings, server: &Checkup) {
    let side = if server.clock_ahead_ms < 0 { "behind" } else { "ahead" };
    let skew = Duration::from_millis(server.clock_ahead_ms.unsigned_abs());
    let found = format!(
        "Postgres is {} {side} of this host, give or take {}",
        duration::format(skew),
        duration::format(server.clock_doubt)
    );
    let advice = "keep both hosts' clocks in step, by NTP";
    match skew.saturating_sub(server.clock_doubt) {
        far if far >= SKEW_FAIL => findings.add(Level::Fail, "clock", &found, advice),
        some if some >= SKEW_WARN => findings.add(Level::Warn, "clock", &found, advice),
        _ => findings.ok("clock", &found),
    }
}

/// Whether the schema is this program's.
pub(super) async fn schema(findings: &mut Findings, store: &Store) -> bool {
    let pending = match store.migrations().await {
        Ok(migrations) => migrations.iter().filter(|migration| !migration.is_applied).count(),
        Err(error) => {
            findings.add(
                Level::Fail,
                "schema",
                &error.to_string(),
                "check what the user of `database.url` may read",
            );
            return false;
        }
    };
    if pending > 0 {
        findings.add(
            Level::Fail,
            "schema",
            &format!("{pending} migrations pending"),
            "run `longshore migrate up`",
        );
        return false;
    }
    findings.ok("schema", "up to date");
    true
}

/// The days ahead.
pub(super) async fn partitions(findings: &mut Findings, config: &Config, store: &Store) {
    let wanted = u32::from(config.retention.partitions_ahead_days);
    match store.days_ahead().await {
        Ok(None) => {
            let advice =
                "nothing can be stored today: run `longshore migrate up`, and see why no process makes days";
            findings.add(Level::Fail, "partitions", "today's are missing", advice);
        }
        // A process makes the next day within half an hour of midnight.
        Ok(Some(ahead)) if ahead + 1 < wanted => {
            let found = format!("{ahead} days ahead of {wanted}");
            findings.add(
                Level::Warn,
                "partitions",
                &found,
                "see the log of any running process for why days are not made",
            );
        }
        Ok(Some(ahead)) => findings.ok("partitions", &format!("{ahead} days ahead")),
        Err(error) => findings.add(Level::Fail, "partitions", &error.to_string(), "see the message"),
    }
}

/// Who does what one process does for all.
pub(super) async fn leader(findings: &mut Findings, store: &Store) {
    match store.leader("maintenance").await {
        Ok(Some(leader)) if leader.is_alive => {
            findings.ok("maintenance", &format!("done by a process on `{}`", leader.hostname));
        }
        Ok(_) => {
            let advice = "nothing is removed by retention: run a process with the role `control` or `all`";
            findings.add(Level::Warn, "maintenance", "no process does it", advice);
        }
        Err(error) => findings.add(Level::Fail, "maintenance", &error.to_string(), "see the message"),
    }
}
