//! Days: made ahead, dropped when over, and where ids may be placed.

use std::time::Duration;

use longshore_core::ports::{EventLog, Identity, StoreError};
use longshore_core::{Clock, EventId, SystemClock, Timestamp};
use longshore_store::partitions::Retention;
use longshore_testkit::database::fresh_database;

use super::bed::{Bed, ENDPOINT, LEASE, claim, event, floor, open, persist, with};

const DAY: Duration = Duration::from_secs(86_400);
const PARTITIONS: &str =
    "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relkind = 'r'";

fn keep(events: u32, quarantine: u32) -> Retention {
    Retention { events: events * DAY, quarantine: quarantine * DAY, days_ahead: 7 }
}

/// Midnight that many days ago.
fn midnight(days_ago: u32) -> Timestamp {
    let today = SystemClock.now().as_secs() / 86_400 * 86_400;
    Timestamp::from_secs(today).before(days_ago * DAY)
}

fn name(table: &str, days_ago: u32) -> String {
    let date = midnight(days_ago).to_utc().date();
    format!("{table}_{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}

/// Makes days as they were made then.
async fn make(bed: &Bed, days_ago: impl IntoIterator<Item = u32>) {
    for ago in days_ago {
        for table in ["events", "deliveries", "attempts", "quarantine"] {
            let bounds = [midnight(ago), midnight(ago).after(DAY)].map(|at| floor(at).as_uuid());
            bed.run(&format!(
                "CREATE TABLE {} PARTITION OF {table} FOR VALUES FROM ('{}') TO ('{}')",
                name(table, ago),
                bounds[0],
                bounds[1]
            ))
            .await;
        }
    }
}

async fn exists(bed: &Bed, table: &str) -> bool {
    bed.count(&format!("SELECT count(*) FROM pg_class WHERE relname = '{table}'")).await == 1
}

#[tokio::test]
async fn migrating_twice_and_at_once_changes_nothing() {
    let database = fresh_database().await;
    let (one, two) = (open(&database.url(), LEASE).await, open(&database.url(), LEASE).await);
    assert!(one.migrations().await.unwrap().iter().all(|migration| !migration.is_applied));

    let (a, b) = tokio::join!(one.migrate(), two.migrate());
    a.unwrap();
    b.unwrap();
    let after_first = longshore_testkit::database::count(&database, PARTITIONS).await;
    one.migrate().await.unwrap();

    assert!(one.migrations().await.unwrap().iter().all(|migration| migration.is_applied));
    // Yesterday, today and seven days ahead, of five tables.
    assert_eq!(after_first, 9 * 5);
    assert_eq!(longshore_testkit::database::count(&database, PARTITIONS).await, 9 * 5);
}

#[tokio::test]
async fn days_are_made_ahead_by_however_many_at_once() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);

    let (a, b) = tokio::join!(one.create_partitions(20), two.create_partitions(15));
    a.unwrap();
    b.unwrap();
    one.create_partitions(3).await.unwrap();

    assert_eq!(bed.count(PARTITIONS).await, 22 * 5);
}

