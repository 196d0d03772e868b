//! Filters under subscriptions: one per event type, as matching asks them.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, key};
use crate::subscriptions::{bed, made, takers};

/// A subscription to everything, and the path of its filters.
async fn subscribed(bed: &Bed) -> (String, String) {
    let id = made(bed, json!({})).await.text("/uid");
    let path = format!("/subscriptions/{id}/filters");
    (id, path)
}

async fn audited(bed: &Bed, action: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = $1")
        .bind(action)
        .fetch_one(&bed.sql)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_of_the_most_specific_type_counts_when_events_are_matched() {
    let bed = bed().await;
    let (id, path) = subscribed(&bed).await;
    let takes = async |event_type: &str, level: i64| {
        let found = takers(&bed, event_type, json!({"level": level})).await;
        assert!(found.iter().all(|found| *found == id));
        !found.is_empty()
    };
    assert!(takes("order.made", 0).await);
    for (event_type, level) in [("*", 1), ("order.*", 2), ("order.made", 3)] {
        let answer = bed.post(&path, json!({"event_type": event_type, "body": {"level": level}})).await;
        assert_eq!((answer.status, answer.message()), (201, "Filter created successfully"));
    }
    for (event_type, level) in [("invoice.paid", 1), ("order.sent", 2), ("order.made", 3)] {
        for tried in 1..=3 {
            assert_eq!(takes(event_type, tried).await, tried == level, "{event_type} {tried}");
        }
    }
    // The filter of `*` is the subscription's own.
    let read = bed.get(path.strip_suffix("/filters").unwrap()).await;
    assert_eq!(read.data()["filter_config"]["filter"]["body"], json!({"level": 1}));

    let listed = bed.get(&path).await;
    let exact = listed.data()[2]["uid"].as_str().unwrap().to_owned();
    // One that rests is as if it were not there.
    let rests = bed.put(&format!("{path}/{exact}"), json!({"enabled_at": null})).await;
    assert!(rests.data().get("enabled_at").is_none());
    assert!(takes("order.made", 2).await && !takes("order.made", 3).await);
    let back = bed.put(&format!("{path}/{exact}"), json!({"enabled_at": "2026-01-31T00:00:00Z"})).await;
    assert_eq!(back.data()["enabled_at"], "2026-01-31T00:00:00Z");
    assert!(takes("order.made", 3).await && !takes("order.made", 2).await);
    assert_eq!(bed.delete(&format!("{path}/{exact}")).await.message(), "Filter deleted successfully");
    assert!(takes("order.made", 2).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_made_read_changed_and_deleted() {
    let bed = bed().await;
    let (id, path) = subscribed(&bed).await;
    let body = json!({
        "event_type": "order.made", "body": {"a": {"b": 1}}, "headers": {"x": "1"}, "query": {}, "path": {},
        "enabled_at": {"set": false, "time": ""},
    });
    let made = bed.post(&path, body).await;
    let data = made.data();
    assert_eq!((&data["subscription_id"], &data["event_type"]), (&json!(id), &json!("order.made")));
    assert_eq!((&data["body"], &data["raw_body"]), (&json!({"a": {"b": 1}}), &json!({"a": {"b": 1}})));
    assert_eq!(
        (&data["headers"], &data["query"], &data["raw_path"]),
        (&json!({"x": "1"}), &json!({}), &json!({}))
    );
    assert!(data["enabled_at"].is_string());

    let one = format!("{path}/{}", made.text("/uid"));
    let read = bed.get(&one).await;
    assert_eq!((read.message(), read.data()), ("Filter retrieved successfully", data));
    assert_eq!(bed.get(&path).await.data(), &json!([data]));

    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let put = async |body: Value| bed.ask(Method::PUT, &one).body(body).header("if-match", &tag).send().await;
    let updated = put(json!({"headers": {}, "is_flattened": true})).await;
    assert_eq!((updated.status, updated.message()), (200, "Filter updated successfully"));
    assert_eq!((&updated.data()["headers"], &updated.data()["body"]), (&json!({}), &json!({"a": {"b": 1}})));
    assert_eq!(updated.data()["event_type"], "order.made");
    assert_eq!(put(json!({"event_type": "other"})).await.status, 412);

    assert_eq!(bed.delete(&one).await.status, 200);
    assert_eq!(bed.get(&path).await.data(), &json!([]));
    for answer in [
        bed.get(&one).await,
        bed.delete(&one).await,
        bed.put(&one, json!({})).await,
        bed.get(&format!("{path}/nonsense")).await,
    ] {
        assert_eq!((answer.status, answer.message()), (404, "filter not found"));
    }
    for action in ["filter.created", "filter.updated", "filter.deleted"] {
        assert_eq!(audited(&bed, action).await, 1, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_are_made_and_changed_whole_or_not_at_all() {
    let bed = bed().await;
    let (_, path) = subscribed(&bed).await;
    let bulk = format!("{path}/bulk");
    let made = bed.post(&bulk, json!([{"event_type": "a"}, {"event_type": "b", "body": {"x": 1}}])).await;
    assert_eq!((made.status, made.message()), (201, "Filters created successfully"));
    for (body, status, said) in [
        (
            json!([{"event_type": "c"}, {"event_type": "c"}]),
            409,
            "`[1].event_type`: the subscription has a filter",
        ),
        (json!([{"event_type": "c"}, {"event_type": "a"}]), 409, "`[1].event_type`: "),
        (json!([{"event_type": "c"}, {"body": {}}]), 400, "`[1].event_type`: is missing"),
        (
            json!([{"event_type": "c"}, {"event_type": "d", "body": {"a": {"$z": 1}}}]),
            400,
            "`[1].body.a.$z`: ",
        ),
        (json!({"event_type": "c"}), 400, "the body: "),
        (json!([7]), 400, "`[0]`: "),
    ] {
        let answer = bed.post(&bulk, body.clone()).await;
        assert!(answer.status == status && answer.message().starts_with(said), "{body}: {answer:?}");
    }
    assert_eq!(bed.get(&path).await.data().as_array().unwrap().len(), 2);
    assert_eq!(bed.post(&bulk, json!([])).await.data(), &json!([]));

    let (a, b) = (made.text("/0/uid"), made.text("/1/uid"));
    let bulk = format!("{path}/bulk_update");
    // They may swap their types.
    let swapped =
        json!([{"uid": a, "event_type": "b"}, {"uid": b, "event_type": "a", "headers": {"h": "1"}}]);
    let updated = bed.put(&bulk, swapped).await;
    assert_eq!((updated.status, updated.message()), (200, "Filters updated successfully"));
    assert_eq!(
        (&updated.data()[0]["event_type"], &updated.data()[1]["event_type"]),
        (&json!("b"), &json!("a"))
    );
    assert_eq!(updated.data()[1]["body"], json!({"x": 1}));
    let by_post = bed.post(&bulk, json!([{"uid": a, "enabled_at": {"set": true, "time": null}}])).await;
    assert!(by_post.data()[0].get("enabled_at").is_none(), "{by_post:?}");
    let before = bed.get(&path).await;
    for (body, status, said) in [
        (json!([{"uid": a, "event_type": "z"}, {"uid": b, "body": 7}]), 400, "`[1].body`: "),
        (json!([{"uid": a, "event_type": "z"}, {"uid": "x"}]), 404, "`[1].uid`: filter not found"),
        (json!([{"uid": a, "event_type": "z"}, {"event_type": "y"}]), 400, "`[1].uid`: is missing"),
        (json!([{"uid": a, "event_type": "a"}]), 409, "`event_type`: the subscription has a filter"),
        (json!([{"uid": "01JD000000000000000000N0NE"}]), 404, "`[0].uid`: filter not found"),
    ] {
        for method in [Method::PUT, Method::POST] {
            let answer = bed.ask(method, &bulk).body(body.clone()).send().await;
            assert!(answer.status == status && answer.message().starts_with(said), "{body}: {answer:?}");
        }
    }
    assert_eq!(bed.get(&path).await.data(), before.data());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let bed = bed().await;
    let (_, path) = subscribed(&bed).await;
    let taken = bed.post(&path, json!({"event_type": "taken"})).await;
    for (body, status, said) in [
        (json!({}), 400, "`event_type`: is missing"),
        (json!({"event_type": ""}), 400, "`event_type`: is missing"),
        (json!({"event_type": 7}), 400, "`event_type`: invalid type"),
        (json!({"event_type": "a*"}), 400, "`event_type`: `a*` is not an event type pattern"),
        (json!({"event_type": "taken"}), 409, "`event_type`: the subscription has a filter for `taken`"),
        (json!({"event_type": "a", "body": []}), 400, "`body`: expected an object"),
        (json!({"event_type": "a", "headers": {"a": {"$in": 1}}}), 400, "`headers.a.$in`: expected a list"),
        (json!({"event_type": "a", "query": {"a": 1}}), 400, "`query`: events do not keep"),
        (json!({"event_type": "a", "path": {"a": 1}}), 400, "`path`: events do not keep"),
        (json!({"event_type": "a", "enabled_at": "soon"}), 400, "`enabled_at`: write a time"),
        (json!({"event_type": "a", "enabled_at": 7}), 400, "`enabled_at`: write a time"),
    ] {
        let answer = bed.post(&path, body.clone()).await;
        assert!(answer.status == status && answer.message().starts_with(said), "{body}: {answer:?}");
    }
    let other = bed.post(&path, json!({"event_type": "other"})).await;
    let one = format!("{path}/{}", other.text("/uid"));
    assert_eq!(bed.put(&one, json!({"event_type": "taken"})).await.status, 409);
    assert_eq!(bed.put(&one, json!({"body": {"a": {}}})).await.status, 400);
    assert_eq!(
        bed.put(&format!("{path}/{}", taken.text("/uid")), json!({"event_type": "taken"})).await.status,
        200
    );
    for missing in ["/subscriptions/01JD000000000000000000N0NE/filters", "/subscriptions/nonsense/filters"] {
        for answer in [
            bed.get(missing).await,
            bed.post(missing, json!({"event_type": "a"})).await,
            bed.post(&format!("{missing}/bulk"), json!([])).await,
            bed.put(&format!("{missing}/bulk_update"), json!([])).await,
            bed.post(&format!("{missing}/test/a"), json!({})).await,
            bed.get(&format!("{missing}/{}", other.text("/uid"))).await,
        ] {
            assert_eq!((answer.status, answer.message()), (404, "subscription not found"));
        }
    }
    let many: Vec<Value> = (0..500).map(|at| json!({"event_type": format!("t{at}")})).collect();
    let answer = bed.post(&format!("{path}/bulk"), json!(many)).await;
    assert!(answer.status == 400 && answer.message().contains("500 filters"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_tried_on_a_request() {
    let bed = bed().await;
    let id = made(
        &bed,
        json!({"filter_config": {"event_types": ["order.*", "invoice.paid"], "filter": {"body": {"live": true}}}}),
    )
    .await
    .text("/uid");
    let path = format!("/subscriptions/{id}/filters");
    let filter =
        json!({"event_type": "order.made", "body": {"total": {"$gte": 5}}, "headers": {"x-env": "live"}});
    let filter = bed.post(&path, filter).await;
    let tried = async |event_type: &str, body: Value| {
        let answer = bed.post(&format!("{path}/test/{event_type}"), body).await;
        assert_eq!((answer.status, answer.message()), (200, "Filter test completed successfully"));
        answer.data()["is_match"].as_bool().unwrap()
    };
    let scopes =
        |total: i64, env: &str| json!({"request": {"body": {"total": total}, "headers": {"X-Env": env}}});
    assert!(tried("order.made", scopes(5, "live")).await);
    assert!(!tried("order.made", scopes(4, "live")).await);
    assert!(!tried("order.made", scopes(5, "test")).await);
    assert!(
        tried("order.made", json!({"payload": {"total": 9}, "request": {"header": {"x-env": ["live"]}}}))
            .await
    );
    assert!(tried("order.sent", json!({"payload": {"live": true}})).await);
    assert!(!tried("order.sent", json!({"payload": {"live": false}})).await);
    // It takes no such events.
    assert!(!tried("invoice.late", json!({"payload": {"live": true}})).await);
    assert!(tried("*", json!({"payload": {"live": true}})).await);
    assert!(!tried("*", json!({})).await);
    bed.put(&format!("{path}/{}", filter.text("/uid")), json!({"enabled_at": null})).await;
    assert!(tried("order.made", json!({"payload": {"live": true}})).await);
    let viewer = bed.ask(Method::POST, &format!("{path}/test/order.made")).key(key("viewer"));
    assert_eq!(viewer.body(json!({})).send().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_a_resource_file_have_ids_that_stay() {
    let bed = bed().await;
    let (_, path) = subscribed(&bed).await;
    bed.run(
        r#"UPDATE subscriptions SET filters = '[{"event_type": "*", "body": {"a": 1}}, {"event_type": "b", "headers": {"h": "1"}}]'"#,
    )
    .await;
    let listed = bed.get(&path).await;
    assert_eq!(listed.data()[0]["body"], json!({"a": 1}));
    assert_eq!(bed.get(&path).await.data(), listed.data());
    let one = listed.text("/1/uid");
    let updated = bed.put(&format!("{path}/{one}"), json!({"event_type": "c"})).await;
    assert_eq!(updated.text("/uid"), one);
    assert_eq!(bed.get(&format!("{path}/{one}")).await.data()["event_type"], "c");
}
