//! CloudEvents: which requests are some, and what goes with them to the consumer.

use longshore_source::{Headers, Receipt, Refusal, Route};
use longshore_source_http::HttpIngestConfig;
use serde_json::json;

use crate::support::{
    BODY_LIMIT, Connection, EVENT, PROJECT, Server, config, connect, nonzero, request, serve,
};

const KEY: &str = "authorization: Bearer good";
const BINARY: [&str; 4] = ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"];
const SINGLES: [&str; 3] = ["events", "events/fanout", "events/broadcast"];

async fn send(producer: &mut Connection, path: &str, headers: &[&str], body: &str) {
    let headers = [&[KEY], headers].concat();
    producer.send(&request("POST", &format!("/api/v1/projects/acme/{path}"), &headers, body)).await;
}

/// Stores the next message, and says which headers it had.
async fn stored(server: &mut Server, producer: &mut Connection, body: &str) -> Headers {
    let message = tokio::select! {
        message = server.one() => message,
        reply = producer.reply() => panic!("{reply:?}"),
    };
    assert_eq!(message.body, body.to_owned());
    message.ack.ack(Receipt { event: EVENT, duplicate: false });
    assert_eq!(producer.reply().await.status, 201);
    message.headers
}

fn pairs(headers: &[&str]) -> Headers {
    let pair = |header: &&str| header.split_once(": ").map(|(name, value)| (name.into(), value.into()));
    headers.iter().filter_map(pair).collect()
}

#[tokio::test]
async fn a_structured_event_goes_with_its_content_type_on_every_route() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for path in SINGLES {
        for content_type in [
            "application/cloudevents+json",
            "application/cloudevents",
            "Application/CloudEvents+JSON ; charset=UTF-8; a=b",
        ] {
            let content_type = format!("content-type: {content_type}");
            let trace = ["traceparent: 00-1", "tracestate: a=b"];
            let said = [&content_type, "x-a: 1", "cookie: c", "ce-id: other", trace[0], trace[1]];
            send(&mut producer, path, &said, "{ }").await;

            let headers = stored(&mut server, &mut producer, "{ }").await;
            assert_eq!(headers, pairs(&[&content_type, trace[0], trace[1]]), "{path}");
        }
    }
}

#[tokio::test]
async fn a_binary_event_goes_with_its_attributes_whatever_its_body_is() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for (path, content_type, body) in [
        ("events", Some("content-type: application/json"), "{}"),
        ("events/fanout", Some("content-type: text/plain; a=b"), "plain"),
        ("events/broadcast", None, ""),
        ("events", Some("content-type: application/x-ndjson"), "1\n2"),
    ] {
        let more = ["ce-subject: \"a%20b%C3%A9\"", "traceparent: 00-1"];
        let said = [&BINARY[..], content_type.as_slice(), &more].concat();
        send(&mut producer, path, &[&said[..], &["x-a: 1", "ce-: 1", "cex: 1", "ce_id: 2"]].concat(), body)
            .await;

        // Neither the key nor any other header, and values as they were sent: the pipeline decodes them.
        assert_eq!(stored(&mut server, &mut producer, body).await, pairs(&said), "{path}");
    }
    // Names in any case.
    send(&mut producer, "events", &["CE-SpecVersion: 1.0"], "").await;
    assert_eq!(stored(&mut server, &mut producer, "").await, pairs(&BINARY[..1]));
}

#[tokio::test]
async fn a_request_that_is_no_cloud_event_takes_no_header_with_it() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    for content_type in ["content-type: application/json", "x-b: 2"] {
        let said = [content_type, "traceparent: 00-1", "ce-id: 1", "ce-type: t", "x-a: 1"];
        send(&mut producer, "events", &said, "{}").await;

        let headers = stored(&mut server, &mut producer, "{}").await;
        assert_eq!((&headers, headers.capacity()), (&Headers::new(), 0));
    }
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_a_sentence() {
    let server = serve(config()).await;
    let mut producer = server.connect().await;
    server.store_all();
    let batch = "a batch of CloudEvents goes to `/api/v1/projects/{project_id}/events/batch`";
    let single = "a single CloudEvent goes to `/api/v1/projects/{project_id}/events`, `…/fanout` or \
                  `…/broadcast`; here they are taken as `application/cloudevents-batch+json`";
    let format = "CloudEvents are taken as `application/cloudevents+json`, or as any other type with the \
                  attributes in `ce-` headers";
    let mut rows = Vec::new();
    for path in SINGLES {
        rows.extend([
            (path, "content-type: application/cloudevents-batch+json", batch),
            (path, "content-type: Application/CloudEvents-Batch; a=b", batch),
        ]);
    }
    for path in ["events", "events/batch"] {
        rows.extend([
            (path, "content-type: application/cloudevents+avro", format),
            (path, "content-type: application/cloudevents+protobuf; a=b", format),
            (path, "content-type: application/cloudevents-batch+avro", format),
        ]);
    }
    rows.extend([
        ("events/batch", "content-type: application/cloudevents+json", single),
        ("events/batch", "ce-specversion: 1.0", single),
    ]);
    for (path, header, sentence) in rows {
        send(&mut producer, path, &[header], "[]").await;
        producer.reply().await.assert_failed(415, sentence);
    }
}

