//! Subscriptions: in the contract's shapes, and as matching understands them.

use http::Method;
use longshore_core::ProjectId;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, FOREIGN, PROJECT, key};

/// An endpoint of the project, made without the API.
pub(crate) const ENDPOINT: &str = "01JD000000000000000000ENDP";
/// Another one.
pub(crate) const OTHER: &str = "01JD0000000000000000000THR";
/// One of another project.
const FOREIGN_ENDPOINT: &str = "01JD00000000000000000FRGN0";

fn uuid(text: &str) -> impl std::fmt::Display + use<> {
    text.parse::<ProjectId>().unwrap().as_uuid()
}

/// A bed with endpoints.
pub(crate) async fn bed() -> Bed {
    let bed = Bed::new().await;
    for (project, endpoint, name) in
        [(PROJECT, ENDPOINT, "shop"), (PROJECT, OTHER, "other"), (FOREIGN, FOREIGN_ENDPOINT, "foreign")]
    {
        bed.run(&format!(
            "INSERT INTO endpoints (project_id, id, name, url, owner_id)
             VALUES ('{}', '{}', '{name}', 'https://{name}.test/hook', 'o-{name}')",
            uuid(project),
            uuid(endpoint)
        ))
        .await;
    }
    bed
}

/// A source of the project.
async fn source(bed: &Bed) -> String {
    let body = json!({"name": "orders", "type": "http", "verifier": {"type": "noop"}});
    bed.post("/sources", body).await.text("/uid")
}

