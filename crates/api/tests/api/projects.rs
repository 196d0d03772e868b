//! Projects: as the contract has them, over the settings that we have.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, ELSEWHERE, ORGANISATION, PROJECT, key};

fn all() -> String {
    format!("/api/v1/projects?orgID={ORGANISATION}")
}

async fn create(bed: &Bed, body: Value) -> Answer {
    bed.ask(Method::POST, &all()).key(key("my-admin")).body(body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_read_by_its_own_keys_and_by_people_of_its_organisation() {
    let bed = Bed::new().await;
    for who in ["viewer", "admin", "my-viewer", "my-owner"] {
        let answer = bed.ask(Method::GET, "").key(key(who)).send().await;

        assert_eq!(answer.text("/uid"), PROJECT);
        assert_eq!(answer.data()["statistics"]["endpoints_exist"], false);
        assert!(answer.headers.contains_key("etag") && answer.headers.contains_key("x-request-id"));
        assert_eq!(answer.headers["x-convoy-version"], "2025-11-24");
    }
    let list = bed.ask(Method::GET, &all()).key(key("my-viewer")).send().await;
    assert_eq!(list.text("/0/uid"), PROJECT);
    let nameless = bed.ask(Method::GET, "/api/v1/projects").key(key("my-viewer")).send().await;
    assert_eq!(nameless.status, 400);
    assert!(nameless.message().starts_with("`orgID`"));
    let theirs = format!("/api/v1/projects?orgID={ELSEWHERE}");
    assert_eq!(bed.ask(Method::GET, &theirs).key(key("my-owner")).send().await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_creates_a_project_and_its_first_key() {
    let bed = Bed::new().await;
    let made =
        create(&bed, json!({"name": "new", "type": "outgoing", "logo_url": "https://l.example/"})).await;

    assert_eq!(made.status, 201);
    let id = made.text("/project/uid");
    assert_eq!(made.text("/api_key/key_type"), "project");
    assert_eq!(made.data()["api_key"]["role"], json!({"type": "project_admin", "project": id}));
    assert_eq!(made.text("/project/organisation_id"), ORGANISATION);
    assert_eq!(made.text("/project/api_version"), "2025-11-24");
    let path = format!("/api/v1/projects/{id}");
    let read = bed.ask(Method::GET, &path).key(made.text("/api_key/key")).send().await;
    assert_eq!((read.text("/name"), read.text("/logo_url")), ("new".into(), "https://l.example/".into()));

    assert_eq!(create(&bed, json!({"name": "new", "type": "incoming"})).await.status, 409);
    for (body, field) in
        [(json!({"type": "outgoing"}), "`name`"), (json!({"name": "x", "type": "up"}), "`type`")]
    {
        let refused = create(&bed, body).await;
        assert_eq!(refused.status, 400);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_config_is_understood_and_given_back() {
    let bed = Bed::new().await;
    let config = json!({
        "max_payload_read_size": 51200,
        "replay_attacks_prevention_enabled": true,
        "add_event_id_trace_headers": true,
        "disable_endpoint": true,
        "multiple_endpoint_subscriptions": true,
        "verify_dynamic_events": true,
        "allow_unmatched_dynamic_urls": true,
        "search_policy": "24h",
        "event_types": "valid",
        "ssl": {"enforce_secure_endpoints": false},
        "ratelimit": {"count": 1000, "duration": 60},
        "strategy": {"type": "linear", "duration": 100, "retry_count": 10},
        "signature": {"header": "X-Acme-Signature", "versions": [
            {"uid": "v1", "hash": "SHA512", "encoding": "base64", "created_at": "2026-01-01T00:00:00Z"}]},
        "request_id_header": "X-Acme-Key",
        "meta_event": {"is_enabled": true, "type": "http", "event_type": ["endpoint.created"],
            "url": "https://m.example/", "secret": "shared-with-us"},
        "circuit_breaker": {"sample_rate": 20, "error_timeout": 40, "failure_threshold": 60,
            "success_threshold": 7, "observability_window": 10, "minimum_request_count": 3,
            "consecutive_failure_threshold": 4},
    });
    let put = bed.put("", json!({"config": config})).await;

    assert_eq!(put.status, 202);
    let read = bed.get("").await;
    for (name, value) in config.as_object().unwrap() {
        assert_eq!(&read.data()["config"][name], value, "{name}");
    }
    let settings: Value = sqlx::query_scalar("SELECT settings FROM projects WHERE name = 'acme-project'")
        .fetch_one(&bed.sql)
        .await
        .unwrap();
    assert_eq!(settings["retry"]["delay"], "100s");
    assert_eq!(settings["ingest_rate_limit"], json!({"count": 1000, "per": "1m"}));
    assert_eq!(settings["egress"]["allow_http"], true);
    assert_eq!(settings["event_types"], "valid");
    assert_eq!(
        (&settings["signature"]["hash"], &settings["signature"]["encoding"]),
        (&json!("SHA512"), &json!("base64"))
    );
    assert_eq!(settings["circuit_breaker"]["observability_window"], "10m");
    assert_eq!(settings["circuit_breaker"]["error_timeout"], "40s");
    assert!(!settings.to_string().contains("shared-with-us"));
    let seen = bed.ask(Method::GET, "").key(key("viewer")).send().await;
    assert_eq!(seen.data()["config"]["meta_event"].get("secret"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_and_sent_back_changes_nothing() {
    let bed = Bed::new().await;
    let settings = "SELECT settings FROM projects WHERE name = 'acme-project'";
    let stored = async || sqlx::query_scalar::<_, Value>(settings).fetch_one(&bed.sql).await.unwrap();
    // Nothing of this can be said in the contract's words.
    let retry = json!({"type": "list", "delays": ["7s", "70s"], "jitter": 0.0});
    let body = json!({"config": {"retry": retry, "ratelimit": {"count": 5, "duration": 1}}});
    assert_eq!(bed.put("", body).await.status, 202);
    bed.run("UPDATE projects SET settings = jsonb_set(settings, '{circuit_breaker,observability_window}', '\"90s\"')").await;
    bed.run("UPDATE projects SET settings = jsonb_set(settings, '{ingest_rate_limit,per}', '\"500ms\"')")
        .await;
    let before = stored().await;

    let read = bed.get("").await.data().clone();
    assert_eq!(bed.put("", read).await.status, 202);
    assert_eq!(stored().await, before);

    // One word of it changes that, and nothing else.
    let body =
        json!({"config": {"strategy": {"retry_count": 5}, "circuit_breaker": {"failure_threshold": 50}}});
    let changed = bed.put("", body).await;
    assert_eq!(
        changed.data()["config"]["strategy"],
        json!({"type": "exponential", "duration": 7, "retry_count": 5})
    );
    let after = stored().await;
    assert_eq!(after["circuit_breaker"]["failure_threshold"], 50);
    assert_eq!(
        after["circuit_breaker"]["observability_window"],
        before["circuit_breaker"]["observability_window"]
    );
    assert_eq!(after["ingest_rate_limit"], before["ingest_rate_limit"]);
    let unlimited = bed.put("", json!({"config": {"ratelimit": {"count": 0}}})).await;
    assert_eq!(unlimited.data()["config"].get("ratelimit"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_config_is_named_and_changes_nothing() {
    let bed = Bed::new().await;
    let before = bed.get("").await.data().clone();
    for (config, field) in [
        (json!({"max_payload_read_size": 0}), "`config.max_payload_read_size`"),
        (json!({"max_payload_read_size": "much"}), "`config.max_payload_read_size`"),
        (json!({"ratelimit": {"count": 2000000, "duration": 1}}), "`config.ratelimit`"),
        (json!({"ratelimit": {"count": 2}}), "`config.ratelimit.duration`"),
        (json!({"strategy": {"type": "random"}}), "`config.strategy.type`"),
        (json!({"strategy": {"retry_count": 1000}}), "`config.strategy.retry_count`"),
        (json!({"strategy": {"type": "linear", "duration": 0}}), "`config.strategy.duration`"),
        (json!({"signature": {"header": "a b"}}), "`config.signature.header`"),
        (json!({"signature": {"versions": [{"hash": "MD5"}]}}), "`config.signature.versions[0].hash`"),
        (json!({"signature": {"versions": [{"encoding": "x"}]}}), "`config.signature.versions[0].encoding`"),
        (json!({"request_id_header": "é"}), "`config.request_id_header`"),
        (json!({"meta_event": {"is_enabled": true}}), "`config.meta_event.url`"),
        (json!({"meta_event": {"url": "nowhere"}}), "`config.meta_event.url`"),
        (json!({"meta_event": {"url": "ftp://m.example/"}}), "`config.meta_event.url`"),
        (json!({"meta_event": {"type": "pub_sub"}}), "`config.meta_event.type`"),
        (json!({"meta_event": {"event_type": ["x"]}}), "`config.meta_event.event_type`"),
        (json!({"meta_event": {"secret": "whsec_!"}}), "`config.meta_event.secret`"),
        (
            json!({"circuit_breaker": {"failure_threshold": 300}}),
            "`config.circuit_breaker.failure_threshold`",
        ),
        (json!({"circuit_breaker": {"error_timeout": 0}}), "`config.circuit_breaker.error_timeout`"),
        (json!({"event_types": "all"}), "`config.event_types`: write `any`, `known` or `valid`"),
        (json!({"retry": {"type": "linear"}}), "`config.retry`"),
        (json!({"retry_policy": {"max_age": "0s"}}), "`config.retry_policy`"),
    ] {
        let refused = bed.put("", json!({"name": "other", "config": config.clone()})).await;
        assert_eq!(refused.status, 400, "{config}");
        assert!(refused.message().starts_with(field), "{config}: {}", refused.message());
    }
    assert_eq!(bed.get("").await.data(), &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_is_held_against_names_and_etags() {
    let bed = Bed::new().await;
    create(&bed, json!({"name": "taken"})).await;
    assert_eq!(bed.put("", json!({"name": "taken"})).await.status, 409);
    let tag = bed.get("").await.headers["etag"].to_str().unwrap().to_owned();
    let put =
        |name: &str| bed.ask(Method::PUT, "").header("if-match", tag.clone()).body(json!({"name": name}));

    let renamed = put("renamed").send().await;
    assert_eq!((renamed.status, renamed.text("/name")), (202, "renamed".into()));
    assert_ne!(renamed.headers["etag"], tag.as_str());
    assert_eq!(put("again").send().await.status, 412);
    let enabled = json!({"config": {"meta_event": {"is_enabled": true, "url": "https://m.example/"}}});
    assert!(bed.put("", enabled).await.text("/config/meta_event/secret").starts_with("whsec_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_is_gone_with_its_keys() {
    let bed = Bed::new().await;
    assert_eq!(bed.delete("").await.status, 200);

    assert_eq!(bed.get("").await.status, 401);
    assert_eq!(bed.ask(Method::GET, "").key(key("my-owner")).send().await.status, 403);
    let path = format!("/api/v1/organisations/{ORGANISATION}/audit-log?action=project.deleted");
    let log = bed.ask(Method::GET, &path).key(key("my-owner")).send().await;
    assert_eq!(log.text("/content/0/resource_id"), PROJECT);
}