#[tokio::test]
async fn a_header_that_is_not_text_is_refused_by_the_attributes_name() {
    let server = serve(config()).await;
    let address = server.address;
    server.store_all();
    let whole = |name: &str| {
        let head = format!(
            "POST /api/v1/projects/acme/events HTTP/1.1\r\nhost: test\r\n{KEY}\r\nce-specversion: 1.0\r\n"
        );
        [head.as_bytes(), name.as_bytes(), b": s3cret\xff\r\ncontent-length: 0\r\n\r\n"].concat()
    };
    for (name, attribute) in [
        ("ce-subject", "subject"),
        ("CE-Id", "id"),
        ("traceparent", "traceparent"),
        ("tracestate", "tracestate"),
    ] {
        let mut producer = connect(address).await;
        producer.send_bytes(&whole(name)).await;
        let sentence = format!("`{attribute}`: is not UTF-8: percent-encode it");
        producer.reply().await.assert_failed(400, &sentence);
    }
}

#[tokio::test]
async fn a_refusal_names_the_attribute() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    send(&mut producer, "events", &BINARY[..3], "").await;

    let problem = "is required in a CloudEvent: a text that is not empty".to_owned();
    server.one().await.ack.refuse(Refusal { field: "type".to_owned(), problem });

    producer
        .reply()
        .await
        .assert_failed(400, "`type`: is required in a CloudEvent: a text that is not empty");
}

#[tokio::test]
async fn the_limits_hold_for_cloud_events() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    let (whole, more) = ("x".repeat(BODY_LIMIT), "x".repeat(BODY_LIMIT + 1));
    for headers in [&BINARY[..], &["content-type: application/cloudevents+json"]] {
        send(&mut producer, "events", headers, &whole).await;
        stored(&mut server, &mut producer, &whole).await;
        let mut producer = server.connect().await;
        send(&mut producer, "events", headers, &more).await;
        producer.reply().await.assert_failed(413, "the body is larger than `64` bytes");
    }
}

#[tokio::test]
async fn attributes_take_room_like_a_body_does() {
    let mut server = serve(HttpIngestConfig { max_in_flight_bytes: nonzero(1000), ..config() }).await;
    let long = format!("ce-subject: {}", "x".repeat(500));
    let headers = [&BINARY[..], &[&long]].concat();
    let mut first = server.connect().await;
    send(&mut first, "events", &headers, "1").await;
    let held = server.one().await;

    let mut second = server.connect().await;
    send(&mut second, "events", &headers, "1").await;
    second.reply().await.assert_failed(503, "too many events are in flight: send the request again");
    held.ack.ack(Receipt::default());
    assert_eq!(first.reply().await.status, 201);
    send(&mut second, "events", &headers, "1").await;
    stored(&mut server, &mut second, "1").await;
}

#[tokio::test]
async fn a_batch_is_an_array_of_structured_events() {
    let mut server = serve(HttpIngestConfig { max_batch_items: nonzero(2), ..config() }).await;
    let mut producer = server.connect().await;
    for content_type in
        ["application/cloudevents-batch+json", "Application/CloudEvents-Batch+JSON;charset=utf-8"]
    {
        let content_type = format!("content-type: {content_type}");
        let said = [&content_type, "traceparent: 00-1", "ce-id: 1"];
        send(&mut producer, "events/batch", &said, r#"[{"id":"1"}, {"id": 2}]"#).await;

        let mut messages = server.recv().await;
        while messages.len() < 2 {
            messages.extend(server.recv().await);
        }
        let bodies: Vec<_> = messages.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&br#"{"id":"1"}"#[..], br#"{"id": 2}"#]);
        for message in &messages {
            assert_eq!(message.route, Some(Route { project: PROJECT, kind: "batch", inbound: None }));
            assert_eq!(message.headers, pairs(&["content-type: application/cloudevents+json"]));
        }
        let mut messages = messages.into_iter();
        messages.next().unwrap().ack.ack(Receipt { event: EVENT, duplicate: false });
        let problem = "must be a text in a CloudEvent".to_owned();
        messages.next().unwrap().ack.refuse(Refusal { field: "id".to_owned(), problem });
        let reply = producer.reply().await;
        assert_eq!(reply.status, 207);
        let fault = json!({"index": 1, "status": 400, "error": "`id`: must be a text in a CloudEvent"});
        assert_eq!(reply.json()["data"][1], fault);
    }
    for (body, status, sentence) in [
        ("[1,2,3]", 413, "the batch holds more than `2` events: split it"),
        ("[]", 400, "the batch holds no event"),
        ("{}\n{}", 400, "a batch of CloudEvents must be a JSON array: begin the body with `[`"),
        ("x", 400, "a batch of CloudEvents must be a JSON array: begin the body with `[`"),
    ] {
        send(&mut producer, "events/batch", &["content-type: application/cloudevents-batch+json"], body)
            .await;
        producer.reply().await.assert_failed(status, sentence);
    }
}
