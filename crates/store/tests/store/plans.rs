//! The plans of the hot statements over many rows: every look-up has its index.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::bed::Bed;

const ROWS: u32 = 100_000;

/// What a plan reads, and whether it looks rows up rather than walking them all.
struct Read {
    node: String,
    relation: String,
    is_look_up: bool,
}

fn nodes(plan: &Value, into: &mut Vec<Read>) {
    match plan {
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            // An insert names its table as well, and does not read it.
            if text("Node Type").ends_with("Scan") && !text("Relation Name").is_empty() {
                let is_look_up = fields.contains_key("Index Cond") || fields.contains_key("Recheck Cond");
                into.push(Read { node: text("Node Type"), relation: text("Relation Name"), is_look_up });
            }
            fields.values().for_each(|value| nodes(value, into));
        }
        Value::Array(values) => values.iter().for_each(|value| nodes(value, into)),
        _ => {}
    }
}

async fn explain(connection: &mut PgConnection, name: &str, sql: &str, parameters: &str) -> Vec<Read> {
    for statement in
        [format!("PREPARE {name} AS {sql}"), "SET plan_cache_mode = force_generic_plan".to_owned()]
    {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.unwrap();
    }
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE {name} ({parameters})");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_one(&mut *connection).await.unwrap();
    let text: String = sqlx::Row::try_get_unchecked(&rows, 0).unwrap();
    let mut found = Vec::new();
    nodes(&serde_json::from_str(&text).unwrap(), &mut found);
    found
}

fn assert_indexed(name: &str, found: &[Read]) {
    let hot = [
        "deliveries",
        "events",
        "schedule",
        "message_identities",
        "idempotency_keys",
        "source_offsets",
        "lanes",
    ];
    for read in found.iter().filter(|read| hot.iter().any(|table| read.relation.starts_with(table))) {
        assert_ne!(read.node, "Seq Scan", "{name} scans {}", read.relation);
        // `waiting` starts at the beginning of its index and takes one row.
        assert!(
            read.is_look_up || name == "waiting",
            "{name} walks all of {} ({})",
            read.relation,
            read.node
        );
    }
}

#[tokio::test]
async fn the_hot_statements_use_their_indexes() {
    let bed = Bed::new().await;
    let now = "lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')";
    let id = format!("(substr({now} || lpad(to_hex(n), 20, '0'), 1, 32))::uuid");
    let endpoint = "lpad(to_hex(n % 100), 32, '0')::uuid";
    for statement in [
        format!(
            "INSERT INTO events (project_id, id, kind, event_type, is_duplicate, headers, body, received_at)
             SELECT '{p}', {id}, 'broadcast', 'a', false, '[]', '{{}}', now() FROM generate_series(1, {ROWS}) n",
            p = uuid::Uuid::from_u128(1)
        ),
        format!(
            "INSERT INTO deliveries (project_id, id, event_id, endpoint_id, state)
             SELECT '{p}', {id}, {id}, {endpoint}, 'Scheduled' FROM generate_series(1, {ROWS}) n",
            p = uuid::Uuid::from_u128(1)
        ),
        format!(
            "INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
             SELECT {id}, '{p}', {endpoint}, {id}, now() + n * interval '1s' FROM generate_series(1, {ROWS}) n",
            p = uuid::Uuid::from_u128(1)
        ),
        format!(
            "INSERT INTO lanes (id, project_id, subscription_id, endpoint_id, head, last_sequence, entered)
             SELECT {id}, '{p}', '{p}', {endpoint}, {id}, n, 1 FROM generate_series(1, {ROWS}) n",
            p = uuid::Uuid::from_u128(1)
        ),
        "UPDATE schedule SET lane_id = delivery_id, lane_sequence = 1".to_owned(),
        "ANALYZE".to_owned(),
    ] {
        bed.run(&statement).await;
    }
    let mut connection = PgConnection::connect_with(&bed.database.options()).await.unwrap();
    // As every connection of the store is set up.
    sqlx::raw_sql("SET enable_seqscan = off; SET jit = off").execute(&mut connection).await.unwrap();
    let bounds = "'00000000-0000-0000-0000-000000000001', 'ffffffff-0000-0000-0000-000000000001'";
    let statements = [
        ("persist", include_str!("../../queries/persist_events.sql"), ["NULL"; 31].join(", ")),
        (
            "record",
            include_str!("../../queries/record_outcomes.sql"),
            format!("{}, {bounds}, NULL", ["NULL"; 8].join(", ")),
        ),
        ("claim", include_str!("../../queries/claim_due.sql"), "NULL, NULL, 30, NULL".to_owned()),
        ("waiting", include_str!("../../queries/waiting_endpoints.sql"), "100".to_owned()),
        ("enter", include_str!("../../queries/enter_lanes.sql"), ["NULL"; 13].join(", ")),
        ("aside", include_str!("../../queries/set_aside.sql"), ["NULL"; 3].join(", ")),
        ("discard", include_str!("../../queries/discard_behind.sql"), "NULL, NULL".to_owned()),
        ("finish", include_str!("../../queries/finish_behind.sql"), "NULL, NULL".to_owned()),
        ("advance", include_str!("../../queries/advance_lanes.sql"), "NULL, NULL, 30".to_owned()),
        ("take", include_str!("../../queries/take_heads.sql"), "NULL, NULL".to_owned()),
        ("heads", include_str!("../../queries/find_heads.sql"), ["NULL"; 3].join(", ")),
        ("own", include_str!("../../queries/find_deliveries.sql"), "NULL, NULL".to_owned()),
    ];
    for (name, sql, parameters) in statements {
        let found = explain(&mut connection, name, sql, &parameters).await;

        assert_indexed(name, &found);
        assert!(name == "enter" || !found.is_empty(), "{name} reads nothing: the plan was not understood");
    }
    // Fresh deliveries are found by time; what was claimed from the schedule must not be found by walking it.
    let bury = include_str!("../../queries/bury_processes.sql");
    let found = explain(&mut connection, "bury", bury, "NULL").await;
    let on_schedule: Vec<&Read> = found.iter().filter(|read| read.relation == "schedule").collect();
    assert!(
        !on_schedule.is_empty() && on_schedule.iter().all(|read| read.is_look_up),
        "bury walks the schedule"
    );
}

#[tokio::test]
async fn a_page_of_quarantine_is_read_from_its_index_and_not_further() {
    let bed = Bed::new().await;
    let now = "lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint), 12, '0')";
    bed.run(&format!(
        "INSERT INTO quarantine (project_id, id, reason, detail, position, headers, body, received_at)
         SELECT '{p}', (substr({now} || lpad(to_hex(n), 20, '0'), 1, 32))::uuid, 'undecodable', '', '', '[]', '', now()
         FROM generate_series(1, 10000) n",
        p = uuid::Uuid::from_u128(1)
    ))
    .await;
    bed.run("ANALYZE").await;
    let mut connection = PgConnection::connect_with(&bed.database.options()).await.unwrap();
    sqlx::raw_sql("SET enable_seqscan = off; SET jit = off").execute(&mut connection).await.unwrap();
    let sql = include_str!("../../queries/list_quarantine.sql");
    let none = ["NULL"; 5].join(", ");
    let parameters = format!("{none}, false, now(), 'ffffffff-0000-0000-0000-000000000001', 50");

    let found = explain(&mut connection, "page", sql, &parameters).await;

    assert!(!found.is_empty());
    for read in found {
        assert!(read.is_look_up, "the page reads all of {} ({})", read.relation, read.node);
    }
}
