//! Days: made ahead, dropped when over, and where ids may be placed.

use std::time::Duration;

use longshore_core::ports::{DeliveryQueue, EventLog, Identity, NewEvent, Next, StoreError};
use longshore_core::{Clock, DeliveryId, EventId, SystemClock, Timestamp};
use longshore_store::partitions::Retention;
use longshore_testkit::database::fresh_database;

use super::bed::{
    Bed, ENDPOINT, LEASE, PROJECT, attempted, claim, claim_of, event, floor, open, persist, record, with,
};

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
    let late = NewEvent { event: old.event, ..event(&[(ENDPOINT, false)]) };
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

/// An event of that day, with a delivery that is handed over or waits, or with none.
fn of_day(days_ago: u32, number: u128, delivery: Option<bool>) -> NewEvent {
    let at = midnight(days_ago).after(DAY / 24);
    let id = floor(at).as_u128() + 2 * number;
    let mut new = event(&delivery.map(|hand_over| (ENDPOINT, hand_over)).into_iter().collect::<Vec<_>>());
    new.deliveries.iter_mut().for_each(|delivery| delivery.id = DeliveryId::from_u128(id + 1));
    with(&new, |event| {
        event.id = EventId::from_u128(id);
        event.received_at = at;
        event.idempotency_key = Some(format!("key-{days_ago}-{number}"));
    })
}

/// Days hold the events of all projects, so what one keeps for less goes row by row; what still waits goes nowhere.
#[tokio::test]
async fn a_project_may_keep_less_than_the_installation() {
    let bed = Bed::new().await;
    make(&bed, 2..6).await;
    let store = bed.process().await;
    store.learn_floor().await.unwrap();
    bed.run(&format!(
        "INSERT INTO projects (id, name, settings) VALUES ('{}', 'short', '{{\"retention\": \"2d\"}}'), \
         (gen_random_uuid(), 'silent', '{{}}')",
        PROJECT.as_uuid()
    ))
    .await;
    let delivered = of_day(4, 1, Some(true));
    let theirs = with(&of_day(4, 4, None), |event| event.project = longshore_core::ProjectId::from_u128(0xB));
    let kept = [of_day(4, 2, Some(false)), of_day(1, 5, None), theirs];
    persist(&store, &[delivered.clone(), of_day(4, 3, None)]).await;
    persist(&store, &kept).await;
    let outcome = attempted(&claim_of(&delivered, store.owner()), Next::Success);
    assert_eq!(record(&store, &[outcome]).await, 0);
    bed.run(&format!(
        "INSERT INTO quarantine (project_id, id, reason, detail, position, headers, body, received_at)
         VALUES ('{}', '{}', 'too_large', '', '', '[]', '', now())",
        PROJECT.as_uuid(),
        delivered.event.id.as_uuid()
    ))
    .await;

    assert_eq!(
        store.remove_expired(DAY).await.unwrap(),
        0,
        "the installation keeps even less: days are dropped"
    );
    assert_eq!(store.remove_expired(30 * DAY).await.unwrap(), 2);
    assert_eq!(store.remove_expired(30 * DAY).await.unwrap(), 0);

    for new in kept {
        let there = format!("SELECT count(*) FROM events WHERE id = '{}'", new.event.id.as_uuid());
        assert_eq!(bed.count(&there).await, 1, "{new:?}");
    }
    for (table, left) in
        [("events", 3), ("deliveries", 1), ("attempts", 0), ("quarantine", 0), ("idempotency_keys", 2)]
    {
        assert_eq!(bed.count(&format!("SELECT count(*) FROM {table}")).await, left, "{table}");
    }
    let oldest = store.reach(PROJECT).await.unwrap().oldest_event;
    assert_eq!(oldest, Some(midnight(4).after(DAY / 24)));
}

#[tokio::test]
async fn how_far_ahead_the_days_reach_is_known() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    assert_eq!(store.days_ahead().await.unwrap(), Some(7));

    let tomorrow = SystemClock.now().after(DAY).to_utc().date();
    let day = format!("{:04}{:02}{:02}", tomorrow.year(), u8::from(tomorrow.month()), tomorrow.day());
    bed.run(&format!("DROP TABLE attempts_{day}")).await;
    assert_eq!(store.days_ahead().await.unwrap(), Some(0));
    bed.run(&format!("DROP TABLE {}", name("deliveries", 0))).await;
    assert_eq!(store.days_ahead().await.unwrap(), None);
}
