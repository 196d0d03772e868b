//! The attempts of a delivery.

use http::Method;
use serde_json::json;

use crate::bed::{Bed, FOREIGN, PROJECT, key};
use crate::rows::{ENDPOINT, NOWHERE, delivery, event, id, resources, uuid};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_ten_attempts_are_shown_oldest_first() {
    let bed = Bed::new().await;
    resources(&bed).await;
    let (of, own) = (id(60, 2), id(50, 2));
    event(&bed, PROJECT, &of, &[]).await;
    delivery(&bed, PROJECT, &own, &of, ENDPOINT, "Retry").await;
    let mut made = Vec::new();
    for number in 1..=12_u64 {
        let attempt = id(40 - number, 2);
        let (outcome, status) = if number == 12 { ("success", "200") } else { ("timeout", "NULL") };
        bed.run(&format!(
            "INSERT INTO attempts (project_id, delivery_id, id, endpoint_id, number, started_at, duration_us, outcome,
                 http_status, error, url, request_headers, response_headers, response_body, next_state, next_attempt_at,
                 remote_address)
             VALUES ('{}', '{}', '{}', '{}', {number}, '2026-01-31T08:15:00Z', 1500000, '{outcome}', {status},
                 CASE WHEN {number} = 12 THEN '' ELSE 'it took too long' END, 'https://first.test/', '[[\"a\",\"1\"]]',
                 '[[\"set-cookie\",\"b\"],[\"set-cookie\",\"c\"]]', '\\x6f6bff', 'Retry',
                 CASE WHEN {number} = 11 THEN 'infinity'::timestamptz END,
                 CASE WHEN {number} = 12 THEN '203.0.113.9' END)",
            uuid(PROJECT),
            uuid(&own),
            uuid(&attempt),
            uuid(ENDPOINT)
        ))
        .await;
        made.push(attempt);
    }

    let path = format!("/eventdeliveries/{own}/deliveryattempts");
    let listed = bed.get(&path).await;
    let shown: Vec<&str> =
        listed.data().as_array().unwrap().iter().map(|item| item["uid"].as_str().unwrap()).collect();
    assert_eq!(shown, made[2..]);
    let last = bed.get(&format!("{path}/{}", made[11])).await;
    let data = last.data();
    assert_eq!(
        (&data["msg_id"], &data["http_status"], &data["status"]),
        (&json!(own), &json!("200 OK"), &json!(true))
    );
    assert_eq!((&data["method"], &data["number"]), (&json!("POST"), &json!(12)));
    assert_eq!(data["request_http_header"], json!({"a": "1"}));
    assert_eq!(data["response_http_header"], json!({"set-cookie": "b, c"}));
    assert_eq!(data["response_data"], "ok\u{fffd}");
    assert_eq!((&data["ip_address"], &data["api_version"]), (&json!("203.0.113.9"), &json!("2025-11-24")));
    assert_eq!(data["requested_at"], "2026-01-31T08:15:00Z");
    assert_eq!(data["responded_at"], "2026-01-31T08:15:01.5Z");
    assert!(data.get("error").is_none());
    let first = bed.get(&format!("{path}/{}", made[0])).await;
    assert_eq!(
        (&first.data()["error"], &first.data()["status"]),
        (&json!("it took too long"), &json!(false))
    );
    assert!(first.data().get("http_status").is_none());
    assert!(first.data().get("ip_address").is_none());

    for (path, what) in [
        (format!("{path}/{NOWHERE}"), "delivery attempt"),
        (format!("{path}/x"), "delivery attempt"),
        (format!("/eventdeliveries/{NOWHERE}/deliveryattempts"), "event delivery"),
        (format!("/eventdeliveries/{NOWHERE}/deliveryattempts/{}", made[0]), "event delivery"),
    ] {
        let answer = bed.get(&path).await;
        assert_eq!((answer.status, answer.message()), (404, &format!("{what} not found")[..]), "{path}");
    }
    let foreign = format!("/api/v1/projects/{FOREIGN}{path}");
    assert_eq!(bed.ask(Method::GET, &foreign).key(key("foreign")).send().await.status, 404);
}
