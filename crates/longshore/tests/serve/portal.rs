//! Customers of a project: their endpoints made in bulk under a running gateway, and the tokens of their portal links.

use std::time::Duration;

use longshore_testkit::gateway::Gateway;
use longshore_testkit::receiver::Receiver;
use serde_json::{Value, json};

use crate::bed::{PATIENCE, PROJECT, ask, post, setup, subscribe};
use crate::support::{API_KEY, Database, longshore};

const EVENT: &str = r#"{"event_type": "order.paid", "data": 1}"#;

async fn send(gateway: &Gateway, key: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, _, answer) = ask(&gateway.url("/"), &request).await;
    (status, serde_json::from_str(&answer).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn onboarded_endpoints_get_their_events_and_a_portal_token_sends_none() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let (known, new) = (Receiver::start().await, Receiver::start().await);
    subscribe(&database, &known.url("/hook"));
    let gateway = setup(&database).start().await;
    let onboard = format!("/api/v1/projects/{PROJECT}/onboard");

    // What webhooks never reach is told before anything is made.
    let items = json!({"items": [
        {"name": "metadata", "url": "http://169.254.169.254/latest"},
        {"name": "odd", "url": "https://0x7f.1/"},
        {"name": "new", "url": new.url("/hook"), "event_type": "order.*", "auth_username": "us",
            "auth_password": "word"},
    ]});
    let dry = format!("{onboard}?dry_run=true");
    let (status, checked) = send(&gateway, API_KEY, "POST", &dry, &items.to_string()).await;
    assert_eq!((status, &checked["data"]["valid_count"]), (200, &json!(1)), "{checked}");
    let rows: Vec<&Value> =
        checked["data"]["errors"].as_array().unwrap().iter().map(|error| &error["row"]).collect();
    assert_eq!(rows, [1, 2]);

    let right = json!({"items": [items["items"][2]]});
    assert_eq!(send(&gateway, API_KEY, "POST", &onboard, &right.to_string()).await.0, 202);
    // Followed within a second: until then events go to the known one alone.
    while new.count() == 0 {
        assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
        tokio::time::sleep(Duration::from_millis(50)).await; // the pace of the traffic
    }
    let request = new.wait_for(1, PATIENCE).await.remove(0);
    assert_eq!(request.headers()["authorization"], "Basic dXM6d29yZA==");
    assert!(request.headers().contains_key("webhook-signature"));

    let links = format!("/api/v1/projects/{PROJECT}/portal-links");
    let body = json!({"name": "Acme", "owner_id": "acme", "can_manage_endpoint": true}).to_string();
    let (status, link) = send(&gateway, API_KEY, "POST", &links, &body).await;
    let token = link["data"]["token"].as_str().unwrap();
    assert_eq!(status, 201);
    assert_eq!(send(&gateway, token, "GET", "/api/v1/portal", "").await.0, 200);
    for path in ["events", "events/fanout", "events/broadcast", "events/dynamic", "events/batch"] {
        let (status, _) =
            send(&gateway, token, "POST", &format!("/api/v1/projects/{PROJECT}/{path}"), EVENT).await;
        assert_eq!(status, 401, "{path}");
    }
}
