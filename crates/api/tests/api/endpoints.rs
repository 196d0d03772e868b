//! Endpoints: in the contract's shapes, without what they authenticate with.

use http::Method;
use longshore_core::{Clock, DeliveryId, SystemClock};
use serde_json::{Value, json};

use crate::bed::{Bed, FOREIGN, PROJECT, key};

const REDACTED: &str = "[REDACTED]";

fn whole() -> Value {
    json!({
        "name": "shop", "url": "https://shop.example/hooks?a=1", "owner_id": "acme", "description": "for orders",
        "secret": "a-secret-of-the-shop", "advanced_signatures": false, "support_email": "ops@shop.example",
        "slack_webhook_url": "https://hooks.slack.example/T/B", "teams_webhook_url": "https://teams.example/x",
        "http_timeout": 25, "rate_limit": 30, "rate_limit_duration": 2,
        "content_type": "application/x-www-form-urlencoded",
        "authentication": {"type": "basic_auth", "basic_auth": {"username": "u", "password": "hunter2"}},
        "mtls_client_cert": {"client_cert": "-----BEGIN CERTIFICATE-----", "client_key": "hunter2"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_created_read_and_listed_in_the_contracts_shape() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", whole()).await;
    assert_eq!((made.status, made.message()), (201, "Endpoint created successfully"));
    let mut shown = whole();
    let data = made.data();
    assert_eq!(data["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(made.text("/secrets/0/value"), "a-secret-of-the-shop");
    shown.as_object_mut().unwrap().remove("secret");
    shown["authentication"]["basic_auth"]["password"] = json!(REDACTED);
    shown["mtls_client_cert"]["client_key"] = json!(REDACTED);
    for (name, value) in shown.as_object().unwrap() {
        assert_eq!(&data[name], value, "{name}");
    }
    assert_eq!((&data["status"], &data["project_id"]), (&json!("active"), &json!(PROJECT)));
    assert!(!made.body.to_string().contains("hunter2"), "{made:?}");

    let path = format!("/endpoints/{}", made.text("/uid"));
    let read = bed.get(&path).await;
    assert_eq!((read.status, read.message()), (200, "Endpoint fetched successfully"));
    assert_eq!((read.data(), &read.headers["etag"]), (data, &made.headers["etag"]));

    // What was read may be written: nothing changes, what is hidden included.
    let back = bed.put(&path, data.clone()).await;
    assert_eq!((back.status, back.message()), (202, "Endpoint updated successfully"));
    let stored = bed
        .store
        .endpoint(
            &longshore_store::control::Sight::project(PROJECT.parse().unwrap()),
            made.text("/uid").parse().unwrap(),
        )
        .await
        .unwrap();
    let credentials = serde_json::to_string(&stored.unwrap().endpoint.credentials).unwrap();
    assert_eq!(credentials.matches("hunter2").count(), 2, "{credentials}");
    assert_eq!(back.data()["secrets"], data["secrets"]);

    let plain = bed.post("/endpoints", json!({"name": "Plain", "url": "https://plain.example"})).await;
    assert!(plain.text("/secrets/0/value").starts_with("whsec_"), "{plain:?}");
    assert_eq!(plain.data()["advanced_signatures"], true);
    assert_eq!(plain.data()["rate_limit"], 0);
    for (query, expected) in [
        ("", vec!["Plain", "shop"]),
        ("?sort=ASC", vec!["shop", "Plain"]),
        ("?perPage=1", vec!["Plain"]),
        ("?q=PLA", vec!["Plain"]),
        ("?q=%25", vec![]),
        ("?ownerId=acme", vec!["shop"]),
        ("?ownerId=nobody", vec![]),
    ] {
        let listed = bed.get(&format!("/endpoints{query}")).await;
        let names: Vec<_> =
            listed.data()["content"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, expected, "{query}");
    }
    assert_eq!(bed.run("SELECT 1 FROM audit_log WHERE detail::text LIKE '%hunter2%'").await, 0);
    assert_eq!(bed.run("SELECT 1 FROM audit_log WHERE action LIKE 'endpoint.%'").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_changed_in_part_and_deleted() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", whole()).await;
    let path = format!("/endpoints/{}", made.text("/uid"));

    let changed = bed.put(&path, json!({"name": "other", "rate_limit": 0, "owner_id": ""})).await;
    assert_eq!((&changed.data()["name"], &changed.data()["rate_limit"]), (&json!("other"), &json!(0)));
    assert_eq!(changed.data()["owner_id"], "");
    for same in ["url", "authentication", "mtls_client_cert", "http_timeout", "secrets", "support_email"] {
        assert_eq!(changed.data()[same], made.data()[same], "{same}");
    }
    let bare = bed.put(&path, json!({"authentication": {"type": ""}, "mtls_client_cert": {}})).await;
    assert_eq!(
        (&bare.data()["authentication"], &bare.data()["mtls_client_cert"]),
        (&Value::Null, &Value::Null)
    );
    let other = bed.put(&path, json!({"secret": "another-secret-of-it"})).await;
    assert_eq!(other.data()["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(other.text("/secrets/0/value"), "another-secret-of-it");

    let stale = bed.ask(Method::PUT, &path).header("if-match", made.headers["etag"].to_str().unwrap());
    assert_eq!(stale.body(json!({"name": "no"})).send().await.status, 412);
    let fresh = bed.ask(Method::PUT, &path).header("if-match", other.headers["etag"].to_str().unwrap());
    assert_eq!(fresh.body(json!({"name": "yes"})).send().await.status, 202);

    bed.run(&format!(
        "INSERT INTO subscriptions (project_id, id, endpoint_id, name)
         SELECT project_id, gen_random_uuid(), id, 'all' FROM endpoints WHERE project_id IN
             (SELECT project_id FROM endpoints) AND name = '{}'",
        "yes"
    ))
    .await;
    assert_eq!((bed.delete(&path).await.status, bed.run("SELECT 1 FROM subscriptions").await), (200, 0));
    for gone in [bed.get(&path).await, bed.put(&path, json!({})).await, bed.delete(&path).await] {
        assert_eq!((gone.status, gone.message()), (404, "endpoint not found"));
    }
    assert_eq!(bed.get("/endpoints/nonsense").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_by_its_field() {
    let bed = Bed::new().await;
    let oauth2 = |more: Value| {
        let mut settings = json!({"url": "https://id.example", "client_id": "c", "authentication_type": "shared_secret",
            "client_secret": "s"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"authentication": {"type": "oauth2", "oauth2": settings}})
    };
    let cases = [
        (json!({"name": " "}), "`name`"),
        (json!({"name": "n".repeat(256)}), "`name`"),
        (json!({"url": "http://plain.example"}), "`url`"),
        (json!({"url": "nonsense"}), "`url`"),
        (json!({"secret": "whsec_???"}), "`secret`"),
        (json!({"http_timeout": 121}), "`http_timeout`"),
        (json!({"http_timeout": "10s"}), "`http_timeout`"),
        (json!({"rate_limit": 1, "rate_limit_duration": 100_000}), "`rate_limit`"),
        (json!({"rate_limit": 10_000_000_000_u64}), "`rate_limit`"),
        (json!({"content_type": "text/plain"}), "`content_type`"),
        (json!({"support_email": "nobody"}), "`support_email`"),
        (json!({"slack_webhook_url": "http://x"}), "`slack_webhook_url`"),
        (json!({"teams_webhook_url": "x"}), "`teams_webhook_url`"),
        (json!({"authentication": {"type": "magic"}}), "`authentication.type`"),
        (json!({"authentication": {"type": "api_key"}}), "`authentication.api_key`"),
        (
            json!({"authentication": {"type": "api_key", "api_key": {"header_name": "a b", "header_value": "v"}}}),
            "`authentication.api_key.header_name`",
        ),
        (
            json!({"authentication": {"type": "api_key", "api_key": {"header_name": "a", "header_value": REDACTED}}}),
            "`authentication.api_key.header_value`",
        ),
        (
            json!({"authentication": {"type": "basic_auth", "basic_auth": {"username": "a:b", "password": "p"}}}),
            "`authentication.basic_auth.username`",
        ),
        (oauth2(json!({"url": "http://id.example"})), "`authentication.oauth2.url`"),
        (oauth2(json!({"client_id": ""})), "`authentication.oauth2.client_id`"),
        (oauth2(json!({"client_secret": ""})), "`authentication.oauth2.client_secret`"),
        (oauth2(json!({"grant_type": "password"})), "`authentication.oauth2.grant_type`"),
        (oauth2(json!({"authentication_type": "x"})), "`authentication.oauth2.authentication_type`"),
        (oauth2(json!({"authentication_type": "client_assertion"})), "`authentication.oauth2.signing_key`"),
        (oauth2(json!({"expiry_time_unit": "days"})), "`authentication.oauth2.expiry_time_unit`"),
        (json!({"mtls_client_cert": {"client_key": "k"}}), "`mtls_client_cert.client_cert`"),
        (json!({"mtls_client_cert": {"client_cert": "x", "client_key": "k"}}), "`mtls_client_cert`"),
    ];
    let made = bed.post("/endpoints", json!({"name": "a", "url": "https://a.example"})).await;
    for (body, field) in cases {
        let mut fresh = json!({"name": "b", "url": "https://b.example"});
        fresh.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let created = bed.post("/endpoints", fresh).await;
        assert_eq!(created.status, 400, "{body}: {created:?}");
        assert!(created.message().starts_with(field), "{body}: {created:?}");
        let changed = bed.put(&format!("/endpoints/{}", made.text("/uid")), body.clone()).await;
        assert_eq!(changed.status, 400, "{body}: {changed:?}");
    }
    for (body, field) in [(json!({"url": "https://x.example"}), "`name`"), (json!({"name": "x"}), "`url`")] {
        assert!(bed.post("/endpoints", body).await.message().starts_with(field));
    }
    assert_eq!(bed.run("SELECT 1 FROM endpoints").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_paused_switched_off_and_activated() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", json!({"name": "a", "url": "https://a.example"})).await;
    let path = format!("/endpoints/{}", made.text("/uid"));
    let (pause, activate) = (format!("{path}/pause"), format!("{path}/activate"));

    let paused = bed.put(&pause, json!({})).await;
    assert_eq!((paused.status, paused.message()), (202, "endpoint status successfully updated"));
    assert_eq!(paused.data()["status"], "paused");
    assert_eq!(bed.put(&pause, json!({})).await.data()["status"], "active");
    assert_eq!(bed.put(&path, json!({"is_disabled": true})).await.data()["status"], "inactive");
    let refused = bed.put(&pause, json!({})).await;
    assert_eq!((refused.status, refused.message()), (400, "this endpoint is inactive; activate it first"));

    // Its breaker has tripped; whoever activates it says that it is well.
    bed.run(
        "INSERT INTO breakers (endpoint_id, project_id, state, trips, until_at, version)
         SELECT id, project_id, 'open', 3, now() + interval '1 minute', 7 FROM endpoints",
    )
    .await;
    bed.run(
        "INSERT INTO breaker_counts (endpoint_id, process_id, version, requests, failures, counted_at)
         SELECT id, gen_random_uuid(), 7, 4, 3, now() FROM endpoints",
    )
    .await;
    bed.run(
        "INSERT INTO breaker_events (project_id, endpoint_id, from_state, to_state, trips, is_disabled)
         SELECT project_id, id, 'closed', 'open', 3, false FROM endpoints",
    )
    .await;
    let read = bed.get(&path).await;
    assert_eq!((&read.data()["cb_state"], &read.data()["failure_rate"]), (&json!("open"), &json!(75.0)));
    let breaker = bed.get(&format!("{path}/breaker")).await;
    let state = breaker.data();
    assert_eq!(
        (&state["state"], &state["trips"], &state["requests"]),
        (&json!("open"), &json!(3), &json!(4))
    );
    assert_eq!(
        (&state["transitions"][0]["from"], &state["transitions"][0]["to"]),
        (&json!("closed"), &json!("open"))
    );

    let activated = bed.ask(Method::POST, &activate).send().await;
    assert_eq!((activated.status, &activated.data()["status"]), (202, &json!("active")));
    let breaker = bed.get(&format!("{path}/breaker")).await;
    assert_eq!((&breaker.data()["state"], &breaker.data()["trips"]), (&json!("closed"), &json!(0)));
    assert_eq!(bed.get("/endpoints/nonsense/breaker").await.status, 404);
    assert_eq!(bed.put("/endpoints/01JD0000000000000000000ZZZ/pause", json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_rolled_and_the_old_one_goes_on_for_hours() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", json!({"name": "a", "url": "https://a.example"})).await;
    let roll = format!("/endpoints/{}/expire_secret", made.text("/uid"));

    let rolled = bed.put(&roll, json!({"secret": "a-new-secret-for-it", "expiration": 2})).await;
    assert_eq!((rolled.status, rolled.message()), (200, "endpoint secret expired successfully"));
    let secrets = rolled.data()["secrets"].as_array().unwrap();
    assert_eq!((secrets.len(), &secrets[1]["value"]), (2, &json!("a-new-secret-for-it")));
    assert_eq!(secrets[0]["value"], made.data()["secrets"][0]["value"]);
    assert!(secrets[1].get("expires_at").is_none());
    let left = "SELECT 1 FROM endpoint_secrets WHERE expires_at BETWEEN now() + interval '119 minutes' AND
        now() + interval '121 minutes'";
    assert_eq!(bed.run(left).await, 1);

    let made_up = bed.put(&roll, json!({})).await;
    assert!(made_up.text("/secrets/2/value").starts_with("whsec_"), "{made_up:?}");
    assert_eq!(bed.run("SELECT 1 FROM endpoint_secrets WHERE expires_at <= now()").await, 2);
    for (body, status) in [
        (json!({"expiration": -1}), 400),
        (json!({"expiration": 9000}), 400),
        (json!({"secret": "whsec_???"}), 400),
        (json!({"secret": "a-new-secret-for-it"}), 400),
    ] {
        assert_eq!(bed.put(&roll, body.clone()).await.status, status, "{body}");
    }
    assert_eq!(bed.put("/endpoints/01JD0000000000000000000ZZZ/expire_secret", json!({})).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_credentials_are_tried() {
    let bed = Bed::new().await;
    let asked = |host: &str| {
        json!({"oauth2": {"url": format!("https://{host}/token"), "client_id": "c",
            "authentication_type": "shared_secret", "client_secret": "s"}})
    };
    let good = bed.post("/endpoints/oauth2/test", asked("works")).await;
    assert_eq!((good.status, &good.data()["success"]), (200, &json!(true)));
    assert_eq!(
        (&good.data()["token_type"], &good.data()["access_token"]),
        (&json!("Bearer"), &json!("hunt…"))
    );
    let bad = bed.post("/endpoints/oauth2/test", asked("fails")).await;
    assert_eq!((&bad.data()["success"], &bad.data()["error"]), (&json!(false), &json!("it answered 401")));
    let missing = bed.post("/endpoints/oauth2/test", json!({})).await;
    assert_eq!((missing.status, missing.message()), (400, "`oauth2`: is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_rates_are_of_a_span_of_time() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", json!({"name": "a", "url": "https://a.example"})).await;
    let id = made.text("/uid");
    let none = bed.get("/endpoints/period-failure-rates").await;
    assert_eq!((none.status, none.data()), (200, &json!([])));
    bed.store.create_partitions(1).await.unwrap();
    let now = DeliveryId::floor(SystemClock.now()).as_u128();
    for (number, state) in
        ["Success", "Success", "Success", "Failure", "Retry", "Scheduled"].iter().enumerate()
    {
        let delivery = DeliveryId::from_u128(now + number as u128).as_uuid();
        let is_over = ["Success", "Failure"].contains(state);
        bed.run(&format!(
            "INSERT INTO deliveries (project_id, id, event_id, endpoint_id, state, attempt_count, finished_at)
             SELECT project_id, '{delivery}', '{delivery}', id, '{state}', {}, {} FROM endpoints",
            u8::from(*state != "Scheduled"),
            if is_over { "now()" } else { "NULL" },
        ))
        .await;
    }
    let expected = json!([{
        "uid": id, "success_count": 3, "failure_count": 1, "retry_count": 1, "period_failure_rate": 40.0,
    }]);
    // What is made at this instant is not before it.
    let until = SystemClock.now().after(std::time::Duration::from_secs(1)).to_string();
    for query in [format!("endDate={until}"), format!("endpointId={id}&endDate={until}")] {
        assert_eq!(*bed.get(&format!("/endpoints/period-failure-rates?{query}")).await.data(), expected);
    }
    // As they are counted from minute to minute, whatever became of them.
    assert!(bed.get(&format!("/endpoints/{id}")).await.data().get("events").is_none());
    let kept = std::time::Duration::from_secs(86_400);
    assert!(bed.store.roll_up(SystemClock.now(), kept).await.unwrap() > 0);
    assert_eq!(bed.get(&format!("/endpoints/{id}")).await.data()["events"], 6);
    assert_eq!(bed.get("/endpoints").await.data()["content"][0]["events"], 6);
    let before = format!(
        "/endpoints/period-failure-rates?endDate={}",
        SystemClock.now().before(std::time::Duration::from_secs(60))
    );
    assert_eq!(*bed.get(&before).await.data(), json!([]));
    for (query, status) in [
        (format!("endpointId={id}&startDate=2026-01-01T00:00:00&endDate=2026-02-01T00:00:00"), 200),
        ("endpointId=nonsense".to_owned(), 400),
        ("startDate=yesterday".to_owned(), 400),
        ("startDate=2026-02-01T00:00:00&endDate=2026-01-01T00:00:00".to_owned(), 400),
    ] {
        assert_eq!(
            bed.get(&format!("/endpoints/period-failure-rates?{query}")).await.status,
            status,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_projects_endpoints_are_not_there() {
    let bed = Bed::new().await;
    let made = bed.post("/endpoints", whole()).await;
    let elsewhere = format!("/api/v1/projects/{FOREIGN}/endpoints");
    let theirs = bed.ask(Method::GET, &elsewhere).key(key("foreign")).send().await;
    assert_eq!(theirs.data()["content"], json!([]));
    let id = made.text("/uid");
    for path in [format!("{elsewhere}/{id}"), format!("{elsewhere}/{id}/breaker")] {
        assert_eq!(bed.ask(Method::GET, &path).key(key("foreign")).send().await.status, 404);
    }
    let roll = format!("{elsewhere}/{id}/expire_secret");
    let rolled = bed.ask(Method::PUT, &roll).key(key("foreign")).body(json!({})).send().await;
    assert_eq!(rolled.status, 404);
}
