//! Webhooks of others: who is let in, what the consumer sees, and what they are answered.

use longshore_source::{Receipt, Refusal, Route};
use serde_json::json;

use crate::support::{BODY_LIMIT, EVENT, PROJECT, config, request, serve};

const KEY: &str = "x-key: good";

fn hook(query: &str, headers: &[&str], body: &str) -> String {
    request("POST", &format!("/ingest/open{query}"), headers, body)
}

#[tokio::test]
async fn a_webhook_is_handed_over_as_it_was_read_and_answered_with_its_length() {
    let mut server = serve(config()).await;
    for (duplicate, message) in
        [(false, "Event received"), (true, "Duplicate event received, but will not be sent")]
    {
        let mut sender = server.connect().await;
        sender.send(&hook("?a=1", &[KEY, "content-type: text/xml", "X-Shop: s"], "<a/>")).await;

        let received = server.one().await;
        assert_eq!(received.body, "<a/>");
        let Some(Route { project: PROJECT, kind: "incoming", inbound: Some(inbound) }) = received.route
        else {
            panic!("{:?}", received.route)
        };
        assert_eq!((inbound.source, inbound.event_type.as_str()), (7, "a=1"));
        assert!(received.headers.contains(&("x-shop".to_owned(), "s".to_owned())));
        received.ack.ack(Receipt { event: EVENT, duplicate });

        let reply = sender.reply().await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json(), json!({"status": true, "message": message, "data": 4}));
    }
}

#[tokio::test]
async fn what_is_not_let_in_is_told_why() {
    let server = serve(config()).await;
    let mut sender = server.connect().await;
    let long = "x".repeat(BODY_LIMIT + 1);
    for (asked, status, message) in [
        (hook("", &[], "{}"), 400, "not verified".to_owned()),
        (hook("", &[KEY], &long), 413, format!("the body is larger than `{BODY_LIMIT}` bytes")),
        (request("POST", "/ingest/closed", &[KEY], "{}"), 403, "this source is switched off".to_owned()),
        (request("POST", "/ingest/nothing", &[KEY], "{}"), 404, "source not found".to_owned()),
        (request("PUT", "/ingest/open", &[KEY], "{}"), 405, "this path does not take this method".to_owned()),
        (request("GET", "/ingest/open", &[], ""), 400, "this source answers no challenges".to_owned()),
    ] {
        let mut sender_of_one = server.connect().await;
        sender_of_one.send(&asked).await;
        sender_of_one.reply().await.assert_failed(status, &message);
    }
    sender.send(&request("GET", "/ingest/open?crc_token={}", &[], "")).await;
    let reply = sender.reply().await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "{}"));
}

#[tokio::test]
async fn nothing_is_confirmed_before_it_is_stored() {
    let mut server = serve(config()).await;
    let mut sender = server.connect().await;
    sender.send(&hook("", &[KEY], "1")).await;
    let message = server.one().await;
    assert!(!sender.is_answered().await);
    message.ack.retry(None);
    assert_eq!(sender.reply().await.status, 503);

    sender.send(&hook("", &[KEY], "1")).await;
    let refusal = Refusal { field: "event_type".to_owned(), problem: "is wrong".to_owned() };
    server.one().await.ack.refuse(refusal);
    sender.reply().await.assert_failed(400, "`event_type`: is wrong");
}
