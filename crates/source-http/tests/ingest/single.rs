//! One event per request: what the consumer sees, and each answer the producer can get.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use longshore_source::{Headers, Position, Receipt, Refusal, Route, Source as _};
use serde_json::json;

use crate::support::{BODY_LIMIT, EVENT, EVENT_TEXT, PROJECT, config, post, request, serve, serve_with};

const PATH: &str = "/api/v1/projects/acme/events";
const KEY: &str = "authorization: Bearer good";

#[tokio::test]
async fn each_route_says_its_kind_and_answers_in_the_contracts_words() {
    let mut server = serve(config()).await;
    assert!(server.source.features().replies);
    for (path, kind, message) in [
        ("events", "single", "Event queued successfully"),
        ("events/fanout", "fanout", "Endpoint fanout event queued successfully"),
        ("events/broadcast", "broadcast", "Broadcast event created successfully"),
        ("events/dynamic", "dynamic", "Dynamic event created successfully"),
    ] {
        let mut producer = server.post(path, "{ \"any\": 1.0 }").await;

        let received = server.one().await;
        assert_eq!(received.body, "{ \"any\": 1.0 }");
        assert_eq!(received.route, Some(Route { project: PROJECT, kind, inbound: None }));
        assert_eq!((received.headers, received.position), (Headers::new(), Position::default()));
        assert_eq!((received.redelivered, received.attempt), (false, None));
        received.ack.ack(Receipt { event: EVENT, duplicate: false });

        let reply = producer.reply().await;
        assert_eq!(reply.status, 201);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.json(), json!({"status": true, "message": message, "data": {"uid": EVENT_TEXT}}));
    }
}

#[tokio::test]
async fn a_duplicate_is_still_created() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events/fanout", "{}").await;

    server.one().await.ack.ack(Receipt { event: EVENT, duplicate: true });

    let reply = producer.reply().await;
    assert_eq!(reply.status, 201);
    assert_eq!(
        reply.json(),
        json!({
            "status": true,
            "message": "Duplicate event received, but will not be sent",
            "data": {"uid": EVENT_TEXT, "is_duplicate_event": true},
        })
    );
}

#[tokio::test]
async fn nothing_is_answered_before_the_message_is_settled() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events", "{}").await;

    let message = server.one().await;

    assert!(!producer.is_answered().await);
    message.ack.ack(Receipt::default());
    let reply = producer.reply().await;
    assert_eq!(reply.json()["data"], json!(null), "a receipt without an event has no id to tell");
}

#[tokio::test]
async fn a_refusal_names_the_field() {
    let mut server = serve(config()).await;
    let refusal =
        |field: &str| Refusal { field: field.to_owned(), problem: "must not be \"empty\"".to_owned() };

    let mut producer = server.post("events", "{}").await;
    server.one().await.ack.refuse(refusal("event_type"));
    producer.reply().await.assert_failed(400, "`event_type`: must not be \"empty\"");

    producer.send(&post("events", "{}")).await;
    server.one().await.ack.refuse(refusal(""));
    producer.reply().await.assert_failed(400, "must not be \"empty\"");
}

#[tokio::test]
async fn a_retry_or_a_dropped_token_is_unavailable() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for (after, seconds) in
        [(None, "1"), (Some(Duration::from_millis(10)), "1"), (Some(Duration::from_millis(2001)), "3")]
    {
        producer.send(&post("events", "{}")).await;
        server.one().await.ack.retry(after);

        let reply = producer.reply().await;
        reply.assert_failed(
            503,
            "the event could not be stored now: send it again with the same `idempotency_key`",
        );
        assert_eq!(reply.header("retry-after"), Some(seconds));
    }

    producer.send(&post("events", "{}")).await;
    drop(server.one().await);
    assert_eq!(producer.reply().await.status, 503);
}

#[tokio::test]
async fn the_gate_decides_before_anything_else() {
    let server = serve(config()).await;
    let too_large = "x".repeat(BODY_LIMIT + 1);
    for (path, header, status, message) in [
        (PATH, "authorization: Bearer bad", 401, "authorization failed"),
        (PATH, "authorization: Basic good", 401, "authorization failed"),
        (PATH, "authorization: good", 401, "authorization failed"),
        (PATH, "no: key", 401, "authorization failed"),
        ("/api/v1/projects/other/events", KEY, 403, "this API key may not send events to this project"),
        ("/api/v1/projects/nobody/events", KEY, 404, "project not found"),
        ("/api/v1/projects/%ff/events", KEY, 404, "project not found"),
        (
            PATH,
            "authorization: Bearer down",
            503,
            "API keys cannot be checked right now: send the request again",
        ),
    ] {
        for path in [path.to_owned(), format!("{path}/batch")] {
            let mut producer = server.connect().await;
            producer.send(&request("POST", &path, &[header, "content-type: text/plain"], &too_large)).await;

            let reply = producer.reply().await;
            reply.assert_failed(status, message);
            assert_eq!(reply.header("www-authenticate"), (status == 401).then_some("bearer"));
        }
    }
}

#[tokio::test]
async fn the_scheme_of_a_key_is_case_insensitive() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;

    producer.send(&request("POST", PATH, &["authorization: bEARER  good "], "{}")).await;

    server.one().await.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_in_the_envelope() {
    let server = serve(config()).await;
    let mut client = server.connect().await;
    for path in
        ["/", "/api/v1/projects/acme", "/api/v1/projects/acme/events/", "/api/v1/projects/acme/events/x"]
    {
        client.send(&request("POST", path, &[KEY, "x-request-id: r-1"], "{}")).await;
        let reply = client.reply().await;
        reply.assert_failed(404, "there is nothing at this path");
        assert_eq!(reply.header("x-request-id"), Some("r-1"));
    }
    for method in ["GET", "PUT", "DELETE"] {
        client.send(&request(method, PATH, &[KEY], "")).await;
        let reply = client.reply().await;
        reply.assert_failed(405, "this path does not take this method");
        assert_eq!(reply.header("allow"), Some("post"));
    }
}

