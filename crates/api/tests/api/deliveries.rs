//! Deliveries: listed by every filter, shown, tried again: one, some, and many in the background.

use http::Method;
use longshore_api::v1::advance_retries;
use serde_json::{Value, json};

use crate::bed::{Bed, FOREIGN, PROJECT, key};
use crate::rows::{ENDPOINT, NOWHERE, OTHER, SOURCE, delivery, event, id, ids, resources, uuid, walked};

/// Its state, its attempts, and whether it is due.
async fn stands(bed: &Bed, id: &str) -> (String, i16, bool) {
    sqlx::query_as(
        "SELECT d.state, d.attempt_count, COALESCE(s.due_at <= now(), false) FROM deliveries d
         LEFT JOIN schedule s ON s.delivery_id = d.id WHERE d.id = $1::text::uuid",
    )
    .bind(uuid(id))
    .fetch_one(&bed.sql)
    .await
    .unwrap()
}

fn due(attempts: i16, state: &str) -> (String, i16, bool) {
    (state.to_owned(), attempts, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_shown_in_the_contracts_shape() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let (of, own) = (id(2, 2), id(1, 2));
    let source = format!("'{}'", uuid(SOURCE));
    event(&bed, PROJECT, &of, &[("source_id", &source), ("idempotency_key", "'k-1'")]).await;
    delivery(&bed, PROJECT, &own, &of, ENDPOINT, "Retry").await;

    let shown = bed.get(&format!("/eventdeliveries/{own}")).await;
    let data = shown.data();
    assert_eq!(shown.message(), "Event delivery fetched successfully");
    assert_eq!(
        (&data["uid"], &data["event_id"], &data["status"]),
        (&json!(own), &json!(of), &json!("Retry"))
    );
    assert_eq!(data["event_metadata"]["event_type"], "invoice.paid");
    assert_eq!(data["endpoint_metadata"]["name"], "first");
    assert_eq!((&data["source_metadata"]["uid"], &data["idempotency_key"]), (&json!(SOURCE), &json!("k-1")));
    assert_eq!(data["target_url"], "https://first.test/");
    let metadata = &data["metadata"];
    assert_eq!(
        (&metadata["num_trials"], &metadata["data"]["who"]["name"]),
        (&json!(1), &json!("Ada Lovelace"))
    );
    assert!(metadata["next_send_time"].is_string() && metadata["retry_limit"].is_u64());
    // A list has no bodies.
    let listed = bed.get("/eventdeliveries").await;
    assert!(listed.data()["content"][0]["metadata"].get("data").is_none());

    // What there is no more is not shown.
    let orphan = id(1, 4);
    delivery(&bed, PROJECT, &orphan, NOWHERE, NOWHERE, "Success").await;
    let shown = bed.get(&format!("/eventdeliveries/{orphan}")).await;
    for absent in ["event_type", "event_metadata", "endpoint_metadata", "source_metadata", "target_url"] {
        assert!(shown.data().get(absent).is_none(), "{absent}");
    }
    for path in [format!("/eventdeliveries/{NOWHERE}"), "/eventdeliveries/x".to_owned()] {
        let answer = bed.get(&path).await;
        assert_eq!((answer.status, answer.message()), (404, "event delivery not found"));
    }
    for (method, path) in [(Method::GET, ""), (Method::PUT, "/resend")] {
        let foreign = format!("/api/v1/projects/{FOREIGN}/eventdeliveries/{own}{path}");
        assert_eq!(bed.ask(method, &foreign).key(key("foreign")).send().await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_listed_by_every_filter() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let (first, second) = (id(9, 2), id(8, 4));
    event(&bed, PROJECT, &first, &[]).await;
    event(&bed, PROJECT, &second, &[("event_type", "'b'"), ("idempotency_key", "'k'")]).await;
    bed.run(&format!(
        "INSERT INTO idempotency_keys (project_id, key, event_id) VALUES ('{}', 'k', '{}')",
        uuid(PROJECT),
        uuid(&second)
    ))
    .await;
    let states = ["Scheduled", "Processing", "Retry", "Success", "Failure", "Discarded"];
    let mut own = Vec::new();
    for (number, state) in states.into_iter().enumerate() {
        let id = id(7 - u64::try_from(number).unwrap(), 2);
        let (of, to) = if number < 4 { (&first, ENDPOINT) } else { (&second, OTHER) };
        delivery(&bed, PROJECT, &id, of, to, state).await;
        own.push(id);
    }
    let [scheduled, processing, retry, success, failure, discarded] = <[String; 6]>::try_from(own).unwrap();
    bed.run(&format!("UPDATE deliveries SET subscription_id = '{}' WHERE state = 'Success'", uuid(NOWHERE)))
        .await;
    delivery(&bed, FOREIGN, &id(1, 8), &first, ENDPOINT, "Success").await;
    delivery(&bed, FOREIGN, &id(1, 10), &first, ENDPOINT, "Retry").await;

    let all = vec![&discarded, &failure, &success, &retry, &processing, &scheduled];
    for (query, expected) in [
        ("", all.clone()),
        ("sort=ASC", all.iter().rev().copied().collect()),
        ("status=Success", vec![&success]),
        ("status=Scheduled", vec![&scheduled]),
        ("status=Scheduled&status=Retry", vec![&retry, &scheduled]),
        ("status=Retry&sort=ASC", vec![&retry]),
        ("status=Failure&status=Discarded&status=Processing", vec![&discarded, &failure, &processing]),
        (&format!("endpointId={OTHER}"), vec![&discarded, &failure]),
        (&format!("endpointId={OTHER}&endpointId={ENDPOINT}"), all.clone()),
        (&format!("endpointId={ENDPOINT}&status=Success&status=Retry"), vec![&success, &retry]),
        (&format!("eventId={second}"), vec![&discarded, &failure]),
        (&format!("eventId={first}&status=Retry"), vec![&retry]),
        (&format!("subscriptionId={NOWHERE}"), vec![&success]),
        ("event_type=b", vec![&discarded, &failure]),
        ("eventType=b&status=Failure", vec![&failure]),
        ("idempotencyKey=k", vec![&discarded, &failure]),
        ("idempotencyKey=x", vec![]),
        ("startDate=2020-01-01T00:00:00&endDate=2020-02-01T00:00:00", vec![]),
        ("startDate=2020-01-01T00:00:00&endDate=2099-02-01T00:00:00Z", all.clone()),
    ] {
        let answer = bed.get(&format!("/eventdeliveries?{query}")).await;
        assert_eq!(ids(&answer).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for (query, field) in [
        ("status=success", "`status`"),
        ("endpointId=x", "`endpointId`"),
        ("eventId=x", "`eventId`"),
        (&format!("eventId={first}&eventId={second}"), "`eventId`"),
        ("subscriptionId=x", "`subscriptionId`"),
        ("startDate=x", "`startDate`"),
        ("perPage=1001", "`perPage`"),
        ("prev_page_cursor=x&direction=prev", "`prev_page_cursor`"),
    ] {
        let answer = bed.get(&format!("/eventdeliveries?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.message().starts_with(field), "{query}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_while_deliveries_come_and_change() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let of = id(30, 2);
    event(&bed, PROJECT, &of, &[]).await;
    let mut all = Vec::new();
    for number in 1..=7_u128 {
        let own = id(20 - u64::try_from(number).unwrap(), number * 2);
        delivery(&bed, PROJECT, &own, &of, ENDPOINT, "Failure").await;
        all.insert(0, own);
    }
    for path in [
        "/eventdeliveries?".to_owned(),
        "/eventdeliveries?status=Failure&".to_owned(),
        format!("/eventdeliveries?endpointId={ENDPOINT}&endpointId={OTHER}&"),
    ] {
        let (forth, back) = walked(&bed, &path, async |page| {
            let own = id(0, 1000 + u128::try_from(page).unwrap() * 2 + (path.len() as u128) * 100);
            delivery(&bed, PROJECT, &own, &of, ENDPOINT, "Failure").await;
        })
        .await;
        let seen: Vec<&String> = forth.iter().filter(|id| all.contains(id)).collect();
        assert_eq!(seen, all.iter().collect::<Vec<_>>(), "{path}");
        let returned: Vec<&String> = back.iter().filter(|id| all.contains(id)).collect();
        assert!(all.iter().collect::<Vec<_>>().starts_with(&returned) && returned.len() >= 5, "{path}");
        assert!(back.len() > returned.len(), "{path} does not show what came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_resent_unless_that_makes_no_sense() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let of = id(30, 2);
    event(&bed, PROJECT, &of, &[]).await;
    let make = async |number: u128, to: &str, event: &str, state: &str| {
        let own = id(10, number);
        delivery(&bed, PROJECT, &own, event, to, state).await;
        own
    };
    let failed = make(2, ENDPOINT, &of, "Failure").await;
    let discarded = make(4, ENDPOINT, &of, "Discarded").await;
    let retry = make(6, ENDPOINT, &of, "Retry").await;
    for (own, expected) in
        [(&failed, due(0, "Scheduled")), (&discarded, due(0, "Scheduled")), (&retry, due(1, "Retry"))]
    {
        let answer = bed.ask(Method::PUT, &format!("/eventdeliveries/{own}/resend")).send().await;
        assert_eq!((answer.status, answer.message()), (200, "App event processed for retry successfully"));
        assert_eq!(answer.data()["status"], expected.0);
        assert_eq!(stands(&bed, own).await, expected);
    }
    let lines = bed.run("SELECT FROM audit_log WHERE action = 'eventdelivery.resent'").await;
    assert_eq!(lines, 3);

    let blocked = make(18, ENDPOINT, &of, "Retry").await;
    bed.run(&format!("UPDATE schedule SET due_at = 'infinity' WHERE delivery_id = '{}'", uuid(&blocked)))
        .await;
    for (own, why) in [
        (make(8, ENDPOINT, &of, "Success").await, "it was delivered"),
        (make(10, ENDPOINT, &of, "Processing").await, "it is on its way"),
        (make(12, NOWHERE, &of, "Failure").await, "its endpoint is gone"),
        (make(14, OTHER, &of, "Failure").await, "its endpoint is inactive"),
        (make(16, ENDPOINT, NOWHERE, "Failure").await, "its event is kept no longer"),
        (blocked, "in order"),
    ] {
        let before = stands(&bed, &own).await;
        let answer = bed.ask(Method::PUT, &format!("/eventdeliveries/{own}/resend")).send().await;
        assert_eq!(answer.status, 400, "{why}");
        assert!(answer.message().contains(why), "{answer:?}");
        assert_eq!(stands(&bed, &own).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_forced_whatever_became_of_them() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let of = id(30, 2);
    event(&bed, PROJECT, &of, &[]).await;
    let (success, failed, busy, foreign) = (id(10, 2), id(10, 4), id(10, 6), id(10, 8));
    delivery(&bed, PROJECT, &success, &of, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &failed, &of, ENDPOINT, "Failure").await;
    delivery(&bed, PROJECT, &busy, &of, ENDPOINT, "Processing").await;
    event(&bed, FOREIGN, &of, &[]).await;
    delivery(&bed, FOREIGN, &foreign, &of, ENDPOINT, "Failure").await;

    let given = json!({"ids": [success, failed, success, busy, foreign, NOWHERE, "x"]});
    let answer = bed.post("/eventdeliveries/forceresend", given).await;
    assert_eq!((answer.status, answer.message()), (200, "2 successful, 4 failed"));
    assert_eq!(answer.body["data"], Value::Null);
    assert_eq!(stands(&bed, &success).await, due(0, "Scheduled"));
    assert_eq!(stands(&bed, &foreign).await.0, "Failure");
    for body in [json!({}), json!({"ids": []}), json!({"ids": vec!["x"; 10_001]})] {
        let answer = bed.post("/eventdeliveries/forceresend", body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().starts_with("`ids`"), "{answer:?}");
    }
    assert_eq!(bed.run("SELECT FROM audit_log WHERE action = 'eventdelivery.force_resent'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_retried_in_the_background() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let of = id(30, 2);
    event(&bed, PROJECT, &of, &[]).await;
    let prefix = &uuid(&id(20, 0))[..24];
    bed.run(&format!(
        "INSERT INTO deliveries (project_id, id, event_id, endpoint_id, state, finished_at, attempt_count)
         SELECT '{}', ('{prefix}' || lpad(to_hex(n), 12, '0'))::uuid, '{}', '{}', 'Failure', now(), 1
         FROM generate_series(1, 1200) n",
        uuid(PROJECT),
        uuid(&of),
        uuid(ENDPOINT)
    ))
    .await;
    let (success, off) = (id(10, 2), id(10, 4));
    delivery(&bed, PROJECT, &success, &of, ENDPOINT, "Success").await;
    delivery(&bed, PROJECT, &off, &of, OTHER, "Failure").await;

    let begun = bed.ask(Method::POST, "/eventdeliveries/batchretry").send().await;
    assert_eq!((begun.status, begun.message()), (200, "Batch retry processing"));
    assert_eq!(begun.data()["state"], "waiting");
    let path = format!("/eventdeliveries/operations/{}", begun.text("/uid"));
    // What comes after is left alone.
    let later = id(0, 0xffff_ffff);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    delivery(&bed, PROJECT, &later, &of, ENDPOINT, "Failure").await;
    assert!(advance_retries(&bed.control).await.unwrap());
    assert!(!advance_retries(&bed.control).await.unwrap());

    let done = bed.get(&path).await;
    let data = done.data();
    assert_eq!(
        (&data["state"], &data["retried"], &data["left_out"]),
        (&json!("done"), &json!(1200), &json!(1))
    );
    assert_eq!(bed.run("SELECT FROM schedule WHERE due_at <= now()").await, 1200);
    assert_eq!(stands(&bed, &success).await.0, "Success");

    // Success only when it is asked for.
    bed.ask(Method::POST, "/eventdeliveries/batchretry?status=Success").send().await.data();
    assert!(advance_retries(&bed.control).await.unwrap());
    assert_eq!(stands(&bed, &success).await, due(0, "Scheduled"));

    for (query, field) in
        [("status=Processing", "`status`"), ("status=x", "`status`"), ("eventId=x", "`eventId`")]
    {
        let answer = bed.ask(Method::POST, &format!("/eventdeliveries/batchretry?{query}")).send().await;
        assert_eq!(answer.status, 400);
        assert!(answer.message().starts_with(field), "{answer:?}");
    }
    let foreign = format!("/api/v1/projects/{FOREIGN}{path}");
    assert_eq!(bed.ask(Method::GET, &foreign).key(key("foreign")).send().await.status, 404);
    assert_eq!(bed.get("/eventdeliveries/operations/x").await.status, 404);
    assert_eq!(bed.run("SELECT FROM audit_log WHERE action = 'eventdelivery.batch_retry_begun'").await, 2);
}
