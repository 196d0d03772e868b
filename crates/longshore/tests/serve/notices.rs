//! What endpoints say about retries, and what people and programs are told when it ends badly.

use std::time::{Duration, UNIX_EPOCH};

use longshore_core::{Clock, SystemClock};
use longshore_testkit::free_addr;
use longshore_testkit::gateway::Gateway;
use longshore_testkit::receiver::{Receiver, Reply, Request};
use longshore_testkit::smtp::MailServer;
use serde_json::Value;
use sqlx::postgres::PgPool;

use crate::bed::{ENDPOINT, PATIENCE, PROJECT, post, setup};
use crate::support::{API_KEY, Database, file, longshore};

const SECRET: &str = "a-secret-of-meta-events";
const EVENT: &str = r#"{"event_type": "order.paid", "data": {"n": 1}}"#;

/// A project with these settings and credentials, and one endpoint at the receiver's `/hook`.
fn apply(database: &Database, receiver: &Receiver, settings: &str, credentials: &str) {
    let resources = format!(
        "
projects:
  - name: shop
    id: {PROJECT}
    settings: {settings}
    credentials: {credentials}
    endpoints: [{{name: receiver, id: {ENDPOINT}, url: '{}', secret: s-one}}]
    subscriptions: [{{name: all, endpoint: receiver}}]
    api_keys: [{{name: k, key: {API_KEY}}}]
",
        receiver.url("/hook")
    );
    let file = file(&resources);
    let applied = longshore(database, &["apply", "-f", file.path().to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
}

/// Meta events of that kind among those that arrived.
fn of_kind(receiver: &Receiver, kind: &str) -> Vec<Value> {
    let bodies = receiver.requests_to("/meta").into_iter().map(|request| request.json());
    bodies.filter(|body| body["event_type"] == kind).map(|body| body["data"].clone()).collect()
}

async fn post_one(gateway: &Gateway) {
    assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
}

fn assert_signed(request: &Request) {
    request.verify_contract(SECRET.as_bytes()).unwrap();
    request.verify_standard(SECRET).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_endpoint_is_switched_off_and_everybody_who_asked_is_told() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let (receiver, mails) = (Receiver::start().await, MailServer::start("nobody").await);
    receiver.script("/hook", [Reply::status(500)]);
    // The first meta event is tried again, by the project's schedule.
    receiver.script("/meta", [Reply::status(503), Reply::status(204)]);
    let settings = format!(
        "{{retry: {{type: list, delays: [100ms]}}, disable_endpoint: true, \
         meta_events: {{enabled: true, url: '{}'}}, \
         alerts: {{emails: [nobody@shop.example, ops@shop.example]}}}}",
        receiver.url("/meta")
    );
    let credentials = format!("{{meta_event_secret: {SECRET}, slack_url: '{}'}}", receiver.url("/slack"));
    apply(&database, &receiver, &settings, &credentials);
    let mut gateway = setup(&database)
        .env("LONGSHORE__SMTP__HOST", "127.0.0.1")
        .env("LONGSHORE__SMTP__PORT", mails.port().to_string())
        .env("LONGSHORE__SMTP__FROM", "Longshore <alerts@longshore.example>")
        .env("LONGSHORE__SMTP__TLS", "none")
        .start()
        .await;

    for _ in 0..5 {
        post_one(&gateway).await;
    }

    // endpoint.created (twice, for the first answer), endpoint.disabled, and at least one eventdelivery.failed.
    receiver.wait_for_path("/meta", 4, PATIENCE).await;
    loop {
        // Counted first: one that arrives between the two is not waited for in vain.
        let seen = receiver.count_to("/meta");
        if !of_kind(&receiver, "endpoint.disabled").is_empty() {
            break;
        }
        receiver.wait_for_path("/meta", seen + 1, PATIENCE).await;
    }
    receiver.wait_for_path("/slack", 2, PATIENCE).await;
    let told = mails.wait_for(2, PATIENCE).await;
    receiver.requests_to("/meta").iter().for_each(|request| assert_signed(request));
    let created = of_kind(&receiver, "endpoint.created");
    assert_eq!((created.len(), &created[0]["uid"]), (2, &ENDPOINT.into()));
    let disabled = of_kind(&receiver, "endpoint.disabled");
    assert_eq!(disabled.len(), 1, "one endpoint is switched off once");
    assert_eq!(
        (&disabled[0]["status"], &disabled[0]["status_reason"]),
        (&"inactive".into(), &"exhausted".into())
    );
    let failed = &of_kind(&receiver, "eventdelivery.failed")[0];
    assert_eq!((&failed["reason"], &failed["attempts"]), (&"exhausted".into(), &2.into()));
    assert_eq!(failed["last_attempt"]["http_status"], 500);
    let slack: Vec<String> = receiver
        .requests_to("/slack")
        .iter()
        .map(|request| request.json()["text"].as_str().unwrap().to_owned())
        .collect();
    assert!(slack.iter().any(|text| text.contains("endpoint receiver was disabled")), "{slack:?}");
    assert!(slack.iter().any(|text| text.contains("was given up")), "{slack:?}");
    // Five deliveries and two attempts at each mailbox make two mails, to whom the server knows.
    assert_eq!((told.len(), slack.len()), (2, 2));
    for mail in &told {
        assert_eq!(
            (mail.from.as_str(), &*mail.to),
            ("alerts@longshore.example", &["ops@shop.example".to_owned()][..])
        );
        assert!(mail.text.contains("Subject: [Longshore] shop: "), "{}", mail.text);
    }
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_switched_off_at_once_though_no_mail_can_be_sent() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    receiver.script("/hook", [Reply::status(410)]);
    let settings = format!(
        "{{meta_events: {{enabled: true, url: '{}', event_types: [endpoint.disabled, endpoint.enabled]}}, \
         alerts: {{emails: [ops@shop.example]}}}}",
        receiver.url("/meta")
    );
    apply(&database, &receiver, &settings, &format!("{{meta_event_secret: {SECRET}}}"));
    let gateway = setup(&database)
        .env("LONGSHORE__SMTP__HOST", "127.0.0.1")
        .env("LONGSHORE__SMTP__PORT", free_addr().port().to_string())
        .env("LONGSHORE__SMTP__FROM", "alerts@longshore.example")
        .env("LONGSHORE__SMTP__TLS", "none")
        .start()
        .await;

    post_one(&gateway).await;

    let told = receiver.wait_for_path("/meta", 1, PATIENCE).await;
    assert_eq!(told[0].json()["data"]["status_reason"], "gone");
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let state: (String, i16) =
        sqlx::query_as("SELECT state, attempt_count FROM deliveries").fetch_one(&pool).await.unwrap();
    assert_eq!(state, ("Failure".to_owned(), 1), "it was sent, and the answer is on record");
    // Whoever is switched on again is told of as well, and gets events.
    receiver.script("/hook", [Reply::status(200)]);
    let activated = longshore(&database, &["endpoints", "activate", "shop", "receiver"]);
    assert_eq!(activated.code, 0, "{activated:?}");
    receiver.wait_for_path("/meta", 2, PATIENCE).await;
    assert_eq!(of_kind(&receiver, "endpoint.enabled")[0]["status"], "active");
    while receiver.count_to("/hook") < 2 {
        post_one(&gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_told_too_much_is_waited_for_and_loses_no_attempt() {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let receiver = Receiver::start().await;
    // Two attempts: the first that counts fails, the second is a success.
    apply(&database, &receiver, "{retry: {type: list, delays: [50ms]}}", "{}");
    let gateway = setup(&database).start().await;
    let date = SystemClock.now().after(Duration::from_secs(4));
    let written = UNIX_EPOCH + Duration::from_micros(date.as_micros().unsigned_abs());
    let too_many = |after: &str| Reply::status(429).header("retry-after", after);
    receiver.script(
        "/hook",
        [
            too_many("1"),
            too_many(&httpdate::fmt_http_date(written)),
            Reply::status(500),
            too_many("0"),
            Reply::status(200),
        ],
    );

    post_one(&gateway).await;

    let requests = receiver.wait_for_path("/hook", 3, PATIENCE).await;
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1), "seconds");
    assert!(SystemClock.now() > date.before(Duration::from_secs(1)), "a date, which has no fractions");
    receiver.wait_for_path("/hook", 5, PATIENCE).await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let done = "SELECT count(*) FROM deliveries
                WHERE state = 'Success' AND attempt_count = 5 AND throttled_count = 3";
    while sqlx::query_scalar::<_, i64>(done).fetch_one(&pool).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await; // recorded a moment after the answer
    }
    let planned: Vec<(i16, bool)> = sqlx::query_as(
        "SELECT number, next_attempt_at > started_at FROM attempts WHERE number < 5 ORDER BY number",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(planned, [(1, true), (2, true), (3, true), (4, true)]);
}

#[tokio::test]
async fn settings_that_tell_nobody_are_refused_by_name() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let resources = "
projects:
  - name: shop
    settings:
      meta_events: {enabled: true}
      alerts: {emails: [not an address], every: 0s}
    credentials: {slack_url: 'ftp://a.example/'}
";
    let file = file(resources);

    let refused = longshore(&database, &["apply", "-f", file.path().to_str().unwrap()]);

    assert_ne!(refused.code, 0);
    for named in [
        "settings.meta_events.url",
        "settings.alerts.emails[0]",
        "settings.alerts.every",
        "credentials.meta_event_secret",
        "credentials.slack_url",
    ] {
        assert!(refused.stderr.contains(named), "{named}: {refused:?}");
    }
}
