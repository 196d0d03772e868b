//! Feature flags: what is off is not there.

use http::Method;
use longshore_api::v1::ControlSettings;
use serde_json::json;

use crate::bed::{Bed, key};

#[tokio::test(flavor = "multi_thread")]
async fn an_alpha_feature_is_absent_until_installation_and_project_turn_it_on() {
    let closed = Bed::with(ControlSettings::default()).await;
    assert_eq!(closed.get("/retention").await.status, 404);
    let refused = closed.put("/features/retention_report", json!({"enabled": true})).await;
    assert_eq!(refused.status, 409);
    assert!(refused.message().contains("features.enabled"), "{refused:?}");
    assert_eq!(closed.ask(Method::GET, "/api/v1/features").send().await.data()[0]["enabled"], false);

    let bed = Bed::new().await;
    let before = bed.get("/retention").await;
    assert_eq!((before.status, before.message().contains("nothing at this path")), (404, true));
    assert_eq!(bed.get("/features").await.data()[0]["enabled"], false);
    let now = bed.put("/features/retention_report", json!({"enabled": true})).await;
    assert_eq!(now.status, 202);
    assert_eq!(
        now.data(),
        &json!({
            "name": "retention_report",
            "description": "What retention does to a project, and how far back its events go",
            "stage": "alpha",
            "enabled": true,
            "available": true,
        })
    );
    bed.run("UPDATE projects SET settings = '{\"retention\": \"7d\"}' WHERE name = 'acme-project'").await;
    let report = bed.get("/retention").await;
    assert_eq!(report.data(), &json!({"kept_for": "7d", "installation": "30d", "project": "7d"}));
    let audited = "UPDATE audit_log SET detail = detail WHERE action = 'feature.decided' \
                   AND resource_id = 'retention_report' AND actor_name = 'admin'";
    assert_eq!(bed.run(audited).await, 1);

    assert_eq!(bed.put("/features/retention_report", json!({"enabled": false})).await.status, 202);
    assert_eq!(bed.get("/retention").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn admins_decide_and_nobody_decides_about_what_is_not_there() {
    let bed = Bed::new().await;
    let path = "/features/retention_report";

    let developer =
        bed.ask(Method::PUT, path).key(key("developer")).body(json!({"enabled": true})).send().await;
    assert_eq!(developer.status, 403);
    assert_eq!(bed.put("/features/dark_mode", json!({"enabled": true})).await.status, 404);
    let incomplete = bed.put(path, json!({})).await;
    assert_eq!(incomplete.status, 400);
    assert!(incomplete.message().contains("`enabled`"), "{incomplete:?}");
    let foreign = bed.ask(Method::GET, "/retention").key(key("foreign")).send().await;
    assert_eq!(foreign.status, 403, "a key of another project learns nothing of features either");
}
