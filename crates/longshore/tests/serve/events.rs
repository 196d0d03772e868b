//! Events and deliveries under a running gateway: what is replayed or resent arrives again.

use std::time::Duration;

use longshore_testkit::gateway::Gateway;
use longshore_testkit::receiver::Receiver;
use serde_json::Value;

use crate::bed::{PATIENCE, PROJECT, ask, post, setup, subscribe};
use crate::support::{API_KEY, Database, longshore};

/// Asks within the project; gives status and body.
async fn api(gateway: &Gateway, method: &str, path: &str) -> (u16, Value) {
    let request = format!(
        "{method} /api/v1/projects/{PROJECT}/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {API_KEY}\r\ncontent-length: 0\r\n\r\n"
    );
    let (status, _, body) = ask(&gateway.url("/"), &request).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// The deliveries, once so many of them have succeeded. Another process gives no signal.
async fn succeeded(gateway: &Gateway, count: usize) -> Vec<Value> {
    let settled = tokio::time::timeout(PATIENCE, async {
        loop {
            let (status, listed) = api(gateway, "GET", "eventdeliveries?status=Success&sort=ASC").await;
            assert_eq!(status, 200, "{listed}");
            let found = listed["data"]["content"].as_array().unwrap();
            if found.len() == count {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    settled.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_or_resent_arrives_again() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    let gateway = setup(&database).start().await;
    assert_eq!(post(&gateway.url("/"), r#"{"event_type": "order.paid", "data": {"n": 1}}"#).await, 201);
    receiver.wait_for(1, PATIENCE).await;
    let first = succeeded(&gateway, 1).await.remove(0);
    let (event, delivery) = (first["event_id"].as_str().unwrap(), first["uid"].as_str().unwrap());

    // A replay makes another delivery of the same event.
    let (status, replayed) = api(&gateway, "PUT", &format!("events/{event}/replay")).await;
    assert_eq!(status, 200, "{replayed}");
    let requests = receiver.wait_for(2, PATIENCE).await;
    assert_eq!(requests[0].body, requests[1].body);
    let second = succeeded(&gateway, 2).await.remove(1);
    assert_eq!((second["event_id"].as_str(), second["uid"] != first["uid"]), (Some(event), true));

    // A resend is the same delivery again: refused without force after it was delivered.
    let (status, refused) = api(&gateway, "PUT", &format!("eventdeliveries/{delivery}/resend")).await;
    assert_eq!(status, 400, "{refused}");
    let (status, begun) = api(&gateway, "POST", "eventdeliveries/batchretry?status=Success").await;
    assert_eq!(status, 200, "{begun}");
    receiver.wait_for(4, PATIENCE).await;
    succeeded(&gateway, 2).await;
    let (_, attempts) = api(&gateway, "GET", &format!("eventdeliveries/{delivery}/deliveryattempts")).await;
    assert_eq!(attempts["data"].as_array().unwrap().len(), 2, "{attempts}");

    let (_, replayed) = api(&gateway, "POST", "events/batchreplay?event_type=order.paid").await;
    assert_eq!(replayed["message"], "1 successful, 0 failed");
    receiver.wait_for(5, PATIENCE).await;
    assert_eq!(succeeded(&gateway, 3).await.len(), 3);

    // The same by hand, and what came, as it came.
    let retry = ["deliveries", "retry", "--project", "shop", "--status", "success", "--endpoint", "receiver"];
    let counted = longshore(&database, &[&retry[..], &["--dry-run"]].concat());
    assert_eq!((counted.code, counted.stdout.trim()), (0, "3 would be tried again"), "{counted:?}");
    let retried = longshore(&database, &retry);
    assert_eq!((retried.code, retried.stdout.trim()), (0, "3 are tried again"), "{retried:?}");
    receiver.wait_for(8, PATIENCE).await;
    succeeded(&gateway, 3).await;
    let none = longshore(&database, &["deliveries", "retry", "--project", "shop", "--endpoint", "nobody"]);
    assert_eq!(none.code, 1, "{none:?}");
    assert!(none.stderr.contains("has no endpoint `nobody`"), "{none:?}");
    let tail = longshore(&database, &["events", "tail", "shop", "--since", "1h", "--count", "1", "--json"]);
    let shown: Value = serde_json::from_str(tail.stdout.trim()).unwrap();
    assert_eq!((shown["uid"].as_str(), shown["event_type"].as_str()), (Some(event), Some("order.paid")));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leads_rolls_up_figures() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    // A data plane leads nothing, and has written every outcome when it has ended.
    let mut data = setup(&database).arg("--role").arg("data").start().await;
    assert_eq!(post(&data.url("/"), r#"{"event_type": "order.paid", "data": {"n": 1}}"#).await, 201);
    receiver.wait_for(1, PATIENCE).await;
    assert!(data.sigterm(PATIENCE).await.success());
    let gateway = setup(&database).start().await;

    let rolled_up = tokio::time::timeout(PATIENCE, async {
        loop {
            let (status, stats) = api(&gateway, "GET", "stats?by=event_type").await;
            assert_eq!(status, 200, "{stats}");
            if stats.to_string().contains("order.paid") {
                return stats;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // another process gives no signal
        }
    });
    let stats = rolled_up.await.unwrap();
    assert_eq!(stats["data"]["series"][0]["total"]["deliveries"]["success"], 1, "{stats}");
}