#[tokio::test]
async fn only_what_is_over_is_dropped() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    make(&bed, 2..=6).await;

    let mut dropped = store.drop_partitions(&keep(3, 5)).await.unwrap();

    dropped.sort_unstable();
    let mut over: Vec<String> = ["attempts", "deliveries", "events"]
        .iter()
        .flat_map(|table| (4..=6).map(|ago| name(table, ago)))
        .chain([name("quarantine", 6)])
        .collect();
    over.sort_unstable();
    assert_eq!(dropped, over);
    assert!(exists(&bed, &name("events", 3)).await && exists(&bed, &name("quarantine", 5)).await);
    assert!(store.drop_partitions(&keep(3, 5)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_dropping_process_left_half_done_is_finished_by_the_next() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    make(&bed, 5..=6).await;
    bed.run(&format!("ALTER TABLE events DETACH PARTITION {}", name("events", 6))).await;
    // Somebody reads it, so detaching waits and is cut short between its two steps.
    let mut reader = bed.sql.begin().await.unwrap();
    let read = format!("SELECT count(*) FROM {}", name("events", 5));
    sqlx::query(sqlx::AssertSqlSafe(read)).execute(&mut *reader).await.unwrap();
    let mut cut_short = bed.sql.acquire().await.unwrap();
    sqlx::query("SET statement_timeout = '200ms'").execute(&mut *cut_short).await.unwrap();
    let detach = format!("ALTER TABLE events DETACH PARTITION {} CONCURRENTLY", name("events", 5));
    assert!(sqlx::query(sqlx::AssertSqlSafe(detach)).execute(&mut *cut_short).await.is_err());
    reader.rollback().await.unwrap();
    assert_eq!(bed.count("SELECT count(*) FROM pg_inherits WHERE inhdetachpending").await, 1);

    let dropped = store.drop_partitions(&keep(1, 1)).await.unwrap();

    assert!(dropped.contains(&name("events", 6)) && dropped.contains(&name("events", 5)), "{dropped:?}");
    assert!(!exists(&bed, &name("events", 6)).await);
}

#[tokio::test]
async fn what_still_waited_goes_with_its_day() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    make(&bed, 2..=6).await;
    let old = with(&event(&[]), |event| event.id = EventId::floor(midnight(6)));
    let late = longshore_core::ports::NewEvent { event: old.event, ..event(&[(ENDPOINT, false)]) };
    let recent = event(&[(ENDPOINT, false)]);
    persist(&store, &[late, recent.clone()]).await;

    store.drop_partitions(&keep(3, 3)).await.unwrap();

    // The event is gone, so its delivery can never be claimed whole; its row must not be found due for ever.
    assert_eq!(bed.count("SELECT count(*) FROM schedule").await, 1);
    assert_eq!(claim(&store, 10).await[0].event.id, recent.event.id);
}

#[tokio::test]
async fn keys_are_forgotten_with_their_events() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    make(&bed, 2..=6).await;
    let old = with(&event(&[]), |event| {
        event.id = EventId::floor(midnight(6));
        event.idempotency_key = Some("old".to_owned());
    });
    let new = with(&event(&[]), |event| event.idempotency_key = Some("new".to_owned()));
    persist(&store, &[old, new]).await;

    store.drop_partitions(&keep(3, 3)).await.unwrap();

    let keys: Vec<String> =
        sqlx::query_scalar("SELECT key FROM idempotency_keys").fetch_all(&bed.sql).await.unwrap();
    assert_eq!(keys, ["new"]);
}

#[tokio::test]
async fn ids_are_placed_where_days_follow_each_other_up_to_now() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let (unknown, _) = store.id_window();
    assert!(unknown > SystemClock.now(), "nothing is known yet: no derived id finds a place");

    store.learn_floor().await.unwrap();
    assert_eq!(store.id_window().0, midnight(1));
    // A standstill: nobody made the days in between, and a message of one of them has no place.
    make(&bed, [8, 9]).await;
    store.learn_floor().await.unwrap();
    assert_eq!(store.id_window().0, midnight(1));
    make(&bed, 2..=7).await;
    store.learn_floor().await.unwrap();
    // One day of margin for what is on its way while the oldest day is dropped.
    assert_eq!(store.id_window().0, midnight(8));
    assert!(store.id_window().1 > SystemClock.now());
    let inside = with(&event(&[]), |event| event.id = EventId::floor(store.id_window().0));
    assert_eq!(inside.identity, Identity::Id);
    persist(&store, &[inside]).await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_apart_from_one_that_is_away() {
    let bed = Bed::new().await;
    let store = open(&bed.database.url(), LEASE).await;
    store.close().await;

    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(store.config_version().await.unwrap_err().is_transient());
}
