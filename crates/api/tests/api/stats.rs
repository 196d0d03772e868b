//! Figures over time, held against what was counted by hand.

use std::time::Duration;

use http::Method;
use longshore_core::{EventId, ProjectId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bed::{Bed, FOREIGN, PROJECT, key};

const KEPT: Duration = Duration::from_secs(30 * 86_400);
const A: &str = "01JD0000000000000000000EPA";
const B: &str = "01JD0000000000000000000EPB";

/// The beginning of an hour of yesterday.
fn noon() -> Timestamp {
    let now = longshore_core::Clock::now(&longshore_core::SystemClock);
    Timestamp::from_secs((now.as_secs() / 86_400 - 1) * 86_400 + 12 * 3_600)
}

fn uuid(text: &str) -> Uuid {
    text.parse::<ProjectId>().unwrap().as_uuid()
}

fn id(minutes: i64, number: u128) -> Uuid {
    let at = Timestamp::from_secs(noon().as_secs() + minutes * 60);
    Uuid::from_u128(EventId::floor(at).as_u128() | number)
}

async fn event(bed: &Bed, project: &str, id: Uuid, event_type: &str) {
    bed.run(&format!(
        "INSERT INTO events (project_id, id, kind, event_type, is_duplicate, headers, body, received_at)
         VALUES ('{}', '{id}', 'broadcast', '{event_type}', false, '[]', '{{}}', now())",
        uuid(project)
    ))
    .await;
}

async fn delivery(
    bed: &Bed,
    project: &str,
    id: Uuid,
    event: Uuid,
    endpoint: &str,
    state: &str,
    attempts: u8,
) {
    let finished = if ["Success", "Failure", "Discarded"].contains(&state) { "now()" } else { "NULL" };
    bed.run(&format!(
        "INSERT INTO deliveries (project_id, id, event_id, endpoint_id, state, attempt_count, finished_at)
         VALUES ('{}', '{id}', '{event}', '{}', '{state}', {attempts}, {finished})",
        uuid(project),
        uuid(endpoint)
    ))
    .await;
}

/// Three events from 12:00 to 13:00, one after it, one of another project.
async fn filled() -> Bed {
    let bed = Bed::new().await;
    bed.store.create_partitions(1).await.unwrap();
    let (paid, sent, late) = (id(0, 1), id(59, 1), id(60, 1));
    event(&bed, PROJECT, paid, "order.paid").await;
    event(&bed, PROJECT, id(1, 1), "order.paid").await;
    event(&bed, PROJECT, sent, "order.sent").await;
    event(&bed, PROJECT, late, "order.paid").await;
    event(&bed, FOREIGN, id(2, 1), "order.paid").await;
    delivery(&bed, PROJECT, id(0, 2), paid, A, "Success", 1).await;
    delivery(&bed, PROJECT, id(0, 3), paid, B, "Failure", 5).await;
    delivery(&bed, PROJECT, id(59, 2), sent, A, "Success", 2).await;
    delivery(&bed, PROJECT, id(59, 3), sent, B, "Retry", 3).await;
    delivery(&bed, PROJECT, id(60, 2), late, A, "Discarded", 0).await;
    delivery(&bed, FOREIGN, id(2, 2), id(2, 1), A, "Failure", 9).await;
    bed
}

/// Rolls up everything that is due at a time of the day after.
async fn roll(bed: &Bed, hours_later: u64) -> usize {
    let now = noon().after(Duration::from_secs(hours_later * 3_600));
    bed.store.roll_up(now, KEPT).await.unwrap()
}

async fn stats(bed: &Bed, by: &str, bucket: &str) -> Value {
    let (from, to) = (noon(), noon().after(Duration::from_secs(2 * 3_600)));
    let answer = bed.get(&format!("/stats?by={by}&from={from}&to={to}&bucket={bucket}")).await;
    answer.data().clone()
}

fn counts(figures: &Value) -> [u64; 7] {
    ["total", "scheduled", "processing", "retry", "success", "failure", "discarded"]
        .map(|name| figures["deliveries"][name].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_the_rows() {
    let bed = filled().await;
    assert!(roll(&bed, 3).await > 0);

    let whole = stats(&bed, "project", "hour").await;
    let series = &whole["series"][0];
    assert_eq!(series["points"][0]["time"], json!(noon().to_string()));
    assert_eq!(series["points"][0]["events"], 3);
    assert_eq!(counts(&series["points"][0]), [4, 0, 0, 1, 2, 1, 0]);
    assert_eq!(series["points"][0]["attempts"], 11);
    assert_eq!(series["points"][0]["failure_rate"], 1.0 / 3.0);
    assert_eq!(counts(&series["points"][1]), [1, 0, 0, 0, 0, 0, 1]);
    assert!(series["points"][1].get("failure_rate").is_none());
    assert_eq!((&series["total"]["events"], counts(&series["total"])), (&json!(4), [5, 0, 0, 1, 2, 1, 1]));

    let days = stats(&bed, "project", "day").await;
    assert_eq!(days["series"][0]["points"].as_array().unwrap().len(), 1);
    assert_eq!(days["series"][0]["points"][0]["events"], 4);

    let endpoints = stats(&bed, "endpoint", "hour").await;
    let of = |index: usize| &endpoints["series"][index];
    assert_eq!((&of(0)["endpoint_id"], counts(&of(0)["total"])), (&json!(A), [3, 0, 0, 0, 2, 0, 1]));
    assert_eq!((&of(1)["endpoint_id"], counts(&of(1)["total"])), (&json!(B), [2, 0, 0, 1, 0, 1, 0]));
    assert!(of(0)["total"].get("events").is_none());

    let types = stats(&bed, "event_type", "hour").await;
    let of = |index: usize| &types["series"][index];
    assert_eq!((&of(0)["event_type"], &of(0)["total"]["events"]), (&json!("order.paid"), &json!(3)));
    assert_eq!(counts(&of(0)["total"]), [3, 0, 0, 0, 1, 1, 1]);
    assert_eq!((&of(1)["event_type"], &of(1)["total"]["attempts"]), (&json!("order.sent"), &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_again_gives_the_same_and_what_came_late() {
    let bed = filled().await;
    roll(&bed, 3).await;
    let first = stats(&bed, "endpoint", "hour").await;
    // Nothing is due at once; a day later everything is.
    while roll(&bed, 3).await > 0 {}
    while roll(&bed, 40).await > 0 {}
    assert_eq!(stats(&bed, "endpoint", "hour").await["series"], first["series"]);

    bed.run("UPDATE deliveries SET state = 'Success', attempt_count = 4, finished_at = now() WHERE state = 'Retry'")
        .await;
    while roll(&bed, 100).await > 0 {}
    let late = stats(&bed, "endpoint", "hour").await;
    assert_eq!(counts(&late["series"][1]["total"]), [2, 0, 0, 0, 1, 1, 0]);
    assert_eq!(late["series"][1]["total"]["attempts"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_outlive_the_rows_until_they_are_dropped() {
    let bed = filled().await;
    while roll(&bed, 3).await > 0 {}
    let before = stats(&bed, "project", "hour").await;
    // A project that keeps its events for two days lost those of this hour; the other one did not.
    let settings = r#"jsonb_set(settings, '{retention}', '"2d"')"#;
    bed.run(&format!("UPDATE projects SET settings = {settings} WHERE id = '{}'", uuid(PROJECT))).await;
    bed.run(&format!("DELETE FROM events WHERE project_id = '{}'", uuid(PROJECT))).await;
    bed.run(&format!("DELETE FROM deliveries WHERE project_id = '{}'", uuid(PROJECT))).await;
    while roll(&bed, 72).await > 0 {}
    assert_eq!(stats(&bed, "project", "hour").await["series"], before["series"]);
    // The installation's own retention took them all.
    bed.run("DELETE FROM deliveries").await;
    while roll(&bed, 31 * 24).await > 0 {}
    assert_eq!(stats(&bed, "project", "hour").await["series"], before["series"]);

    assert!(bed.store.drop_stats(noon().after(Duration::from_secs(7_200))).await.unwrap() > 0);
    assert_eq!(stats(&bed, "project", "hour").await["series"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_and_of_one_project() {
    let bed = filled().await;
    roll(&bed, 3).await;
    for (query, field) in [
        ("by=owner", "`by`"),
        ("bucket=minute", "`bucket`"),
        ("from=yesterday", "`from`"),
        ("to=1", "`to`"),
        ("from=2026-02-01T00:00:00&to=2026-01-01T00:00:00", "`from`"),
        ("from=2026-01-01T00:00:00&to=2026-03-01T00:00:00", "`from`"),
        ("from=2024-01-01T00:00:00&to=2026-03-01T00:00:00&bucket=day", "`from`"),
    ] {
        let refused = bed.get(&format!("/stats?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    bed.run(&format!(
        "INSERT INTO stats_hourly SELECT '{}', '{}', gen_random_uuid(), 'x', 0, 0, 0, 0, n + 10, 0, 0, 0
         FROM generate_series(1, 150) AS n",
        uuid(PROJECT),
        noon()
    ))
    .await;
    let many = stats(&bed, "endpoint", "hour").await;
    assert_eq!((&many["is_truncated"], many["series"].as_array().unwrap().len()), (&json!(true), 100));
    assert_eq!(counts(&many["series"][0]["total"])[0], 160);
    let usual = bed.ask(Method::GET, "/stats").key(key("viewer")).send().await;
    assert_eq!((usual.text("/by"), usual.text("/bucket")), ("project".to_owned(), "hour".to_owned()));
    let scoped = bed.ask(Method::GET, "/stats").key(key("foreign")).send().await;
    assert_eq!(scoped.status, 403);
}
