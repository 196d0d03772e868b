//! Batches: cut in both formats, stored item by item, answered as a whole.

use std::time::Duration;

use longshore_source::{Message, Receipt, Refusal, Route};
use longshore_source_http::HttpIngestConfig;
use serde_json::json;

use crate::support::{BODY_LIMIT, EVENT, EVENT_TEXT, PROJECT, Server, config, nonzero, post, request, serve};

const FULL: &str = "too many events are in flight: send the request again";

async fn items(server: &mut Server, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        messages.extend(server.recv().await);
    }
    messages
}

fn bodies(messages: &[Message]) -> Vec<&[u8]> {
    messages.iter().map(|message| &message.body[..]).collect()
}

fn stored(messages: Vec<Message>) {
    for message in messages {
        message.ack.ack(Receipt { event: EVENT, duplicate: false });
    }
}

#[tokio::test]
async fn an_array_is_stored_item_by_item_and_answered_once() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events/batch", r#"[{"kind":"fanout", "data":1.0},{"data":2}]"#).await;

    let messages = items(&mut server, 2).await;
    assert_eq!(bodies(&messages), [&br#"{"kind":"fanout", "data":1.0}"#[..], br#"{"data":2}"#]);
    for message in &messages {
        assert_eq!(message.route, Some(Route { project: PROJECT, kind: "batch", inbound: None }));
    }
    let mut messages = messages.into_iter();
    messages.next().unwrap().ack.ack(Receipt { event: EVENT, duplicate: false });
    assert!(!producer.is_answered().await);
    messages.next().unwrap().ack.ack(Receipt { event: EVENT, duplicate: true });

    let reply = producer.reply().await;
    assert_eq!(reply.status, 201);
    assert_eq!(
        reply.json(),
        json!({
            "status": true,
            "message": "1 stored, 1 duplicate, 0 refused, 0 unavailable",
            "data": [
                {"index": 0, "status": 201, "uid": EVENT_TEXT, "is_duplicate_event": false},
                {"index": 1, "status": 201, "uid": EVENT_TEXT, "is_duplicate_event": true},
            ],
        })
    );
}

#[tokio::test]
async fn lines_are_a_batch_too() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for content_type in ["application/x-ndjson", "application/jsonl; charset=utf-8", "application/json"] {
        let headers = ["authorization: Bearer good", &format!("content-type: {content_type}")];
        let request =
            request("POST", "/api/v1/projects/acme/events/batch", &headers, "{\"a\":1}\r\n\n{\"b\": 2}");
        producer.send(&request).await;

        let messages = items(&mut server, 2).await;
        assert_eq!(bodies(&messages), [&br#"{"a":1}"#[..], br#"{"b": 2}"#]);
        stored(messages);
        assert_eq!(producer.reply().await.status, 201, "{content_type}");
    }
    let headers = ["authorization: Bearer good", "content-type: text/csv"];
    producer.send(&request("POST", "/api/v1/projects/acme/events/batch", &headers, "a,b")).await;
    producer.reply().await.assert_failed(
        415,
        "`content-type` must be `application/json`, `application/x-ndjson`, `application/jsonl` or `application/cloudevents-batch+json`",
    );
}

#[tokio::test]
async fn mixed_results_are_told_apart() {
    let mut server = serve(config()).await;
    let large = format!("\"{}\"", "x".repeat(BODY_LIMIT - 1));
    let mut producer = server.post("events/batch", &format!("[0,1,{large},3]")).await;

    let mut messages = items(&mut server, 3).await.into_iter();
    let (zero, one, three) = (messages.next().unwrap(), messages.next().unwrap(), messages.next().unwrap());
    assert_eq!((&zero.body[..], &one.body[..], &three.body[..]), (&b"0"[..], &b"1"[..], &b"3"[..]));
    three.ack.retry(Some(Duration::from_secs(7)));
    one.ack.refuse(Refusal { field: "data".to_owned(), problem: "is missing".to_owned() });
    zero.ack.ack(Receipt { event: EVENT, duplicate: false });

    let reply = producer.reply().await;
    assert_eq!((reply.status, reply.header("retry-after")), (207, Some("7")));
    assert_eq!(
        reply.json(),
        json!({
            "status": false,
            "message": "1 stored, 0 duplicate, 2 refused, 1 unavailable",
            "data": [
                {"index": 0, "status": 201, "uid": EVENT_TEXT, "is_duplicate_event": false},
                {"index": 1, "status": 400, "error": "`data`: is missing"},
                {"index": 2, "status": 413, "error": "the event is larger than `64` bytes"},
                {"index": 3, "status": 503, "error":
                    "the event could not be stored now: send it again with the same `idempotency_key`"},
            ],
        })
    );
}

#[tokio::test]
async fn an_item_may_be_as_large_as_the_limit() {
    let mut server = serve(config()).await;
    let whole = format!("\"{}\"", "x".repeat(BODY_LIMIT - 2));
    let mut producer = server.post("events/batch", &format!("[{whole}]")).await;

    let messages = items(&mut server, 1).await;
    assert_eq!(bodies(&messages), [whole.as_bytes()]);
    stored(messages);
    assert_eq!(producer.reply().await.status, 201);
}

#[tokio::test]
async fn a_batch_of_which_nothing_is_stored_says_whether_to_repeat_it() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events/batch", "[1,2]").await;
    for message in items(&mut server, 2).await {
        message.ack.refuse(Refusal { field: String::new(), problem: "must be an object".to_owned() });
    }
    let reply = producer.reply().await;
    assert_eq!((reply.status, reply.header("retry-after")), (400, None));
    assert_eq!(reply.json()["status"], false);
    assert_eq!(reply.json()["data"][1], json!({"index": 1, "status": 400, "error": "must be an object"}));

    producer.send(&post("events/batch", "[1,2]")).await;
    drop(items(&mut server, 2).await);
    let reply = producer.reply().await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert_eq!(reply.json()["message"], "0 stored, 0 duplicate, 0 refused, 2 unavailable");

    // Nothing is handed out at all when every item is too large.
    producer.send(&post("events/batch", &format!("[\"{}\"]", "x".repeat(BODY_LIMIT)))).await;
    let reply = producer.reply().await;
    assert_eq!((reply.status, reply.json()["data"][0]["status"].as_u64()), (400, Some(413)));
}

#[tokio::test]
async fn what_is_no_batch_is_refused_as_a_whole() {
    let mut server =
        serve(HttpIngestConfig { max_batch_items: nonzero(2), max_batch_bytes: 16, ..config() }).await;
    let mut producer = server.connect().await;
    for (body, status, message) in [
        ("", 400, "the batch holds no event"),
        ("[]", 400, "the batch holds no event"),
        (
            "null",
            400,
            "the batch is neither a JSON array of events nor one event per line: begin the body with `[` or `{`",
        ),
        ("[1,2", 400, "the batch is not valid JSON at line `1`, column `4`"),
        ("[1,2,3]", 413, "the batch holds more than `2` events: split it"),
        ("[1,            2]", 413, "the body is larger than `16` bytes"),
    ] {
        producer.send(&post("events/batch", body)).await;
        producer.reply().await.assert_failed(status, message);
    }
    producer.send(&post("events/batch", "[1,           2]")).await;
    stored(items(&mut server, 2).await);
    assert_eq!(producer.reply().await.status, 201);
}

#[tokio::test]
async fn a_batch_takes_all_its_slots_at_once_or_none() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(3), ..config() }).await;
    let mut first = server.post("events", "1").await;
    let held = server.one().await;

    let mut producer = server.post("events/batch", "[1,2,3]").await;
    producer.reply().await.assert_failed(503, FULL);
    producer.send(&post("events/batch", "[1,2]")).await;
    stored(items(&mut server, 2).await);
    assert_eq!(producer.reply().await.status, 201);

    held.ack.ack(Receipt::default());
    assert_eq!(first.reply().await.status, 201);
    producer.send(&post("events/batch", "[1,2,3]")).await;
    stored(items(&mut server, 3).await);
    assert_eq!(producer.reply().await.status, 201);
    // What could never fit is not worth repeating.
    producer.send(&post("events/batch", "[1,2,3,4]")).await;
    producer.reply().await.assert_failed(413, "the batch holds more than `3` events: split it");
}

#[tokio::test]
async fn past_the_deadline_settled_items_are_told_and_the_others_are_unknown() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events/batch", "[1,2]").await;
    let mut messages = items(&mut server, 2).await.into_iter();
    messages.next().unwrap().ack.ack(Receipt { event: EVENT, duplicate: false });

    let reply = producer.reply_after_the_deadline().await;

    assert_eq!((reply.status, reply.header("retry-after")), (207, Some("1")));
    assert_eq!(reply.json()["message"], "1 stored, 0 duplicate, 0 refused, 1 unavailable");
    let error = reply.json()["data"][1]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("may or may not be stored"), "{error}");
}

#[tokio::test]
async fn a_large_batch_is_stored_completely_and_in_order() {
    let mut server = serve(config()).await;
    // Padded so that the body is too large to be cut on the runtime.
    let body: Vec<_> = (0..1000).map(|n| format!("{n:>60}{}", " ".repeat(100))).collect();
    let mut producer = server.post("events/batch", &format!("[{}]", body.join(","))).await;

    let messages = items(&mut server, 1000).await;
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message.body, index.to_string());
    }
    stored(messages);

    let reply = producer.reply().await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json()["message"], "1000 stored, 0 duplicate, 0 refused, 0 unavailable");
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 1000);
}
