//! Keys: made, used, shown once, revoked; and nobody makes one that may do more than himself.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, ORGANISATION, PROJECT, key};

const KEYS: &str = "/api-keys";
const MINE: &str = "/api/v1/me/api-keys";

async fn make(bed: &Bed, who: &str, path: &str, body: Value) -> Answer {
    bed.ask(Method::POST, path).key(key(who)).body(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_as_what_it_is_and_is_shown_once() {
    let bed = Bed::new().await;
    let body = json!({"name": "ci", "role": "viewer", "scopes": ["projects:read"], "expires_at": "2099-01-01T00:00:00Z"});
    let made = make(&bed, "admin", KEYS, body).await;

    assert_eq!((made.status, made.text("/role")), (201, "viewer".to_owned()));
    let text = made.text("/key");
    let parts: Vec<usize> = text.split('.').map(str::len).collect();
    assert!(text.starts_with("CO.") && parts == [2, 16, 64], "{text}");
    assert_eq!(bed.ask(Method::GET, "").key(text.clone()).send().await.status, 200);
    assert_eq!(bed.ask(Method::PUT, "").key(text.clone()).body(json!({})).send().await.status, 403);
    let listed = bed.get(KEYS).await;
    let found = listed.data().as_array().unwrap().iter().find(|key| key["name"] == "ci").unwrap().clone();
    assert_eq!(found["scopes"], json!(["projects:read"]));
    assert_eq!(found["masked_key"], format!("CO.{}.…", text.split('.').nth(1).unwrap()));
    assert!(!listed.body.to_string().contains(text.rsplit('.').next().unwrap()));

    let revoked = bed.delete(&format!("{KEYS}/{}", made.text("/uid"))).await;
    assert_eq!((revoked.status, &revoked.body["data"]), (200, &Value::Null));
    assert_eq!(bed.ask(Method::GET, "").key(text).send().await.status, 401);
    assert_eq!(bed.delete(&format!("{KEYS}/{}", made.text("/uid"))).await.status, 404);
    assert_eq!(bed.delete(&format!("{KEYS}/nonsense")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_key_that_may_do_more_than_himself() {
    let bed = Bed::new().await;
    bed.project_key(PROJECT, "narrow", "admin", &["api_keys:write", "endpoints:read"]).await;
    bed.project_key(PROJECT, "brief", "admin", &[]).await;
    bed.run("UPDATE api_keys SET expires_at = '2098-01-01' WHERE name = 'brief'").await;
    for (who, body, field) in [
        ("admin", json!({"name": "k", "role": "owner"}), "`role`"),
        ("my-admin", json!({"name": "k", "role": "owner"}), "`role`"),
        ("narrow", json!({"name": "k", "scopes": ["endpoints:write"]}), "`scopes`"),
        ("narrow", json!({"name": "k", "scopes": ["endpoints:read", "events:read"]}), "`scopes`"),
        ("brief", json!({"name": "k", "expires_at": "2099-01-01T00:00:00Z"}), "`expires_at`"),
    ] {
        let refused = make(&bed, who, KEYS, body.clone()).await;
        assert_eq!(refused.status, 403, "{who} {body}");
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    // What is not asked for is the maker's own.
    let narrow = make(&bed, "narrow", KEYS, json!({"name": "k"})).await;
    assert_eq!(narrow.data()["scopes"], json!(["api_keys:write", "endpoints:read"]));
    let brief = make(&bed, "brief", KEYS, json!({"name": "k"})).await;
    assert_eq!(brief.text("/expires_at"), "2098-01-01T00:00:00Z");
    // A new project's first key is no way around either.
    bed.run("UPDATE personal_keys SET scopes = '{projects:write}' WHERE name = 'my-admin'").await;
    let path = format!("/api/v1/projects?orgID={ORGANISATION}");
    let project = make(&bed, "my-admin", &path, json!({"name": "new", "type": "outgoing"})).await;
    let (first, id) = (project.text("/api_key/key"), project.text("/project/uid"));
    let keys = bed.ask(Method::GET, &format!("/api/v1/projects/{id}/api-keys")).key(first).send().await;
    assert_eq!(keys.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_keys_open_what_their_person_may_and_no_more_than_they_say() {
    let bed = Bed::new().await;
    let me = bed.ask(Method::GET, "/api/v1/me").key(key("my-owner")).send().await;
    assert_eq!(
        (me.text("/email"), me.text("/organisations/0/role")),
        ("my-owner@acme.test".into(), "owner".into())
    );

    let made = make(&bed, "my-owner", MINE, json!({"name": "look", "role": "viewer"})).await;
    let text = made.text("/key");
    let ask = |method: Method, path: &str| bed.ask(method, path).key(text.clone()).body(json!({"name": "x"}));
    assert_eq!(ask(Method::GET, "").send().await.status, 200);
    assert_eq!(ask(Method::PUT, "").send().await.status, 403);
    assert_eq!(ask(Method::POST, MINE).send().await.status, 403, "a viewer's key makes no keys");

    let admin = make(&bed, "my-owner", MINE, json!({"name": "half", "role": "admin"})).await.text("/key");
    let more = bed.ask(Method::POST, MINE).key(admin.clone()).body(json!({"name": "k", "role": "owner"}));
    assert_eq!(more.send().await.status, 403);
    let same = bed.ask(Method::POST, MINE).key(admin).body(json!({"name": "k"})).send().await;
    assert_eq!(same.text("/role"), "admin");

    // Nobody sees or revokes another's.
    let others = bed.ask(Method::GET, MINE).key(key("my-admin")).send().await;
    assert_eq!(others.data().as_array().unwrap().len(), 1);
    let path = format!("{MINE}/{}", made.text("/uid"));
    assert_eq!(bed.ask(Method::DELETE, &path).key(key("my-admin")).send().await.status, 404);
    assert_eq!(bed.ask(Method::DELETE, &path).key(key("my-owner")).send().await.status, 200);
    assert_eq!(ask(Method::GET, "").send().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_key_is_named() {
    let bed = Bed::new().await;
    for (body, field) in [
        (json!({}), "`name`"),
        (json!({"name": " "}), "`name`"),
        (json!({"name": "k", "role": "root"}), "`role`"),
        (json!({"name": "k", "scopes": ["events:write", "all"]}), "`scopes[1]`"),
        (json!({"name": "k", "expires_at": "tomorrow"}), "`expires_at`"),
        (json!({"name": "k", "expires_at": "2020-01-01T00:00:00Z"}), "`expires_at`"),
        (json!({"name": 1}), "`name`"),
    ] {
        for (who, path) in [("admin", KEYS), ("my-owner", MINE)] {
            let refused = make(&bed, who, path, body.clone()).await;
            assert_eq!(refused.status, 400, "{body}");
            assert!(refused.message().starts_with(field), "{refused:?}");
        }
    }
}
