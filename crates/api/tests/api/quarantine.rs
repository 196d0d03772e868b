//! Quarantine: looked at, replayed, discarded; one, and many in the background.

use std::collections::BTreeSet;

use http::Method;
use longshore_api::v1::advance_operations;
use longshore_core::QuarantineId;
use serde_json::{Value, json};

use crate::bed::{Bed, FOREIGN, PROJECT, key};

const SOURCE: &str = "01JD0000000000000000000SRC";

fn id(text: &str) -> longshore_core::ProjectId {
    text.parse().unwrap()
}

/// Quarantines a message of today; its id ends with `number`, the even ones of which the fake replays.
async fn quarantine(bed: &Bed, number: u128, reason: &str, seconds_ago: u32, body: &str) -> String {
    let now = longshore_core::Clock::now(&longshore_core::SystemClock);
    let own = QuarantineId::from_u128(QuarantineId::floor(now).as_u128() | number);
    let sql = format!(
        "INSERT INTO quarantine (project_id, id, source_id, reason, detail, position, headers, body, received_at, message)
         VALUES ('{}', '{}', '{}', '{reason}', 'is wrong', 'queue q', '[[\"x-a\",\"1\"]]', '{body}',
             now() - interval '{seconds_ago} seconds', '{{}}')",
        id(PROJECT).as_uuid(),
        own.as_uuid(),
        id(SOURCE).as_uuid(),
    );
    bed.run(&sql).await;
    own.to_string()
}