#[tokio::test]
async fn other_routers_may_take_other_methods_of_the_same_paths() {
    let list = Router::new().route("/api/v1/projects/{project_id}/events", get(|| async { "listed" }));
    let server = serve_with(config(), list).await;
    let mut client = server.connect().await;

    client.send(&request("GET", PATH, &[], "")).await;
    assert_eq!(client.reply().await.body, "listed");
    client.send(&request("PUT", PATH, &[KEY], "{}")).await;
    let reply = client.reply().await;
    reply.assert_failed(405, "this path does not take this method");
    assert_eq!(reply.header("allow"), Some("get,head,post"));
    server.store_all();
    client.send(&post("events", "{}")).await;
    assert_eq!(client.reply().await.status, 201);
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = serve(config()).await;
    let mut producer = server.connect().await;
    server.store_all();
    for taken in ["application/json", "Application/JSON ; charset=utf-8"] {
        producer.send(&request("POST", PATH, &[KEY, &format!("content-type: {taken}")], "{}")).await;
        assert_eq!(producer.reply().await.status, 201, "{taken}");
    }
    for refused in ["text/plain", "application/x-ndjson", "application/jsonl", "application/json2", ""] {
        producer.send(&request("POST", PATH, &[KEY, &format!("content-type: {refused}")], "{}")).await;
        producer.reply().await.assert_failed(
            415,
            "`content-type` must be `application/json` or `application/cloudevents+json`",
        );
    }

    producer.send(&request("POST", PATH, &[KEY, "content-encoding: identity"], "{}")).await;
    assert_eq!(producer.reply().await.status, 201);
    producer.send(&request("POST", PATH, &[KEY, "content-encoding: gzip"], "{}")).await;
    producer.reply().await.assert_failed(415, "`content-encoding` is not supported: send the body as it is");
}

#[tokio::test]
async fn a_project_above_its_limit_is_told_when_to_come_again_and_below_it_how_it_stands() {
    let mut server = serve(config()).await;
    let rate = |reply: &crate::support::Reply| {
        ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"]
            .map(|name| reply.header(name).map(str::to_owned))
    };
    for path in [PATH.to_owned(), format!("{PATH}/batch")] {
        let mut producer = server.connect().await;
        let json = "content-type: application/json";
        producer.send(&request("POST", &path, &["authorization: Bearer fast", json], "{}")).await;

        let reply = producer.reply().await;
        reply.assert_failed(429, "exceeded rate limit");
        assert_eq!(rate(&reply), ["100", "0", "60", "7"].map(|value| Some(value.to_owned())));
    }

    let mut producer = server.connect().await;
    producer.send(&request("POST", PATH, &["authorization: Bearer slow"], "{}")).await;
    server.one().await.ack.ack(Receipt::default());

    let reply = producer.reply().await;
    assert_eq!(reply.status, 201);
    let told = [Some("100"), Some("41"), Some("36"), None].map(|value| value.map(str::to_owned));
    assert_eq!(rate(&reply), told);
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_version_of_the_api() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    producer.send(&post("events", "{}")).await;
    server.one().await.ack.ack(Receipt { event: EVENT, duplicate: false });
    let stored = producer.reply().await;
    producer.send(&request("POST", "/api/v1/projects/acme/events", &[], "{}")).await;
    let refused = producer.reply().await;
    producer.send(&request("GET", "/nothing", &["x-request-id: mine"], "")).await;
    let unknown = producer.reply().await;

    assert_eq!((stored.status, refused.status, unknown.status), (201, 401, 404));
    for reply in [&stored, &refused, &unknown] {
        assert_eq!(reply.header("x-convoy-version"), Some("2025-11-24"));
    }
    assert_eq!(stored.header("x-request-id").map(str::len), Some(32));
    assert_ne!(stored.header("x-request-id"), refused.header("x-request-id"));
    assert_eq!(unknown.header("x-request-id"), Some("mine"));
}

#[tokio::test]
async fn an_idempotency_key_goes_with_each_event() {
    let mut server = serve(config()).await;
    let keyed = |path: &str, key: &str, body: &str| {
        let key = format!("idempotency-key: {key}");
        request("POST", &format!("/api/v1/projects/acme/{path}"), &["authorization: Bearer good", &key], body)
    };
    let mut producer = server.connect().await;

    producer.send(&keyed("events", "order-7", "{}")).await;
    let message = server.one().await;
    assert_eq!(message.position.message_id.as_deref(), Some("order-7"));
    message.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);

    producer.send(&keyed("events/batch", "b", "[{},{}]")).await;
    let mut messages = server.recv().await;
    while messages.len() < 2 {
        messages.extend(server.recv().await);
    }
    let names: Vec<_> = messages.iter().map(|message| message.position.message_id.clone().unwrap()).collect();
    assert_eq!(names, ["b/0", "b/1"]);
    messages.into_iter().for_each(|message| message.ack.ack(Receipt::default()));
    assert_eq!(producer.reply().await.status, 201);

    for wrong in ["\u{e9}", &"x".repeat(256)] {
        producer.send(&keyed("events", wrong, "{}")).await;
        let told = "`Idempotency-Key`: write at most `255` visible ASCII characters";
        producer.reply().await.assert_failed(400, told);
    }
}
