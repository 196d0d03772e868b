//! What all requests have in common: ids, limits, what is refused whatever the operation.

use std::time::Duration;

use http::Method;
use longshore_api::v1::ControlSettings;
use longshore_core::RateLimit;
use serde_json::json;

use crate::bed::{Bed, PROJECT, key};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_requests_id() {
    let bed = Bed::new().await;
    for (path, status) in [("", 200), ("/features/none", 405), ("/api/v1/openapi.json", 200)] {
        let answer = bed.get(path).await;
        assert_eq!((answer.status, answer.headers["x-request-id"].len()), (status, 26), "{path}");
    }
    let own = bed.ask(Method::GET, "").header("x-request-id", "mine").send().await;
    assert_eq!(own.headers["x-request-id"], "mine");
    let long = bed.ask(Method::GET, "").header("x-request-id", "x".repeat(129)).send().await;
    assert_eq!(long.headers["x-request-id"].len(), 26);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_too_much_is_told_when_to_come_again() {
    let rate_limit = Some(RateLimit::new(2, Duration::from_secs(3_600)).unwrap());
    let bed = Bed::with(ControlSettings { rate_limit, ..ControlSettings::default() }).await;
    let heads = |answer: &crate::bed::Answer| {
        ["limit", "remaining"]
            .map(|name| answer.headers[&format!("x-ratelimit-{name}")].to_str().unwrap().to_owned())
    };

    let (one, two, three) = (bed.get("").await, bed.get("").await, bed.get("").await);
    let other = bed.ask(Method::GET, "").key(key("viewer")).send().await;

    assert_eq!([one.status, two.status, three.status, other.status], [200, 200, 429, 200]);
    assert_eq!((heads(&one), heads(&two)), (["2", "1"].map(str::to_owned), ["2", "0"].map(str::to_owned)));
    assert_eq!(
        (heads(&three), heads(&other)),
        (["2", "0"].map(str::to_owned), ["2", "1"].map(str::to_owned))
    );
    let number = |name: &str| three.headers[name].to_str().unwrap().parse::<u64>().unwrap();
    assert!((1_700..=1_800).contains(&number("retry-after")), "{three:?}");
    assert!((3_500..=3_600).contains(&number("x-ratelimit-reset")), "{three:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_characters_are_refused_where_they_are() {
    let bed = Bed::new().await;
    let path = "/features/retention_report";

    let answer = bed.put(path, json!({"enabled": true, "note": {"texts": ["a", "b\0"]}})).await;
    assert_eq!((answer.status, answer.message()), (400, "`note.texts[1]`: must not hold NUL characters"));
    let escaped = bed.put(path, json!({"enabled": true, "note": "\\u0000"})).await;
    assert_eq!(escaped.status, 202, "a backslash and some letters are no NUL");
    let named = bed.put("/features/a%00b", json!({"enabled": true})).await;
    let asked = bed.get(&format!("/api/v1/projects/{PROJECT}?perPage=%00")).await;
    assert_eq!((named.status, asked.status), (400, 400));
    let broken = bed.ask(Method::GET, "/api/v1/projects/%ff%fe").send().await;
    assert_eq!(broken.status, 400, "{broken:?}");
}
