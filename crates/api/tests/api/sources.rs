//! Sources: in the contract's shapes, without their credentials.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, FOREIGN, PROJECT, key};

const REDACTED: &str = "[REDACTED]";

#[expect(clippy::needless_pass_by_value, reason = "callers make it on the spot")]
fn pub_sub(name: &str, kind: &str, settings: Value) -> Value {
    json!({"name": name, "type": "pub_sub", "pub_sub": {"type": kind, "workers": 3, kind: settings}})
}

fn kafka() -> Value {
    let auth =
        json!({"type": "scram", "hash": "SHA512", "username": "u", "password": "hunter2", "tls": true});
    pub_sub(
        "orders",
        "kafka",
        json!({"brokers": ["k:9092"], "topic_name": "t", "consumer_group_id": "", "auth": auth}),
    )
}

/// The settings that are stored, opened.
async fn stored(bed: &Bed, answer: &Answer) -> Value {
    let project = PROJECT.parse().unwrap();
    let source = bed.store.source(project, answer.text("/uid").parse().unwrap()).await.unwrap().unwrap();
    serde_json::from_str(source.config.expose()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broker_is_created_and_read_in_the_contracts_shape() {
    let bed = Bed::new().await;
    let sqs =
        json!({"access_key_id": "AK", "secret_key": "hunter2", "default_region": "eu-1", "queue_name": "q"});
    let google = json!({"project_id": "p", "subscription_id": "s", "service_account": "aHVudGVyMg=="});
    let amqp = json!({
        "schema": "amqp", "host": "h", "port": "5672", "queue": "q", "vhost": "v", "deadLetterExchange": "",
        "auth": {"user": "u", "password": "hunter2"}, "bindExchange": {"exchange": "e", "routingKey": "r"},
    });
    for (body, shown) in [
        (
            pub_sub("a", "sqs", sqs),
            json!({"access_key_id": "AK", "secret_key": REDACTED, "default_region": "eu-1", "queue_name": "q"}),
        ),
        // Generated clients decode it as base64.
        (
            pub_sub("b", "google", google),
            json!({"project_id": "p", "subscription_id": "s", "service_account": "W1JFREFDVEVEXQ=="}),
        ),
        (
            kafka(),
            json!({
                "brokers": ["k:9092"], "topic_name": "t",
                "auth": {"type": "scram", "hash": "SHA512", "username": "u", "password": REDACTED, "tls": true},
            }),
        ),
        (
            pub_sub("d", "amqp", amqp),
            json!({
                "schema": "amqp", "host": "h", "port": "5672", "queue": "q", "vhost": "v",
                "auth": {"user": "u", "password": REDACTED}, "bindedExchange": "e", "routingKey": "r",
            }),
        ),
    ] {
        let kind = body["pub_sub"]["type"].as_str().unwrap();
        let made = bed.post("/sources", body.clone()).await;
        assert_eq!((made.status, made.message()), (201, "Source created successfully"));
        assert_eq!(made.data()["pub_sub"], json!({"type": kind, "workers": 3, kind: shown}));
        assert_eq!(made.data()["warnings"], json!(["works, but"]));
        for text in ["hunter2", "aHVudGVyMg=="] {
            assert!(!made.body.to_string().contains(text), "{made:?}");
        }

        let read = bed.get(&format!("/sources/{}", made.text("/uid"))).await;
        assert_eq!((read.status, read.message()), (200, "Source fetched successfully"));
        assert_eq!(read.data()["pub_sub"], made.data()["pub_sub"]);
        assert_eq!(read.headers["etag"], made.headers["etag"]);

        // What was read may be written: nothing changes.
        let before = stored(&bed, &made).await;
        let back = bed.put(&format!("/sources/{}", made.text("/uid")), read.data().clone()).await;
        assert_eq!((back.status, back.message()), (202, "Source updated successfully"));
        assert_eq!(stored(&bed, &made).await, before);
        assert!(before.to_string().contains("hunter2") || before.to_string().contains("aHVudGVyMg=="));
    }
    let listed = bed.get("/sources?type=pub_sub&perPage=3").await;
    assert_eq!(listed.data()["content"].as_array().unwrap().len(), 3);
    assert_eq!(listed.data()["content"][0]["name"], "d");
    let next = format!("/sources?perPage=3&next_page_cursor={}", listed.text("/pagination/next_page_cursor"));
    assert_eq!(bed.get(&next).await.data()["content"][0]["name"], "a");
    let logged = bed.run("SELECT 1 FROM audit_log WHERE detail::text LIKE '%hunter2%'").await;
    assert_eq!(logged, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_changed_in_part_and_deleted() {
    let bed = Bed::new().await;
    let mut body = kafka();
    body["mapping"] = json!({"event_type": "header:x-type", "data": "body"});
    let made = bed.post("/sources", body).await;
    let path = format!("/sources/{}", made.text("/uid"));
    assert_eq!(made.data()["mapping"]["event_type"], "header:x-type");

    let renamed = bed.put(&path, json!({"name": "renamed", "is_disabled": true})).await;
    assert_eq!((&renamed.data()["name"], &renamed.data()["is_disabled"]), (&json!("renamed"), &json!(true)));
    assert_eq!(renamed.data()["pub_sub"], made.data()["pub_sub"]);
    assert_eq!(renamed.data()["mapping"], made.data()["mapping"]);
    let stale = bed.ask(Method::PUT, &path).header("if-match", made.headers["etag"].to_str().unwrap());
    assert_eq!(stale.body(json!({"name": "no"})).send().await.status, 412);
    let fresh = bed.ask(Method::PUT, &path).header("if-match", renamed.headers["etag"].to_str().unwrap());
    assert_eq!(fresh.body(json!({"is_disabled": false})).send().await.status, 202);

    assert_eq!(bed.put(&path, json!({"type": "http"})).await.status, 400);
    assert_eq!(bed.delete(&path).await.status, 200);
    for gone in [bed.get(&path).await, bed.put(&path, json!({})).await, bed.delete(&path).await] {
        assert_eq!((gone.status, gone.message()), (404, "source not found"));
    }
    assert_eq!(bed.get("/sources/nonsense").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_by_its_field() {
    let bed = Bed::new().await;
    let made = bed.post("/sources", kafka()).await;
    let sqs = |more: Value| {
        let mut settings = json!({"access_key_id": "AK", "secret_key": "s", "queue_name": "q"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pub_sub("s", "sqs", settings)
    };
    let with = |field: &str, value: Value| {
        let mut body = kafka();
        body[field] = value;
        body
    };
    for (body, said) in [
        (json!({"type": "pub_sub"}), "`name`: is required"),
        (json!({"name": "x"}), "`type`: is required"),
        (json!({"name": "x", "type": "rest_api"}), "`type`: "),
        (json!({"name": "x", "type": "pub_sub"}), "`pub_sub`: is required"),
        (json!({"name": "x", "type": "pub_sub", "pub_sub": {"type": "nats"}}), "`pub_sub.type`: "),
        (json!({"name": "x", "type": "pub_sub", "pub_sub": {"type": "sqs"}}), "`pub_sub.sqs`: is required"),
        (
            json!({"name": "x", "type": "pub_sub", "pub_sub": {"type": "sqs", "workers": 0}}),
            "`pub_sub.workers`: ",
        ),
        (pub_sub("x", "google", json!({"project_id": "p"})), "`pub_sub.google.service_account`: is required"),
        (pub_sub("x", "sqs", json!({"queue_name": "q"})), "`pub_sub.sqs.access_key_id`: is required"),
        (sqs(json!({"refused": 1})), "`pub_sub.sqs`: unknown field `refused`"),
        (
            sqs(json!({"queue_name": "missing"})),
            "`pub_sub.sqs`: the broker does not take it: there is no such thing",
        ),
        (sqs(json!({"secret_key": REDACTED})), "`pub_sub.sqs.secret_key`: there is nothing stored"),
        (
            sqs(json!({"secret_key_file": "/etc/passwd"})),
            "`pub_sub.sqs.secret_key_file`: is of the gateway's",
        ),
        (sqs(json!({"profile": "admin"})), "`pub_sub.sqs.profile`: is of the gateway's"),
        (
            pub_sub("x", "kafka", json!({"brokers": ["b"], "properties": {"sasl.kerberos.kinit.cmd": "sh"}})),
            "`pub_sub.kafka.properties.sasl.kerberos.kinit.cmd`: is of the gateway's",
        ),
        (with("mapping", json!({"event_type": "nowhere:x"})), "`mapping`: "),
        (with("body_function", json!("function transform(x) {}")), "`body_function`: functions are not part"),
        (
            with("header_function", json!("function transform(x) {}")),
            "`header_function`: functions are not part",
        ),
        (with("event_type_location", json!("request.body.a")), "`event_type_location`: is of HTTP sources"),
        (with("verifier", json!({"type": "basic_auth"})), "`verifier`: is of HTTP sources"),
    ] {
        let answer = bed.post("/sources", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().starts_with(said), "{body}: {answer:?}");
    }
    assert_eq!(bed.post("/sources?verify=false", sqs(json!({"queue_name": "missing"}))).await.status, 201);
    assert_eq!(bed.post("/sources?verify=perhaps", kafka()).await.status, 400);
    let moved = json!({"pub_sub": {"type": "kafka", "kafka": {"brokers": ["missing:1"], "topic_name": "t"}}});
    let path = format!("/sources/{}", made.text("/uid"));
    assert_eq!(bed.put(&path, moved.clone()).await.status, 400);
    let unverified = bed.put(&format!("{path}?verify=false"), moved).await;
    assert_eq!(unverified.data()["pub_sub"]["workers"], 3);
    assert_eq!(bed.get("/sources?type=x").await.status, 400);
    let function =
        bed.post("/sources/test_function", json!({"payload": {}, "function": "", "type": "body"})).await;
    assert_eq!(
        (function.status, function.message()),
        (501, "functions are not part of this version of Longshore")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_sources_have_a_url_and_show_no_secret() {
    let bed = Bed::new().await;
    let hmac = json!({"header": "X-Sig", "hash": "SHA512", "secret": "hunter2", "encoding": "base64"});
    let made = bed
        .post(
            "/sources",
            json!({
                "name": "in", "type": "http", "verifier": {"type": "hmac", "hmac": hmac},
                "custom_response": {"body": "ok", "content_type": "text/plain"},
                "idempotency_keys": ["request.Header.X-Id", "req.body.id"], "event_type_location": "request.body.type",
                "forward_headers": ["X-Id"],
            }),
        )
        .await;

    let data = made.data();
    let mask = made.text("/mask_id");
    assert_eq!(mask.len(), 16);
    assert_eq!(data["url"], format!("https://longshore.test/ingest/{mask}"));
    assert_eq!(
        data["verifier"]["hmac"],
        json!({"header": "x-sig", "hash": "SHA512", "secret": REDACTED, "encoding": "base64"})
    );
    assert_eq!(data["idempotency_keys"], json!(["request.header.x-id", "request.body.id"]));
    assert_eq!((&data["custom_response"]["body"], &data["type"]), (&json!("ok"), &json!("http")));
    assert!(data.get("pub_sub").is_none());

    let path = format!("/sources/{}", made.text("/uid"));
    let before = stored(&bed, &made).await;
    assert_eq!(bed.put(&path, data.clone()).await.status, 202);
    assert_eq!(stored(&bed, &made).await, before);
    assert_eq!(before["verifier"]["secret"], "hunter2");
    let listed = bed.get("/sources?type=http").await;
    assert_eq!(listed.data()["content"].as_array().unwrap().len(), 1);

    let http = |more: Value| {
        let mut body = json!({"name": "x", "type": "http"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, said) in [
        (http(json!({"verifier": {"type": "magic"}})), "`verifier.type`: "),
        (http(json!({"verifier": {"type": "hmac"}})), "`verifier.hmac`: "),
        (http(json!({"verifier": {"type": "hmac", "hmac": {"header": "h"}}})), "`verifier.hmac.hash`: "),
        (
            http(json!({"verifier": {"type": "api_key", "api_key": {"header_name": "a b"}}})),
            "`verifier.api_key.header_name`: ",
        ),
        (
            http(json!({"verifier": {"type": "basic_auth", "basic_auth": {"username": "u"}}})),
            "`verifier.basic_auth.password`: ",
        ),
        (http(json!({"provider": "github"})), "`verifier`: "),
        (http(json!({"provider": "stripe"})), "`provider`: "),
        (http(json!({"idempotency_keys": ["body.a"]})), "`idempotency_keys`: "),
        (
            http(json!({
                "provider": "github", "event_type_location": "request.header.x-github-event",
                "verifier": {"type": "hmac", "hmac": {"secret": "s"}},
            })),
            "`event_type_location`: ",
        ),
        (http(json!({"pub_sub": {"type": "sqs"}})), "`pub_sub`: "),
    ] {
        let answer = bed.post("/sources", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert!(answer.message().starts_with(said), "{body}: {answer:?}");
    }
    let github = http(json!({"provider": "github", "verifier": {"type": "hmac", "hmac": {"secret": "s"}}}));
    assert_eq!(bed.post("/sources", github).await.data()["provider"], "github");
    assert_eq!(bed.get("/sources?provider=github").await.data()["content"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_sources_is_told_by_consumer() {
    let bed = Bed::new().await;
    let made = bed.post("/sources", kafka()).await;
    let path = format!("/sources/{}/status", made.text("/uid"));
    let quiet = bed.get(&path).await;
    assert_eq!((&quiet.data()["state"], &quiet.data()["consumers"]), (&json!("unknown"), &json!([])));

    let id = made.text("/uid").parse::<longshore_core::SourceId>().unwrap().as_uuid();
    let project = PROJECT.parse::<longshore_core::ProjectId>().unwrap().as_uuid();
    let write = |process: &str, worker: u8, state: &str, problem: &str, lag: u32| {
        format!(
            "INSERT INTO source_status (source_id, process_id, worker, project_id, kind, name, state, problem, warnings,
                 lag, in_flight, received, stored, duplicate, redelivered, quarantined, returned, reconnects,
                 oldest_in_flight_at)
             VALUES ('{id}', '{process}', {worker}, '{project}', 'kafka', 'orders', '{state}', {problem}, '[\"w\"]', {lag}, 2, 9,
                 8, 1, 0, 1, 0, 0, now() - interval '1 minute')"
        )
    };
    let (alive, dead) = ("00000000-0000-0000-0000-0000000000aa", "00000000-0000-0000-0000-0000000000bb");
    bed.run(&format!(
        "INSERT INTO processes (id, lease_until, oldest, hostname)
         VALUES ('{alive}', now() + interval '1 hour', '{alive}', 'host-a')"
    ))
    .await;
    bed.run(&write(alive, 0, "consuming", "NULL", 5)).await;
    bed.run(&write(alive, 1, "failing", "'refused'", 7)).await;
    bed.run(&write(dead, 0, "connecting", "NULL", 100)).await;

    let status = bed.get(&path).await;
    let data = status.data();
    assert_eq!(
        (&data["state"], &data["last_error"], &data["lag"]),
        (&json!("failing"), &json!("refused"), &json!(12))
    );
    assert!(data["oldest_in_flight_seconds"].as_f64().unwrap() > 59.0);
    assert_eq!(data["consumers"].as_array().unwrap().len(), 3);
    assert_eq!(data["consumers"][0]["hostname"], "host-a");
    assert_eq!(
        (&data["consumers"][0]["received"], &data["consumers"][0]["quarantined"]),
        (&json!(9), &json!(1))
    );
    assert_eq!(data["consumers"][2]["is_alive"], false);
    let listed = bed.get("/sources/status").await;
    assert_eq!(listed.data()["content"][0]["lag"], 12);
    assert_eq!(bed.get("/sources/01JD000000000000000000N0NE/status").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_sees_none_of_it() {
    let bed = Bed::new().await;
    let made = bed.post("/sources", kafka()).await;
    for path in ["", "/status"] {
        let path = format!("/api/v1/projects/{FOREIGN}/sources/{}{path}", made.text("/uid"));
        assert_eq!(bed.ask(Method::GET, &path).key(key("foreign")).send().await.status, 404);
    }
    let path = format!("/api/v1/projects/{FOREIGN}/sources/{}", made.text("/uid"));
    assert_eq!(bed.ask(Method::DELETE, &path).key(key("foreign")).send().await.status, 404);
}
