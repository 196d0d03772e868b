//! Organisations and their members.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, ORGANISATION, key};

const ALL: &str = "/api/v1/organisations";

async fn ask(bed: &Bed, who: &str, method: Method, path: &str, body: Value) -> Answer {
    bed.ask(method, path).key(key(who)).body(body).send().await
}

fn members() -> String {
    format!("{ALL}/{ORGANISATION}/members")
}

/// The path of a member, by the beginning of the address.
async fn member(bed: &Bed, who: &str) -> String {
    let list = ask(bed, "my-owner", Method::GET, &members(), json!({})).await;
    let all = list.data().as_array().unwrap().clone();
    let found = all.iter().find(|member| member["email"] == format!("{who}@acme.test")).unwrap();
    format!("{}/{}", members(), found["uid"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_creates_an_organisation_owns_it_and_sees_his_own_only() {
    let bed = Bed::new().await;
    let made = ask(&bed, "my-viewer", Method::POST, ALL, json!({"name": " mine "})).await;

    assert_eq!((made.status, made.text("/name"), made.text("/role")), (201, "mine".into(), "owner".into()));
    let list = ask(&bed, "my-viewer", Method::GET, ALL, json!({})).await;
    let names: Vec<_> = list.data().as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["acme", "mine"]);
    let path = format!("{ALL}/{}", made.text("/uid"));
    assert_eq!(ask(&bed, "my-owner", Method::GET, &path, json!({})).await.status, 403);
    for (body, status) in [(json!({"name": "acme"}), 409), (json!({}), 400), (json!({"name": ""}), 400)] {
        let refused = ask(&bed, "my-viewer", Method::POST, ALL, body.clone()).await;
        assert_eq!(refused.status, status, "{body}");
        assert!(refused.message().starts_with("`name`"), "{refused:?}");
        assert_eq!(ask(&bed, "my-viewer", Method::PUT, &path, body).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_renamed_unless_it_changed_meanwhile() {
    let bed = Bed::new().await;
    let path = format!("{ALL}/{ORGANISATION}");
    let before = ask(&bed, "my-owner", Method::GET, &path, json!({})).await.headers["etag"].clone();
    let rename = |name: &str| {
        let asking = bed.ask(Method::PUT, &path).key(key("my-owner")).body(json!({"name": name}));
        asking.header("if-match", before.to_str().unwrap())
    };

    let renamed = rename("acme2").send().await;
    assert_eq!((renamed.status, renamed.text("/name")), (202, "acme2".into()));
    assert_eq!(rename("acme3").send().await.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_with_their_access() {
    let bed = Bed::new().await;
    // Known already, by another spelling of the address.
    let body = json!({"email": "MY-nothing@acme.test", "role": "developer"});
    let added = ask(&bed, "my-admin", Method::POST, &members(), body.clone()).await;
    assert_eq!((added.status, added.text("/role")), (201, "developer".into()));
    assert_eq!(ask(&bed, "my-admin", Method::POST, &members(), body).await.status, 409);
    assert_eq!(bed.ask(Method::GET, "").key(key("my-nothing")).send().await.status, 200);

    let path = member(&bed, "my-nothing").await;
    let changed = ask(&bed, "my-admin", Method::PUT, &path, json!({"role": "viewer"})).await;
    assert_eq!((changed.status, changed.text("/role")), (202, "viewer".into()));
    assert_eq!(ask(&bed, "my-admin", Method::DELETE, &path, json!({})).await.status, 200);
    assert_eq!(bed.ask(Method::GET, "").key(key("my-nothing")).send().await.status, 403);
    assert_eq!(ask(&bed, "my-admin", Method::DELETE, &path, json!({})).await.status, 404);
    let role = json!({"role": "viewer"});
    assert_eq!(ask(&bed, "my-admin", Method::PUT, &format!("{}/x", members()), role).await.status, 404);
    for (body, field) in [
        (json!({"role": "viewer"}), "`email`"),
        (json!({"email": "nobody", "role": "viewer"}), "`email`"),
        (json!({"email": "a@b.test"}), "`role`"),
        (json!({"email": "a@b.test", "role": "root"}), "`role`"),
    ] {
        let refused = ask(&bed, "my-admin", Method::POST, &members(), body).await;
        assert_eq!(refused.status, 400);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_or_takes_a_role_above_his_own_and_an_owner_stays() {
    let bed = Bed::new().await;
    let owner = member(&bed, "my-owner").await;
    let body = json!({"email": "new@acme.test", "role": "owner"});
    assert_eq!(ask(&bed, "my-admin", Method::POST, &members(), body.clone()).await.status, 403);
    let admin = member(&bed, "my-admin").await;
    assert_eq!(ask(&bed, "my-admin", Method::PUT, &admin, json!({"role": "owner"})).await.status, 403);
    assert_eq!(ask(&bed, "my-admin", Method::PUT, &owner, json!({"role": "viewer"})).await.status, 403);
    assert_eq!(ask(&bed, "my-admin", Method::DELETE, &owner, json!({})).await.status, 403);

    assert_eq!(ask(&bed, "my-owner", Method::DELETE, &owner, json!({})).await.status, 409);
    assert_eq!(ask(&bed, "my-owner", Method::PUT, &owner, json!({"role": "admin"})).await.status, 409);
    assert_eq!(ask(&bed, "my-owner", Method::PUT, &owner, json!({"role": "owner"})).await.status, 202);
    assert_eq!(ask(&bed, "my-owner", Method::POST, &members(), body).await.status, 201);
    assert_eq!(ask(&bed, "my-owner", Method::DELETE, &owner, json!({})).await.status, 200);
}
