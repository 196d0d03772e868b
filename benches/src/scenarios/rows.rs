//! Lists of the public API over many rows: the first page and the thousandth, of events and of deliveries, with filters and
//! without.
//!
//! The rows are made by SQL, an event and a delivery each, over the last hours; nothing is delivered.

use std::time::{Duration, Instant};

use anyhow::Context;
use longshore_testkit::broker::BrokerKind;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Amount;
use crate::report::percentiles;
use crate::setup::{API_KEY, PROJECT, Rig, endpoint};

const ENDPOINTS: usize = 100;
/// Rows of a page, and the page that is called the thousandth: so many rows from the beginning.
const PER_PAGE: usize = 20;
const DEEP_ROW: usize = 999 * PER_PAGE;
/// The largest page, by which the deep one is reached.
const LARGEST: usize = 999;
/// Requests for each figure.
const REQUESTS: usize = 200;
/// Rows of one statement.
const STEP: u32 = 500_000;

/// `$1` to `$2` of `$3` rows, spread over the last hours. One delivery in a hundred failed.
const FILL: &str = "
    WITH row AS (
        SELECT n, (SELECT array_agg(id ORDER BY id) FROM endpoints) AS endpoints,
            lpad(to_hex((extract(epoch FROM now() - interval '1 minute') * 1000
                - ($3 - n) * (20 * 3600000.0 / $3))::bigint), 12, '0') || lpad(to_hex(n), 20, '0') AS id
        FROM generate_series($1::bigint, $2::bigint) n
    ),
    event AS (
        INSERT INTO events (project_id, id, kind, event_type, is_duplicate, headers, body, received_at)
        SELECT (SELECT id FROM projects), id::uuid, 'broadcast', 'type-' || n % 10, false, '[]',
            convert_to(json_build_object('n', n, 'text', repeat(md5(n::text), 4))::text, 'UTF8'), now()
        FROM row
    )
    INSERT INTO deliveries (project_id, id, event_id, endpoint_id, state, finished_at, attempt_count)
    SELECT (SELECT id FROM projects), id::uuid, id::uuid, endpoints[1 + (n * 7919) % cardinality(endpoints)],
        CASE WHEN abs(hashint8(n)) % 100 = 0 THEN 'Failure' ELSE 'Success' END, now(), 1
    FROM row";

/// Fills the tables and asks.
///
/// # Errors
/// When a server fails, or a list does not answer.
pub async fn run(kind: BrokerKind, amount: Amount) -> anyhow::Result<Value> {
    let rig = Rig::new(kind, &["/fast"; ENDPOINTS]).await?;
    let started = Instant::now();
    fill(&rig, amount.rows).await?;
    let filled_s = started.elapsed().as_secs();
    let gateway = rig.start().await;
    let one = endpoint(7);
    let mut lists = Map::new();
    for (name, path) in [
        ("events", "events?".to_owned()),
        ("events by endpoint", format!("events?endpointId={one}&")),
        ("events by status", "events?status=Success&".to_owned()),
        ("deliveries", "eventdeliveries?".to_owned()),
        ("deliveries by endpoint", format!("eventdeliveries?endpointId={one}&")),
        ("deliveries by status", "eventdeliveries?status=Failure&".to_owned()),
        ("deliveries by both", format!("eventdeliveries?endpointId={one}&status=Failure&")),
    ] {
        lists.insert(name.to_owned(), list(gateway.addr().to_string().as_str(), &path).await?);
    }
    drop(gateway);
    rig.close().await;
    Ok(json!({ "scenario": "rows", "rows": amount.rows, "filled_s": filled_s, "lists": lists }))
}

async fn fill(rig: &Rig, rows: u32) -> anyhow::Result<()> {
    let pool = rig.pool().await?;
    for from in (0..rows).step_by(STEP as usize) {
        sqlx::query(FILL)
            .bind(i64::from(from) + 1)
            .bind(i64::from((from + STEP).min(rows)))
            .bind(f64::from(rows))
            .execute(&pool)
            .await
            .context("filling")?;
    }
    for table in ["VACUUM ANALYZE events", "VACUUM ANALYZE deliveries"] {
        sqlx::query(table).execute(&pool).await.context(table)?;
    }
    pool.close().await;
    Ok(())
}

/// The first page and the deep one of a list, or the last one of a list that is shorter.
async fn list(address: &str, path: &str) -> anyhow::Result<Value> {
    let (mut cursor, mut row) = (String::new(), 0);
    while row < DEEP_ROW {
        let count = LARGEST.min(DEEP_ROW - row);
        let answer = get(address, &format!("{path}perPage={count}&next_page_cursor={cursor}")).await?;
        let next = answer["data"]["pagination"]["next_page_cursor"].as_str().unwrap_or_default();
        if next.is_empty() {
            break;
        }
        next.clone_into(&mut cursor);
        row += count;
    }
    let first = measured(address, &format!("{path}perPage={PER_PAGE}")).await?;
    let deep = measured(address, &format!("{path}perPage={PER_PAGE}&next_page_cursor={cursor}")).await?;
    Ok(json!({ "first_page_ms": first, "deep_page_ms": deep, "deep_page": row / PER_PAGE + 1 }))
}

async fn measured(address: &str, path: &str) -> anyhow::Result<Value> {
    let mut took: Vec<Duration> = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let started = Instant::now();
        get(address, path).await?;
        took.push(started.elapsed());
    }
    Ok(percentiles(took))
}

async fn get(address: &str, path: &str) -> anyhow::Result<Value> {
    let request = format!(
        "GET /api/v1/projects/{PROJECT}/{path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
    // A long answer may come in chunks: their sizes stand between the lines.
    let body: String = body.split("\r\n").filter(|line| line.starts_with('{') || line.len() > 8).collect();
    serde_json::from_str(&body).context("the answer is no JSON")
}