/// A subscription of [`ENDPOINT`].
pub(crate) async fn made(bed: &Bed, more: Value) -> Answer {
    let mut body = json!({"name": "paid", "endpoint_id": ENDPOINT});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = bed.post("/subscriptions", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made
}

async fn audited(bed: &Bed, action: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = $1")
        .bind(action)
        .fetch_one(&bed.sql)
        .await
        .unwrap()
}

/// The subscriptions of the project that an event of that type and body goes to, as matching sees it.
pub(crate) async fn takers(bed: &Bed, event_type: &str, body: Value) -> Vec<String> {
    takers_with(bed, event_type, body, &[], None).await
}

async fn takers_with(
    bed: &Bed,
    event_type: &str,
    body: Value,
    headers: &[(&str, &str)],
    source: Option<&str>,
) -> Vec<String> {
    let event = longshore_core::Event {
        id: longshore_core::EventId::from_u128(1),
        project: PROJECT.parse().unwrap(),
        source: source.map(|text| text.parse().unwrap()),
        target: longshore_core::event::Target::Fanout("o-shop".to_owned()),
        event_type: event_type.to_owned(),
        body: body.to_string().into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        idempotency_key: None,
        received_at: longshore_core::Timestamp::EPOCH,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    };
    let config = bed.store.load_config().await.unwrap();
    let matches = config.snapshot.matches(&event);
    matches.into_iter().map(|found| found.subscription.unwrap().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_made_and_read_in_the_contracts_shape() {
    let bed = bed().await;
    let source = source(&bed).await;
    let made = made(
        &bed,
        json!({
            "source_id": &source,
            "filter_config": {
                "event_types": ["invoice.paid", "order.*"],
                "filter": {"headers": {"x-env": "live"}, "body": {"total": {"$gt": 5}}, "query": {}, "path": null},
            },
            "alert_config": {"count": 3, "threshold": "10m"},
            "rate_limit_config": {"count": 10, "duration": 60},
            "retry_config": {"type": "exponential", "duration": "10s", "retry_count": 4},
            "delivery_mode": "at_least_once",
            "function": "",
        }),
    )
    .await;
    assert_eq!(made.message(), "Subscription created successfully");
    assert!(made.headers.contains_key("etag"));
    let data = made.data();
    assert_eq!(
        (&data["name"], &data["type"], &data["project_id"]),
        (&json!("paid"), &json!("api"), &json!(PROJECT))
    );
    assert_eq!(data["endpoint_metadata"]["uid"], ENDPOINT);
    assert_eq!(data["endpoint_metadata"]["url"], "https://shop.test/hook");
    assert_eq!(data["endpoint_metadata"]["owner_id"], "o-shop");
    assert_eq!(data["endpoint_metadata"]["http_timeout"], 10);
    assert_eq!(
        (&data["source_metadata"]["uid"], &data["source_metadata"]["type"]),
        (&json!(source), &json!("http"))
    );
    assert_eq!(
        data["filter_config"],
        json!({
            "event_types": ["invoice.paid", "order.*"],
            "filter": {
                "is_flattened": false, "headers": {"x-env": "live"}, "body": {"total": {"$gt": 5}}, "query": {}, "path": {},
            },
        })
    );
    assert_eq!(data["retry_config"], json!({"type": "exponential", "duration": 10, "retry_count": 4}));
    assert_eq!(data["alert_config"], json!({"count": 3, "threshold": "10m"}));
    assert_eq!(data["rate_limit_config"], json!({"count": 10, "duration": 60}));
    assert_eq!(data["delivery_mode"], "at_least_once");

    let read = bed.get(&format!("/subscriptions/{}", made.text("/uid"))).await;
    assert_eq!((read.status, read.message()), (200, "Subscription fetched successfully"));
    assert_eq!(read.data(), data);
    assert_eq!(read.headers["etag"], made.headers["etag"]);
    assert_eq!(audited(&bed, "subscription.created").await, 1);

    let of = async |event_type: &str, total: i64, env: &str, source: Option<&str>| {
        takers_with(&bed, event_type, json!({"total": total}), &[("X-Env", env)], source).await.len()
    };
    assert_eq!(of("invoice.paid", 6, "live", Some(&source[..])).await, 1);
    assert_eq!(of("order.made", 6, "live", Some(&source[..])).await, 1);
    assert_eq!(of("invoice.late", 6, "live", Some(&source[..])).await, 0);
    assert_eq!(of("invoice.paid", 5, "live", Some(&source[..])).await, 0);
    assert_eq!(of("invoice.paid", 6, "test", Some(&source[..])).await, 0);
    assert_eq!(of("invoice.paid", 6, "live", None).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_that_is_said_takes_everything() {
    let bed = bed().await;
    let made = bed.post("/subscriptions", json!({"name": "all", "app_id": ENDPOINT})).await;
    assert_eq!(made.data()["filter_config"]["event_types"], json!(["*"]));
    for absent in
        ["source_metadata", "retry_config", "alert_config", "rate_limit_config", "function", "deleted_at"]
    {
        assert!(made.data().get(absent).is_none(), "{absent}: {made:?}");
    }
    assert_eq!(takers(&bed, "whatever", json!([])).await, [made.text("/uid")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let bed = bed().await;
    let source = source(&bed).await;
    let with = |more: Value| {
        let mut body = json!({"name": "x", "endpoint_id": ENDPOINT});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, said) in [
        (json!({"endpoint_id": ENDPOINT}), "`name`: is missing"),
        (with(json!({"name": " "})), "`name`: is missing"),
        (with(json!({"name": 7})), "`name`: invalid type"),
        (json!({"name": "x"}), "`endpoint_id`: is missing"),
        (with(json!({"endpoint_id": "x"})), "`endpoint_id`: endpoint not found"),
        (with(json!({"endpoint_id": &source})), "`endpoint_id`: endpoint not found"),
        (with(json!({"endpoint_id": FOREIGN_ENDPOINT})), "`endpoint_id`: endpoint not found"),
        (with(json!({"source_id": "x"})), "`source_id`: source not found"),
        (with(json!({"source_id": ENDPOINT})), "`source_id`: source not found"),
        (
            with(json!({"function": "function transform(x) { return x }"})),
            "`function`: functions are not part",
        ),
        (with(json!({"delivery_mode": "at_most_once"})), "`delivery_mode`: a delivery is made at least once"),
        (with(json!({"delivery_mode": "never"})), "`delivery_mode`: write `at_least_once`"),
        (
            with(json!({"filter_config": {"event_types": ["a", "*.b"]}})),
            "`filter_config.event_types[1]`: `*.b` is not an event type pattern",
        ),
        (
            with(json!({"filter_config": {"event_types": ["a".repeat(513)]}})),
            "`filter_config.event_types[0]`: write at most 512 bytes",
        ),
        (
            with(json!({"filter_config": {"filter": {"body": {"a": {"b": {"$foo": 1}}}}}})),
            "`filter_config.filter.body.a.b.$foo`: `$foo` is not an operator",
        ),
        (
            with(json!({"filter_config": {"filter": {"headers": {"a": {"$regex": "("}}}}})),
            "`filter_config.filter.headers.a.$regex`: not a regular expression",
        ),
        (
            with(json!({"filter_config": {"filter": {"body": [1]}}})),
            "`filter_config.filter.body`: expected an object",
        ),
        (
            with(json!({"filter_config": {"filter": {"query": {"a": 1}}}})),
            "`filter_config.filter.query`: events do not keep the query",
        ),
        (
            with(json!({"filter_config": {"filter": {"path": {"a": 1}}}})),
            "`filter_config.filter.path`: events do not keep the path",
        ),
        (with(json!({"retry_config": {"type": "linear"}})), "`retry_config.duration`: is missing"),
        (with(json!({"retry_config": {"interval_seconds": 5}})), "`retry_config.retry_count`: is missing"),
        (with(json!({"retry_config": {"duration": "soon", "retry_count": 2}})), "`retry_config.duration`: "),
        (
            with(json!({"retry_config": {"duration": "5s", "retry_count": 101}})),
            "`retry_config.retry_count`: ",
        ),
        (
            with(json!({"retry_config": {"type": "x", "duration": "5s", "retry_count": 2}})),
            "`retry_config.type`: write `linear`",
        ),
        (with(json!({"retry": {"type": "list", "delays": ["9d"]}})), "`retry`: "),
        (with(json!({"ordered": {"key": "address"}})), "`ordered`: "),
    ] {
        let answer = bed.post("/subscriptions", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().starts_with(said), "{body}: {answer:?}");
    }
    assert_eq!(audited(&bed, "subscription.created").await, 0);
    assert_eq!(bed.get("/subscriptions?perPage=0").await.status, 400);
    assert_eq!(
        bed.get("/subscriptions?endpointId=x").await.message(),
        "`endpointId`: is no id of an endpoint"
    );
    bed.run(&format!("UPDATE projects SET kind = 'incoming' WHERE id = '{}'", uuid(PROJECT))).await;
    let answer = bed.post("/subscriptions", with(json!({}))).await;
    assert!(answer.message().starts_with("`source_id`: is required"), "{answer:?}");
    assert_eq!(bed.post("/subscriptions", with(json!({"source_id": &source}))).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_it_says_and_nothing_else() {
    let bed = bed().await;
    let source = source(&bed).await;
    let made = made(
        &bed,
        json!({
            "retry": {"type": "list", "delays": ["5s", "5m"]},
            "ordered": {"key": "body:customer.id", "on_exhausted": "skip"},
            "filter_config": {"event_types": ["a"], "filter": {"body": {"x": 1}, "headers": {"h": "1"}}},
        }),
    )
    .await;
    let path = format!("/subscriptions/{}", made.text("/uid"));
    assert_eq!(made.data()["retry_config"], json!({"type": "exponential", "duration": 5, "retry_count": 3}));

    // What was read, sent back, changes nothing.
    let mut whole = made.data().clone();
    whole["endpoint_id"] = json!(ENDPOINT);
    let same = bed.put(&path, whole).await;
    assert_eq!((same.status, same.message()), (202, "Subscription updated successfully"));
    for field in
        ["name", "retry", "ordered", "filter_config", "retry_config", "endpoint_metadata", "created_at"]
    {
        assert_eq!(same.data()[field], made.data()[field], "{field}");
    }

    let body = json!({"name": "new", "endpoint_id": OTHER, "filter_config": {"filter": {"headers": {}}}});
    let updated = bed.put(&path, body).await;
    assert_eq!(
        (&updated.data()["name"], &updated.data()["endpoint_metadata"]["name"]),
        (&json!("new"), &json!("other"))
    );
    let filter = &updated.data()["filter_config"];
    assert_eq!(filter["event_types"], json!(["a"]));
    assert_eq!((&filter["filter"]["body"], &filter["filter"]["headers"]), (&json!({"x": 1}), &json!({})));
    assert_eq!(updated.data()["ordered"], json!({"key": "body:customer.id", "on_exhausted": "skip"}));

    let body =
        json!({"retry_config": {"type": "", "retry_count": 7}, "ordered": false, "source_id": &source});
    let updated = bed.put(&path, body).await;
    assert_eq!(updated.data()["retry"]["attempts"], 7);
    assert!(updated.data().get("ordered").is_none());
    assert_eq!(updated.data()["source_id"], source);
    assert!(bed.put(&path, json!({"retry": false})).await.data().get("retry_config").is_none());
    assert_eq!(bed.put(&path, json!({"endpoint_id": FOREIGN_ENDPOINT})).await.status, 400);

    // A source that is gone is told of by its id alone, and nothing is in the way of an update.
    bed.run("DELETE FROM sources").await;
    let updated = bed.put(&path, json!({"name": "lonely"})).await;
    assert_eq!((&updated.data()["source_id"], updated.data().get("source_metadata")), (&json!(source), None));
    assert_eq!(audited(&bed, "subscription.updated").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_what_was_changed_meanwhile_is_refused_if_it_asks_for_it() {
    let bed = bed().await;
    let made = made(&bed, json!({})).await;
    let path = format!("/subscriptions/{}", made.text("/uid"));
    let tag = made.headers["etag"].to_str().unwrap().to_owned();
    let put = async |name: &str, tag: &str| {
        bed.ask(Method::PUT, &path).body(json!({"name": name})).header("if-match", tag).send().await
    };
    let updated = put("one", &tag).await;
    assert_eq!(updated.status, 202);
    assert_ne!(updated.headers["etag"].to_str().unwrap(), tag);
    assert_eq!(put("two", &tag).await.status, 412);
    assert_eq!(bed.get(&path).await.data()["name"], "one");
    // A change of a filter is one of the subscription too.
    let tag = updated.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(bed.post(&format!("{path}/filters"), json!({"event_type": "a"})).await.status, 201);
    assert_eq!(put("three", &tag).await.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let bed = bed().await;
    let mut ids = Vec::new();
    for (name, endpoint) in [("Alpha", ENDPOINT), ("beta", OTHER), ("alphabet", OTHER)] {
        ids.push(made(&bed, json!({"name": name, "endpoint_id": endpoint})).await.text("/uid"));
    }
    let listed = async |query: &str| {
        let answer = bed.get(&format!("/subscriptions{query}")).await;
        let content = answer.data()["content"].as_array().unwrap().clone();
        let uids: Vec<String> = content.iter().map(|item| item["uid"].as_str().unwrap().to_owned()).collect();
        (uids, answer.data()["pagination"].clone())
    };
    let (all, _) = listed("").await;
    assert_eq!(all, [&ids[2][..], &ids[1], &ids[0]]);
    let (page, pagination) = listed("?perPage=2").await;
    assert_eq!((&page[..], &pagination["has_next_page"]), (&all[..2], &json!(true)));
    let cursor = pagination["next_page_cursor"].as_str().unwrap();
    assert_eq!(listed(&format!("?perPage=2&direction=next&next_page_cursor={cursor}")).await.0, all[2..]);
    assert_eq!(listed("?sort=ASC").await.0, ids);
    assert_eq!(listed("?name=ALPHA").await.0, [&ids[2][..], &ids[0]]);
    assert_eq!(listed("?name=%25").await.0, Vec::<String>::new());
    assert_eq!(listed(&format!("?endpointId={OTHER}")).await.0, all[..2]);
    assert_eq!(listed(&format!("?endpointId={OTHER}&endpointId={ENDPOINT}")).await.0, all);
    assert_eq!(listed(&format!("?endpointId={OTHER},{ENDPOINT}&name=beta")).await.0, [&ids[1][..]]);
    assert_eq!(listed("?endpointId=&name=").await.0, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_ends_matching_and_toggling_changes_nothing() {
    let bed = bed().await;
    let made = made(&bed, json!({})).await;
    let path = format!("/subscriptions/{}", made.text("/uid"));
    let toggled = bed.put(&format!("{path}/toggle_status"), json!({})).await;
    assert_eq!((toggled.status, toggled.body["data"].clone()), (202, Value::Null));
    assert_eq!(bed.get(&path).await.data(), made.data());

    let gone = bed.delete(&path).await;
    assert_eq!((gone.status, gone.message()), (200, "Subscription deleted successfully"));
    assert_eq!(audited(&bed, "subscription.deleted").await, 1);
    assert_eq!(takers(&bed, "a", json!({})).await, Vec::<String>::new());
    for answer in [
        bed.delete(&path).await,
        bed.get(&path).await,
        bed.put(&path, json!({"name": "x"})).await,
        bed.put(&format!("{path}/toggle_status"), json!({})).await,
        bed.get("/subscriptions/nonsense").await,
    ] {
        assert_eq!((answer.status, answer.message()), (404, "subscription not found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_sees_none_of_it() {
    let bed = bed().await;
    let made = made(&bed, json!({})).await;
    let path = format!("/api/v1/projects/{FOREIGN}/subscriptions/{}", made.text("/uid"));
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::PUT, path.clone()),
        (Method::GET, format!("{path}/filters")),
        (Method::PUT, format!("{path}/toggle_status")),
    ] {
        let answer = bed.ask(method, &path).key(key("foreign")).body(json!({})).send().await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let listed =
        bed.ask(Method::GET, &format!("/api/v1/projects/{FOREIGN}/subscriptions")).key(key("foreign"));
    assert_eq!(listed.send().await.data()["content"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_tried_before_it_is_written() {
    let bed = bed().await;
    let request = json!({
        "body": {"total": "10", "tags": ["a", "b"]}, "header": {"X-Env": ["live", "test"]}, "query": {"q": "1"}, "path": "/a/b",
    });
    for (schema, expected) in [
        (json!({}), true),
        (json!({"body": {"tags": "b"}}), true),
        (json!({"body": {"tags": "c"}}), false),
        (json!({"body": {"total": {"$gt": 5}}}), false),
        (json!({"header": {"x-env": "live"}}), true),
        (json!({"headers": {"x-env": "test"}}), false),
        (json!({"query": {"q": "1"}}), true),
        (json!({"query": {"q": "2"}}), false),
        (json!({"path": {"path": {"$regex": "^/a"}}}), true),
        (json!({"path": {"path": {"$regex": "^/b"}}}), false),
        (json!({"body": {"tags": "b"}, "query": {"q": "2"}}), false),
    ] {
        let answer =
            bed.post("/subscriptions/test_filter", json!({"request": request, "schema": schema})).await;
        assert_eq!(answer.data(), &json!(expected), "{schema}");
    }
    bed.run(&format!(
        "UPDATE projects SET settings = '{{\"filter_semantics\": \"compat\"}}' WHERE id = '{}'",
        uuid(PROJECT)
    ))
    .await;
    let body = json!({"request": request, "schema": {"body": {"total": {"$gt": 5}}}});
    assert_eq!(bed.post("/subscriptions/test_filter", body).await.data(), &json!(true));
    for (body, said) in [
        (json!({"request": {}}), "`schema`: is missing"),
        (json!({"schema": {}}), "`request`: is missing"),
        (json!({"request": {}, "schema": {"header": {"a": {"$x": 1}}}}), "`schema.header.a.$x`: "),
        (json!({"request": {}, "schema": {"body": 7}}), "`schema.body`: expected an object"),
        (json!({"request": {}, "schema": {"path": {"a": {"$gt": "1"}}}}), "`schema.path.a.$gt`: "),
    ] {
        let answer = bed.post("/subscriptions/test_filter", body.clone()).await;
        assert!(answer.status == 400 && answer.message().starts_with(said), "{body}: {answer:?}");
    }
    let viewer = bed.ask(Method::POST, "/subscriptions/test_filter").key(key("viewer"));
    assert_eq!(viewer.body(json!({"request": {}, "schema": {}})).send().await.status, 200);

    let answer = bed.post("/subscriptions/test_function", json!({"payload": {}, "function": "x"})).await;
    assert_eq!(answer.status, 501);
    assert!(answer.message().contains("JavaScript transformations"), "{answer:?}");
}
