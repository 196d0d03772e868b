//! The audit log: every change has its line, with who and what, and nothing secret.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, ORGANISATION, PROJECT, key};

fn actions(page: &Value) -> Vec<&str> {
    page["content"].as_array().unwrap().iter().map(|line| line["action"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_logged_with_who_and_without_secrets() {
    let bed = Bed::new().await;
    let config =
        json!({"meta_event": {"is_enabled": true, "url": "https://m.example/", "secret": "hush-hush-hush"}});
    let put = bed.ask(Method::PUT, "").key(key("my-admin")).body(json!({"config": config}));
    assert_eq!(put.header("x-request-id", "asked-1").send().await.status, 202);
    let made = bed.post("/api-keys", json!({"name": "ci"})).await;
    bed.delete(&format!("/api-keys/{}", made.text("/uid"))).await;

    let log = bed.get("/audit-log").await;
    assert_eq!(actions(log.data()), ["api_key.revoked", "api_key.created", "project.updated"]);
    let line = &log.data()["content"][2];
    assert_eq!(line["actor"]["type"], "personal_key");
    assert_eq!(
        (&line["actor"]["name"], &line["request_id"]),
        (&json!("my-admin@acme.test"), &json!("asked-1"))
    );
    assert_eq!((&line["resource_id"], &line["project_id"]), (&json!(PROJECT), &json!(PROJECT)));
    let secret = made.text("/key");
    for hidden in ["hush-hush-hush", secret.rsplit('.').next().unwrap()] {
        assert!(!log.body.to_string().contains(hidden), "{hidden}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_paged_filtered_and_of_the_organisation_alone() {
    let bed = Bed::new().await;
    for name in ["a", "b", "c"] {
        bed.post("/api-keys", json!({"name": name})).await;
    }
    let members = format!("/api/v1/organisations/{ORGANISATION}/members");
    let body = json!({"email": "new@acme.test", "role": "viewer"});
    assert_eq!(bed.ask(Method::POST, &members).key(key("my-owner")).body(body).send().await.status, 201);

    let first = bed.get("/audit-log?perPage=2").await;
    let cursor = first.text("/pagination/next_page_cursor");
    let second = bed.get(&format!("/audit-log?perPage=2&next_page_cursor={cursor}")).await;
    assert_eq!((actions(first.data()).len(), actions(second.data()).len()), (2, 1));
    let cursor = second.text("/pagination/prev_page_cursor");
    let back = bed.get(&format!("/audit-log?perPage=2&direction=prev&prev_page_cursor={cursor}")).await;
    assert_eq!(back.data()["content"], first.data()["content"]);
    let oldest = bed.get("/audit-log?sort=ASC&perPage=1").await;
    assert_eq!(oldest.text("/content/0/detail/name"), "a");

    let whole = format!("/api/v1/organisations/{ORGANISATION}/audit-log");
    let of = async |query: &str| {
        let answer = bed.ask(Method::GET, &format!("{whole}{query}")).key(key("my-admin")).send().await;
        actions(answer.data()).len()
    };
    assert_eq!(of("").await, 4);
    assert_eq!(of("?action=member.added").await, 1);
    assert_eq!(of("?actor=admin").await, 3);
    assert_eq!(of("?actor=my-owner@acme.test").await, 1);
    let id = first.text("/content/0/actor/id");
    assert_eq!(of(&format!("?actor={id}")).await, 3);
    let resource = first.text("/content/0/resource_id");
    assert_eq!(of(&format!("?resource={resource}")).await, 1);
    assert_eq!(of("?startDate=2020-01-01T00:00:00").await, 4);
    assert_eq!(of("?endDate=2020-01-01T00:00:00").await, 0);
    let wrong = bed.get("/audit-log?startDate=yesterday").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.message().starts_with("`startDate`"));
    let path = "/api/v1/organisations/01JD00000000000000000000R0/audit-log";
    let theirs = bed.ask(Method::GET, path).key(key("my-foreign")).send().await;
    assert!(actions(theirs.data()).is_empty());
}