fn ids(page: &Value) -> Vec<&str> {
    page["content"].as_array().unwrap().iter().map(|item| item["uid"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_listed_by_time_and_shown_raw() {
    let bed = Bed::new().await;
    let old = quarantine(&bed, 1, "undecodable", 3600, "\\x7b22").await;
    let mut same: BTreeSet<String> = BTreeSet::new();
    for number in 2..7 {
        same.insert(quarantine(&bed, number, "invalid_field", 60, "\\xff00").await);
    }
    bed.run(
        "UPDATE quarantine SET received_at = date_trunc('minute', now()) - interval '2 minutes'
             WHERE reason = 'invalid_field'",
    )
    .await;

    // What was received at once is told apart by its id, whichever way one goes.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bed.get(&format!("/quarantine?perPage=2&next_page_cursor={cursor}")).await;
        seen.extend(ids(page.data()).into_iter().map(str::to_owned));
        cursor = page.text("/pagination/next_page_cursor");
        if cursor.is_empty() {
            let back = page.text("/pagination/prev_page_cursor");
            let before =
                bed.get(&format!("/quarantine?perPage=2&direction=prev&prev_page_cursor={back}")).await;
            assert_eq!(ids(before.data()), seen[2..4]);
            break;
        }
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[5], old);
    assert_eq!(seen[..5].iter().cloned().collect::<BTreeSet<_>>(), same);
    let oldest = bed.get("/quarantine?sort=ASC&perPage=1").await;
    assert_eq!(ids(oldest.data()), [&old[..]]);

    for (query, count) in [
        ("reason=undecodable", 1),
        ("reason=too_large", 0),
        (&format!("sourceId={SOURCE}")[..], 6),
        ("sourceId=01JD000000000000000000N0NE", 0),
        ("startDate=2020-01-01T00:00:00&endDate=2020-02-01T00:00:00Z", 0),
        ("startDate=2020-01-01T00:00:00", 6),
    ] {
        assert_eq!(ids(bed.get(&format!("/quarantine?{query}")).await.data()).len(), count, "{query}");
    }
    for (query, field) in
        [("sourceId=x", "`sourceId`"), ("startDate=x", "`startDate`"), ("with_replayed=x", "`with_replayed`")]
    {
        let answer = bed.get(&format!("/quarantine?{query}")).await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().starts_with(field), "{answer:?}");
    }

    let text = bed.get(&format!("/quarantine/{old}")).await;
    let data = text.data();
    assert_eq!((&data["body_text"], &data["body_base64"]), (&json!("{\""), &json!("eyI=")));
    assert_eq!(data["headers"], json!([{"name": "x-a", "value": "1"}]));
    assert_eq!((&data["reason"], &data["detail"]), (&json!("undecodable"), &json!("is wrong")));
    let bytes = bed.get(&format!("/quarantine/{}", seen[0])).await;
    assert_eq!(bytes.data()["body_base64"], "/wA=");
    assert!(bytes.data().get("body_text").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_is_replayed_or_discarded() {
    let bed = Bed::new().await;
    let right = quarantine(&bed, 2, "invalid_field", 1, "x").await;
    let wrong = quarantine(&bed, 3, "invalid_field", 1, "x").await;

    // With and without a body.
    let stored = bed.ask(Method::POST, &format!("/quarantine/{right}/replay")).send().await;
    assert_eq!((&stored.data()["outcome"], stored.data()["event_id"].is_string()), (&json!("stored"), true));
    let path = format!("/quarantine/{wrong}/replay");
    let faulty = bed.post(&path, json!({})).await;
    assert_eq!(
        (&faulty.data()["outcome"], &faulty.data()["detail"]),
        (&json!("faulty"), &json!("still wrong"))
    );
    let mapped = bed.post(&path, json!({"mapping": {"event_type": "const:a"}})).await;
    assert_eq!(mapped.data()["outcome"], "stored");
    let refused = bed.post(&path, json!({"mapping": {"event_type": "nowhere:a"}})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().starts_with("`mapping`"), "{refused:?}");

    assert_eq!(bed.delete(&format!("/quarantine/{wrong}")).await.status, 200);
    for gone in
        [bed.delete(&format!("/quarantine/{wrong}")).await, bed.get(&format!("/quarantine/{wrong}")).await]
    {
        assert_eq!((gone.status, gone.message()), (404, "quarantined message not found"));
    }
    let logged = bed.run("SELECT 1 FROM audit_log WHERE action LIKE 'quarantine.%'").await;
    assert_eq!(logged, 4);
    for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/replay")] {
        let path = format!("/api/v1/projects/{FOREIGN}/quarantine/{right}{path}");
        assert_eq!(bed.ask(method, &path).key(key("foreign")).send().await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_done_in_the_background_with_progress() {
    let bed = Bed::new().await;
    let mut all = Vec::new();
    for number in 0..230 {
        all.push(
            quarantine(&bed, number, if number < 10 { "too_large" } else { "invalid_field" }, 9, "x").await,
        );
    }
    let begun = bed.post("/quarantine/replay", json!({"filter": {"reason": "invalid_field"}})).await;
    assert_eq!(
        (begun.status, &begun.data()["state"], &begun.data()["total"]),
        (202, &json!("waiting"), &json!(220))
    );
    let path = format!("/quarantine/operations/{}", begun.text("/uid"));

    // One that was cut off is gone on with, once it is not held any more.
    assert!(bed.store.claim_operation(std::time::Duration::ZERO).await.unwrap().is_some());
    assert_eq!(bed.get(&path).await.data()["state"], "running");
    assert!(advance_operations(&bed.control).await.unwrap());
    let done = bed.get(&path).await;
    let data = done.data();
    assert_eq!((&data["state"], &data["done"]), (&json!("done"), &json!(220)));
    assert_eq!((&data["stored"], &data["faulty"]), (&json!(110), &json!(110)));
    assert!(!advance_operations(&bed.control).await.unwrap());

    let gone = "01JD000000000000000000N0NE".to_owned();
    let named = bed.post("/quarantine/discard", json!({"ids": [&all[0], &all[1], &gone]})).await;
    let rest = bed.post("/quarantine/discard", json!({"filter": {}})).await;
    assert_eq!(rest.data()["total"], 230);
    while advance_operations(&bed.control).await.unwrap() {}
    let named = bed.get(&format!("/quarantine/operations/{}", named.text("/uid"))).await;
    assert_eq!((&named.data()["discarded"], &named.data()["left_out"]), (&json!(2), &json!(1)));
    let rest = bed.get(&format!("/quarantine/operations/{}", rest.text("/uid"))).await;
    assert_eq!(rest.data()["discarded"], 228);
    assert!(ids(bed.get("/quarantine").await.data()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_work_says_which_messages() {
    let bed = Bed::new().await;
    for (body, field) in [
        (json!({}), "`ids`"),
        (json!({"ids": [], "filter": null}), "`ids`"),
        (json!({"ids": ["x"]}), "`ids`"),
        (json!({"ids": ["01JD000000000000000000N0NE"], "filter": {}}), "`ids`"),
        (json!({"filter": {"source_id": "x"}}), "`filter.source_id`"),
        (json!({"filter": {"start_date": "x"}}), "`filter.start_date`"),
        (json!({"filter": {}, "mapping": {"kind": 1}}), "`mapping`"),
    ] {
        for action in ["replay", "discard"] {
            let answer = bed.post(&format!("/quarantine/{action}"), body.clone()).await;
            assert_eq!(answer.status, 400, "{body}");
            assert!(answer.message().starts_with(field), "{body}: {answer:?}");
        }
    }
    for path in ["01JD000000000000000000N0NE", "x"] {
        assert_eq!(bed.get(&format!("/quarantine/operations/{path}")).await.status, 404);
    }
}
