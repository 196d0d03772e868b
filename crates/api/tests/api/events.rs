//! Events: listed by every filter, searched, shown, delivered anew.

use http::Method;
use serde_json::json;

use crate::bed::{Bed, FOREIGN, PROJECT, key};
use crate::rows::{ENDPOINT, NOWHERE, OTHER, SOURCE, delivery, event, id, ids, resources, uuid, walked};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_shown_in_the_contracts_shape() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let own = id(1, 2);
    let source = format!("'{}'", uuid(SOURCE));
    event(&bed, PROJECT, &own, &[("source_id", &source), ("idempotency_key", "'k-1'")]).await;
    delivery(&bed, PROJECT, &id(1, 3), &own, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &id(1, 4), &own, ENDPOINT, "Success").await;

    let shown = bed.get(&format!("/events/{own}")).await;
    let data = shown.data();
    assert_eq!(shown.message(), "Endpoint event fetched successfully");
    assert_eq!(data["uid"], own);
    assert_eq!(data["headers"], json!({"x-a": ["1", "2"]}));
    assert_eq!(data["source_metadata"], json!({"uid": SOURCE, "name": "orders"}));
    assert_eq!(data["endpoints"], json!([ENDPOINT]));
    assert_eq!(data["endpoint_metadata"][0]["name"], "first");
    assert_eq!((&data["status"], &data["is_duplicate_event"]), (&json!("Success"), &json!(false)));
    assert_eq!((&data["idempotency_key"], &data["kind"]), (&json!("k-1"), &json!("broadcast")));
    // The producer's very bytes.
    assert_eq!(data["raw"], "{\"amount\":12345678901234567890.10,\"who\":{\"name\":\"Ada Lovelace\"}}");
    assert_eq!(data["data"]["who"]["name"], "Ada Lovelace");

    let bytes = id(1, 6);
    event(&bed, PROJECT, &bytes, &[("body", "'\\xff00'"), ("content_type", "'image/png'")]).await;
    let shown = bed.get(&format!("/events/{bytes}")).await;
    assert!(shown.data().get("data").is_none() && shown.data().get("raw").is_none());

    for path in [format!("/events/{NOWHERE}"), "/events/x".to_owned()] {
        let answer = bed.get(&path).await;
        assert_eq!((answer.status, answer.message()), (404, "event not found"), "{path}");
    }
    let foreign = format!("/api/v1/projects/{FOREIGN}/events/{own}");
    assert_eq!(bed.ask(Method::GET, &foreign).key(key("foreign")).send().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_every_filter() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let source = format!("'{}'", uuid(SOURCE));
    let (old, keyed, twice, lone) = (id(120, 2), id(3, 4), id(2, 6), id(1, 8));
    event(&bed, PROJECT, &old, &[("source_id", &source)]).await;
    event(&bed, PROJECT, &keyed, &[("idempotency_key", "'k-1'"), ("event_type", "'order.made'")]).await;
    event(&bed, PROJECT, &twice, &[("idempotency_key", "'k-1'"), ("is_duplicate", "true")]).await;
    event(&bed, PROJECT, &lone, &[("body", "'{\"tags\":[\"a\",\"b\"],\"n\":1}'")]).await;
    bed.run(&format!(
        "INSERT INTO idempotency_keys (project_id, key, event_id) VALUES ('{}', 'k-1', '{}')",
        uuid(PROJECT),
        uuid(&keyed)
    ))
    .await;
    event(&bed, FOREIGN, &id(1, 10), &[]).await;
    delivery(&bed, PROJECT, &id(120, 1), &old, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &id(3, 1), &keyed, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &id(3, 3), &keyed, OTHER, "Success").await;
    // Replayed later: the list has the event once, where it was.
    delivery(&bed, PROJECT, &id(0, 1), &old, ENDPOINT, "Success").await;
    let (hour, late) = ("startDate=2020-01-01T00:00:00&endDate=2020-02-01T00:00:00Z", "endDate=2099-01-01");
    assert_eq!(bed.get(&format!("/events?{late}")).await.status, 400);

    let all = vec![&lone, &twice, &keyed, &old];
    let none: Vec<&String> = Vec::new();
    for (query, expected) in [
        ("", all.clone()),
        ("sort=ASC", all.iter().rev().copied().collect()),
        ("perPage=1", vec![&lone]),
        (&format!("sourceId={SOURCE}"), vec![&old]),
        (&format!("sourceId={SOURCE}&sourceId={NOWHERE}"), vec![&old]),
        (&format!("endpointId={ENDPOINT}"), vec![&keyed, &old]),
        (&format!("endpointId={OTHER}"), vec![&keyed]),
        (&format!("endpointId={OTHER}&endpointId={ENDPOINT}"), vec![&keyed, &old]),
        (&format!("endpointId={ENDPOINT}&sort=ASC"), vec![&old, &keyed]),
        (&format!("endpointId={ENDPOINT}&event_type=order.made"), vec![&keyed]),
        (&format!("endpointId={NOWHERE}"), none.clone()),
        ("idempotencyKey=k-1", vec![&twice, &keyed]),
        ("idempotencyKey=k-2", none.clone()),
        ("event_type=order.made", vec![&keyed]),
        ("eventType=order.made", vec![&keyed]),
        (hour, none.clone()),
        ("startDate=2020-01-01T00:00:00", all.clone()),
        ("unmatched=true", vec![&lone]),
        ("unmatched=false", vec![&twice, &keyed, &old]),
        ("status=Failure", vec![&lone]),
        ("status=Success", vec![&twice, &keyed, &old]),
        ("status=Pending", none.clone()),
        ("query=lovelace", vec![&twice, &keyed, &old]),
        ("query=ada%20LOVELACE", vec![&twice, &keyed, &old]),
        ("query=ada%20byron", none.clone()),
        ("query=order.made", vec![&keyed]),
        ("query=k-1", vec![&twice, &keyed]),
        ("query=orders", vec![&old]),
        (&format!("query={old}"), vec![&old]),
        (&format!("query={}", &old[..10]), vec![&old]),
        ("query=%7B%22n%22:1%7D", vec![&lone]),
        ("body=%7B%22tags%22:%5B%22b%22%5D%7D", vec![&lone]),
        ("json=%7B%22tags%22:%5B%22b%22%5D%7D&query=a", vec![&lone]),
        ("body.who.name=Ada%20Lovelace", vec![&twice, &keyed, &old]),
        ("body.n=1", vec![&lone]),
        ("body.n=%221%22", none.clone()),
    ] {
        let answer = bed.get(&format!("/events?{query}")).await;
        assert_eq!(ids(&answer).iter().collect::<Vec<_>>(), expected, "{query}");
        // What is counted is what is listed.
        if !["perPage=1", "sort=ASC"].iter().any(|part| query.contains(part)) {
            let count = bed.get(&format!("/events/countbatchreplayevents?{query}")).await;
            assert_eq!(count.data()["num"], expected.len(), "{query}");
        }
    }
    let shown = bed.get("/events?unmatched=true").await;
    let item = &shown.data()["content"][0];
    assert_eq!(item["status"], "Failure");
    assert_eq!(item["failure_reason"], "no subscription matched this event");
    assert_eq!(ids(&bed.get("/events?unmatched=true").await), [lone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused() {
    let bed = Bed::new().await;
    let long = format!("query={}", "x".repeat(1025));
    for (query, field) in [
        ("perPage=0", "`perPage`"),
        ("sort=up", "`sort`"),
        ("direction=x", "`direction`"),
        ("next_page_cursor=x", "`next_page_cursor`"),
        ("sourceId=x", "`sourceId`"),
        ("endpointId=x", "`endpointId`"),
        ("startDate=x", "`startDate`"),
        ("endDate=x", "`endDate`"),
        ("status=success", "`status`"),
        ("unmatched=x", "`unmatched`"),
        ("body=1", "`body`"),
        ("query=%7Bx", "`query`"),
        ("body.=1", "`body.`"),
        ("idempotencyKey=a&idempotencyKey=b", "`idempotencyKey`"),
        (&long, "`query`"),
    ] {
        let answer = bed.get(&format!("/events?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.message().starts_with(field), "{query}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_while_events_come() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let mut all = Vec::new();
    for number in 1..=7_u128 {
        let own = id(20 - u64::try_from(number).unwrap(), number * 2);
        event(&bed, PROJECT, &own, &[]).await;
        delivery(&bed, PROJECT, &own, &own, ENDPOINT, "Success").await;
        all.insert(0, own);
    }
    for (path, expected) in [
        ("/events?".to_owned(), all.clone()),
        ("/events?sort=ASC&endDate=2999-01-01T00:00:00&".to_owned(), all.iter().rev().cloned().collect()),
        (format!("/events?endpointId={ENDPOINT}&"), all.clone()),
    ] {
        let is_ascending = path.contains("ASC");
        let (forth, back) = walked(&bed, &path, async |page| {
            // Newer ones: before the first page of the newest, after the last of the oldest.
            if !is_ascending {
                let own =
                    id(0, 1000 + u128::try_from(page).unwrap() * 2 + u128::from(path.len() as u64) * 100);
                event(&bed, PROJECT, &own, &[]).await;
                delivery(&bed, PROJECT, &own, &own, ENDPOINT, "Success").await;
            }
        })
        .await;
        let seen: Vec<String> = forth.iter().filter(|id| all.contains(id)).cloned().collect();
        assert_eq!(seen, expected, "{path}");
        let mut unique = forth.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), forth.len(), "{path} has something twice");
        // Back to the beginning: all that was seen before the last page, and in front of it what came meanwhile.
        let returned: Vec<&String> = back.iter().filter(|id| all.contains(id)).collect();
        let before_last = expected.len() - (expected.len() - 1) % 2 - 1;
        if !is_ascending {
            assert_eq!(returned, expected.iter().take(before_last).collect::<Vec<_>>(), "{path}");
            assert!(back.len() > returned.len(), "{path} does not show what came");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_replayed_one_and_many() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let (right, wrong) = (id(2, 2), id(1, 3));
    event(&bed, PROJECT, &right, &[]).await;
    event(&bed, PROJECT, &wrong, &[("event_type", "'b'")]).await;

    let one = bed.ask(Method::PUT, &format!("/events/{right}/replay")).send().await;
    assert_eq!((one.message(), &one.data()["uid"]), ("Endpoint event replayed successfully", &json!(right)));
    for gone in [format!("/events/{wrong}/replay"), "/events/x/replay".to_owned()] {
        assert_eq!(bed.ask(Method::PUT, &gone).send().await.status, 404);
    }
    for (query, message) in [
        ("", "1 successful, 1 failed"),
        ("?event_type=b", "0 successful, 1 failed"),
        ("?status=Pending", "0 successful, 0 failed"),
        ("?startDate=2099-01-01T00:00:00", "0 successful, 0 failed"),
    ] {
        let many = bed.ask(Method::POST, &format!("/events/batchreplay{query}")).send().await;
        assert_eq!((many.status, many.message(), many.data()), (200, message, &json!(message)), "{query}");
    }
    let refused = bed.ask(Method::POST, "/events/batchreplay?status=x").send().await;
    assert_eq!(refused.status, 400);

    let lines =
        bed.run("SELECT FROM audit_log WHERE action IN ('event.replayed', 'event.batch_replayed')").await;
    assert_eq!(lines, 5);

    let project = uuid(PROJECT);
    let prefix = &uuid(&id(30, 0))[..24];
    bed.run(&format!(
        "INSERT INTO events (project_id, id, kind, event_type, is_duplicate, headers, body, received_at)
         SELECT '{project}', ('{prefix}' || lpad(to_hex(n), 12, '0'))::uuid, 'broadcast', 'many', false, '[]', '1', now()
         FROM generate_series(1, 10001) n"
    ))
    .await;
    let many = bed.ask(Method::POST, "/events/batchreplay?event_type=many").send().await;
    assert_eq!(many.status, 400);
    assert!(many.message().contains("narrow it down"), "{many:?}");
    let count = bed.get("/events/countbatchreplayevents?event_type=many").await;
    assert_eq!(count.data()["num"], 10_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_of_too_much_is_given_up() {
    let bed = Bed::new().await;
    // Words that take their time: each look at a body is made to wait.
    bed.run(
        "CREATE OR REPLACE FUNCTION event_has_words(body bytea, words tsquery) RETURNS boolean
         LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN false; END $$",
    )
    .await;
    event(&bed, PROJECT, &id(1, 2), &[]).await;

    let answer = bed.get("/events?query=words").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("narrow it down by `startDate`"), "{answer:?}");
}
