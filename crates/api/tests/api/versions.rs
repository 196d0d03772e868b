//! Versions by date: each is answered in its own shape. The fixtures record what clients of a version send and are
//! answered; they never change.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed};

/// Each published version with what is recorded of it.
const RECORDED: [(&str, &str); 4] = [
    ("0001-01-01", include_str!("fixtures/endpoint-0001-01-01.json")),
    ("2024-01-01", include_str!("fixtures/endpoint-2024-01-01.json")),
    ("2024-04-01", include_str!("fixtures/endpoint-2024-04-01.json")),
    ("2025-11-24", include_str!("fixtures/endpoint-2025-11-24.json")),
];

/// What of an endpoint differs from one to the next.
fn without_chance(data: &Value) -> Value {
    let mut data = data.clone();
    for name in ["uid", "created_at", "updated_at"] {
        assert!(data[name].is_string(), "{data}");
        data[name] = json!("…");
    }
    for secret in data["secrets"].as_array_mut().unwrap() {
        for name in ["uid", "created_at", "updated_at"] {
            secret[name] = json!("…");
        }
    }
    data
}

/// Asks in a version.
async fn ask(bed: &Bed, version: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let asking = bed.ask(method, path).header("x-convoy-version", version);
    match body {
        Some(body) => asking.body(body).send().await,
        None => asking.send().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_endpoints_speaks_the_version_that_is_asked_for() {
    let bed = Bed::new().await;
    for (version, recorded) in RECORDED {
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let wanted = &recorded["answer"];
        let made = ask(&bed, version, Method::POST, "/endpoints", Some(recorded["request"].clone())).await;
        assert_eq!(made.status, 201, "{version}: {made:?}");
        assert_eq!(without_chance(made.data()), *wanted, "{version}");
        let path = format!("/endpoints/{}", made.text("/uid"));
        let same = |what: &str, answer: &Answer| {
            assert_eq!(without_chance(answer.data()), *wanted, "{version}: {what}");
        };

        let read = ask(&bed, version, Method::GET, &path, None).await;
        same("read", &read);
        assert_eq!(read.headers["etag"], made.headers["etag"], "{version}");
        // What was read may be sent back.
        same("written", &ask(&bed, version, Method::PUT, &path, Some(read.data().clone())).await);
        same("activated", &ask(&bed, version, Method::POST, &format!("{path}/activate"), None).await);
        let listed = ask(&bed, version, Method::GET, "/endpoints?perPage=1", None).await;
        assert_eq!(without_chance(&listed.data()["content"][0]), *wanted, "{version}: listed");
        assert_eq!(listed.data()["pagination"]["per_page"], 1);

        let mut paused = ask(&bed, version, Method::PUT, &format!("{path}/pause"), Some(json!({}))).await;
        assert_eq!(paused.data()["status"], "paused");
        paused.body["data"]["status"] = wanted["status"].clone();
        same("paused", &paused);
        let roll = json!({"secret": "another-secret-of-it", "expiration": 1});
        let mut rolled = ask(&bed, version, Method::PUT, &format!("{path}/expire_secret"), Some(roll)).await;
        assert_eq!(rolled.data()["secrets"].as_array().unwrap().len(), 2);
        rolled.body["data"]["secrets"] = wanted["secrets"].clone();
        rolled.body["data"]["status"] = wanted["status"].clone();
        let mut shown = rolled.data().clone();
        for name in ["uid", "created_at", "updated_at"] {
            shown[name] = json!("…");
        }
        assert_eq!(shown, *wanted, "{version}: rolled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_clients_write_spans_of_time_and_sign_without_one() {
    let bed = Bed::new().await;
    let oldest = "0001-01-01";
    let plain = json!({"name": "a", "url": "https://a.example"});
    let made = ask(&bed, oldest, Method::POST, "/endpoints", Some(plain.clone())).await;
    assert_eq!(made.data()["advanced_signatures"], false);
    assert_eq!(made.data()["rate_limit_duration"], "0s");
    let next = ask(&bed, "2024-01-01", Method::POST, "/endpoints", Some(plain)).await;
    assert_eq!(next.data()["advanced_signatures"], true);
    let path = format!("/endpoints/{}", made.text("/uid"));

    for (sent, shown) in [
        (json!("1m30s"), json!("1m30s")),
        (json!("500ms"), json!("1s")),
        (json!(15), json!("15s")),
        (json!(""), json!("15s")),
    ] {
        let changed = ask(&bed, oldest, Method::PUT, &path, Some(json!({"http_timeout": sent}))).await;
        assert_eq!(changed.data()["http_timeout"], shown, "{sent}");
    }
    // A change leaves what its receiver verifies alone.
    for advanced in [true, false] {
        let set = json!({"advanced_signatures": advanced});
        assert_eq!(ask(&bed, oldest, Method::PUT, &path, Some(set)).await.status, 202);
        let other = ask(&bed, oldest, Method::PUT, &path, Some(json!({"description": "d"}))).await;
        assert_eq!(other.data()["advanced_signatures"], advanced);
    }
    for (field, sent) in [("http_timeout", json!("soon")), ("rate_limit_duration", json!("1 minute"))] {
        let refused = ask(&bed, oldest, Method::PUT, &path, Some(json!({field: sent}))).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.message().starts_with(&format!("`{field}`: ")), "{refused:?}");
    }
    // The others know numbers.
    let refused = ask(&bed, "2024-01-01", Method::PUT, &path, Some(json!({"http_timeout": "10s"}))).await;
    assert_eq!((refused.status, refused.message().starts_with("`http_timeout`: ")), (400, true));
    let broken = ask(&bed, oldest, Method::PUT, &path, Some(json!(["no", "object"]))).await;
    assert_eq!(broken.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_the_requests_then_the_projects() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", json!({"name": "a", "url": "https://a.example"})).await;
    let path = format!("/endpoints/{}", made.text("/uid"));
    bed.run("UPDATE projects SET api_version = '2024-01-01'").await;
    // A header that ends like this is all that tells the bed not to hold the answer against the newest shapes.
    let pinned = bed.ask(Method::GET, &path).header("x-no-version", "").send().await;
    assert_eq!((&pinned.data()["title"], &pinned.data()["name"]), (&json!("a"), &Value::Null));
    assert_eq!(pinned.headers["x-convoy-version"], "2025-11-24");
    for header in ["x-convoy-version", "longshore-version"] {
        let named = bed.ask(Method::GET, &path).header(header, "2025-11-24").send().await;
        assert_eq!(named.data()["name"], "a", "{header}");
        let unknown = bed.ask(Method::GET, &path).header(header, "2024-02-30").send().await;
        let message =
            format!("`{header}`: no such version; there are 0001-01-01, 2024-01-01, 2024-04-01, 2025-11-24");
        assert_eq!((unknown.status, unknown.message()), (400, &*message));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_answered_in_the_shape_of_the_first() {
    let bed = Bed::new().await;
    let asked = || {
        let body = json!({"name": "a", "url": "https://a.example", "http_timeout": "20s"});
        bed.ask(Method::POST, "/endpoints").header("idempotency-key", "k").body(body)
    };
    let first = asked().header("x-convoy-version", "0001-01-01").send().await;
    let again = asked().header("x-convoy-version", "0001-01-01").send().await;
    assert_eq!((first.status, &first.data()["http_timeout"]), (201, &json!("20s")));
    assert_eq!((again.headers["idempotent-replayed"].to_str().unwrap(), &again.body), ("true", &first.body));
    assert_eq!(bed.run("SELECT 1 FROM endpoints").await, 1);
}
