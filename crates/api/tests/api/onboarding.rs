//! Bulk onboarding: every row is checked, and all are made or none.

use http::Method;
use serde_json::{Value, json};

use crate::bed::{Answer, Bed, key};

const ONBOARD: &str = "/onboard";
const DRY: &str = "/onboard?dry_run=true";
const FORM: &str = "multipart/form-data; boundary=edge";

fn form(field: &str, file: &str) -> String {
    format!(
        "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
         --edge\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"rows.csv\"\r\n\
         Content-Type: text/csv\r\n\r\n{file}\r\n--edge--\r\n"
    )
}

async fn upload(bed: &Bed, path: &str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
    bed.ask(Method::POST, path).raw(content_type, body).send().await
}

async fn count(bed: &Bed, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&bed.sql).await.unwrap()
}

async fn is_untouched(bed: &Bed) -> bool {
    let mut all = 0;
    for table in ["endpoints", "endpoint_secrets", "subscriptions", "audit_log", "meta_events"] {
        all += count(bed, table).await;
    }
    all == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_endpoints_with_a_secret_and_a_subscription() {
    let bed = Bed::new().await;
    let enabled = json!({"config": {"meta_event": {"is_enabled": true, "url": "https://m.example/"}}});
    assert_eq!(bed.put("", enabled).await.status, 202);
    let made = bed
        .post(
            ONBOARD,
            json!({"items": [
                {"name": "plain", "url": "https://a.example/x", "ignored": true},
                {"name": "typed", "url": "https://b.example/", "event_type": "invoice.*",
                    "auth_username": "us", "auth_password": "open: sesame"},
            ]}),
        )
        .await;

    assert_eq!(made.status, 202);
    assert_eq!((&made.data()["batch_count"], &made.data()["total_items"]), (&json!(1), &json!(2)));
    let rows: Vec<(String, String, bool, String, Vec<String>, i64)> = sqlx::query_as(
        "SELECT e.name, e.url, e.sealed_credentials IS NOT NULL, s.name, s.event_types,
             (SELECT count(*) FROM endpoint_secrets k WHERE k.endpoint_id = e.id)
         FROM endpoints e JOIN subscriptions s ON s.endpoint_id = e.id ORDER BY e.id",
    )
    .fetch_all(&bed.sql)
    .await
    .unwrap();
    assert_eq!(
        rows,
        [
            ("plain".into(), "https://a.example/x".into(), false, "plain".into(), vec!["*".into()], 1),
            ("typed".into(), "https://b.example/".into(), true, "typed".into(), vec!["invoice.*".into()], 1),
        ]
    );
    // What a process reads is what was meant.
    let config = bed.store.load_config().await.unwrap();
    let typed = config.snapshot.endpoints().find(|endpoint| endpoint.name == "typed").unwrap();
    let basic = serde_json::to_value(&typed.credentials.authentication).unwrap();
    assert_eq!(basic, json!({"type": "basic", "username": "us", "password": "open: sesame"}));
    let told: Vec<String> = sqlx::query_scalar("SELECT event_type FROM meta_events ORDER BY id")
        .fetch_all(&bed.sql)
        .await
        .unwrap();
    assert_eq!(told, ["endpoint.created", "endpoint.created"]);
    let log = bed.get("/audit-log").await;
    let actions: Vec<&str> = log.data()["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions.iter().filter(|action| **action == "endpoint.created").count(), 2, "{actions:?}");
    assert_eq!(actions.iter().filter(|action| **action == "subscription.created").count(), 2);
    assert!(!log.body.to_string().contains("sesame"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_is_wrong_with_every_row_and_makes_nothing() {
    let bed = Bed::new().await;
    let items = json!([
        {"name": "right", "url": "https://a.example/"},
        {},
        {"name": "a\nb", "url": "http://a.example/", "event_type": "a*b"},
        {"name": "x", "url": "https://user:word@a.example/"},
        {"name": "x", "url": "https://a.example/#part"},
        {"name": "x", "url": "nowhere"},
        {"name": "x", "url": "ftp://a.example/"},
        {"name": "x", "url": "https://a.example\\@b.example/"},
        {"name": "x", "url": "https://a.example/", "auth_username": "us"},
        {"name": "x", "url": "https://a.example/", "auth_password": "word"},
        {"name": "x", "url": "https://a.example/", "auth_username": "a:b", "auth_password": "w\tord"},
        {"name": "right too", "url": " https://a.example/ ", "event_type": "", "auth_username": "", "auth_password": ""},
    ]);
    let dry = bed.post(DRY, json!({"items": items})).await;

    assert_eq!(
        (dry.status, &dry.data()["total_rows"], &dry.data()["valid_count"]),
        (200, &json!(12), &json!(2))
    );
    let errors = dry.data()["errors"].as_array().unwrap();
    let places: Vec<(u64, &str)> = errors
        .iter()
        .map(|error| (error["row"].as_u64().unwrap(), error["field"].as_str().unwrap()))
        .collect();
    let expected = [
        (2, "name"),
        (2, "url"),
        (3, "name"),
        (3, "url"),
        (3, "event_type"),
        (4, "url"),
        (5, "url"),
        (6, "url"),
        (7, "url"),
        (8, "url"),
        (9, "auth_password"),
        (10, "auth_username"),
        (11, "auth_username"),
        (11, "auth_password"),
    ];
    assert_eq!(places, expected);
    assert!(!dry.body.to_string().contains("user:word"));
    assert!(is_untouched(&bed).await);

    let refused = bed.post(ONBOARD, json!({"items": items})).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().starts_with("nothing was created; row 2: `name`: is missing;"), "{refused:?}");
    assert!(refused.message().ends_with("; and 9 more, which `?dry_run=true` lists"), "{refused:?}");
    assert!(is_untouched(&bed).await);
    let lax = json!({"config": {"ssl": {"enforce_secure_endpoints": false}}});
    assert_eq!(bed.put("", lax).await.status, 202);
    let http = bed.post(DRY, json!({"items": [{"name": "x", "url": "http://a.example/"}]})).await;
    assert_eq!(http.data()["valid_count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_as_good_as_a_list() {
    let bed = Bed::new().await;
    let file = "\u{feff}URL, name ,colour,event_type,auth_username,auth_password\r\n\
                https://a.example/,\"Acme, Inc.\",red,,,\r\n\
                https://b.example/,Bee,blue,invoice.paid,us,\" pass\"\"word\"\r\n\
                https://c.example/,short\r\n";
    for (content_type, body) in [(FORM, form("file", file)), ("text/csv; charset=utf-8", file.to_owned())] {
        let dry = upload(&bed, DRY, content_type, body.clone()).await;
        assert_eq!((&dry.data()["valid_count"], &dry.data()["errors"]), (&json!(3), &json!([])));
        let made = upload(&bed, ONBOARD, content_type, body).await;
        assert_eq!((made.status, &made.data()["total_items"]), (202, &json!(3)));
    }
    let config = bed.store.load_config().await.unwrap();
    let bees: Vec<_> = config.snapshot.endpoints().filter(|endpoint| endpoint.name == "Bee").collect();
    assert_eq!(bees.len(), 2);
    let basic = serde_json::to_value(&bees[0].credentials.authentication).unwrap();
    assert_eq!(basic["password"], " pass\"word");
    assert_eq!(config.snapshot.endpoints().filter(|endpoint| endpoint.name == "Acme, Inc.").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_take_several_transactions_and_too_many_are_refused() {
    let bed = Bed::new().await;
    let items = |count: usize| -> Value {
        (0..count).map(|at| json!({"name": format!("e{at}"), "url": "https://a.example/"})).collect()
    };
    let made = bed.post(ONBOARD, json!({"items": items(201)})).await;

    assert_eq!((&made.data()["batch_count"], &made.data()["total_items"]), (&json!(3), &json!(201)));
    assert_eq!((count(&bed, "endpoints").await, count(&bed, "subscriptions").await), (201, 201));
    let first: String = sqlx::query_scalar("SELECT name FROM endpoints ORDER BY id LIMIT 1")
        .fetch_one(&bed.sql)
        .await
        .unwrap();
    assert_eq!(first, "e0");
    assert_eq!(bed.post(DRY, json!({"items": items(1000)})).await.data()["valid_count"], 1000);
    let many = bed.post(ONBOARD, json!({"items": items(1001)})).await;
    assert_eq!(many.status, 400);
    assert!(many.message().starts_with("`items`"), "{many:?}");
    let file = format!("name,url\n{}", "x,https://a.example/\n".repeat(1001));
    assert!(upload(&bed, ONBOARD, "text/csv", file).await.message().starts_with("`file`"));
    assert_eq!(count(&bed, "endpoints").await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_says_what_was_made() {
    let bed = Bed::new().await;
    bed.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$",
    )
    .await;
    bed.run("CREATE TRIGGER fail BEFORE INSERT ON endpoints FOR EACH ROW WHEN (NEW.name = 'e150') EXECUTE FUNCTION fail()")
        .await;
    let items: Value =
        (0..201).map(|at| json!({"name": format!("e{at}"), "url": "https://a.example/"})).collect();
    let cut = bed.post(ONBOARD, json!({"items": items})).await;

    assert_eq!(cut.status, 503, "{cut:?}");
    assert!(cut.message().starts_with("rows 1 to 100 were created, and no others:"), "{cut:?}");
    assert_eq!((count(&bed, "endpoints").await, count(&bed, "subscriptions").await), (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_request_is_named() {
    let bed = Bed::new().await;
    let right = json!({"items": [{"name": "x", "url": "https://a.example/"}]});
    for (body, place) in [
        (json!({}), "`items`"),
        (json!({"items": []}), "`items`"),
        (json!({"items": [{"name": 5}]}), "`items[0].name`"),
        (json!({"items": [{"name": "a\u{0}b"}]}), "`items[0].name`"),
    ] {
        let refused = bed.post(ONBOARD, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.message().starts_with(place), "{refused:?}");
    }
    for (content_type, body, place) in [
        (FORM, form("other", "name,url\n"), "`file`"),
        (FORM, "no form".to_owned(), "the form"),
        ("text/csv", String::new(), "`file`"),
        ("text/csv", "name,url\n".to_owned(), "`file`"),
        ("text/csv", "name,uri\nx,y\n".to_owned(), "`file`: has no column `url`"),
    ] {
        let refused = upload(&bed, ONBOARD, content_type, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {refused:?}");
        assert!(refused.message().starts_with(place), "{refused:?}");
    }
    let latin = upload(&bed, ONBOARD, "text/csv", b"name,url\nx,https://a.example/\nM\xfcller,y\n").await;
    assert_eq!((latin.status, latin.message()), (400, "`file`: row 2 is not UTF-8"));
    let nul = upload(&bed, ONBOARD, "text/csv", b"name,url\na\0b,https://a.example/\n").await;
    assert!(nul.message().contains("row 1: `name`"), "{nul:?}");
    let xml = upload(&bed, ONBOARD, "application/xml", "<x/>").await;
    assert_eq!(xml.status, 415);
    let unclear = bed.post("/onboard?dry_run=maybe", right.clone()).await;
    assert!(unclear.status == 400 && unclear.message().starts_with("`dry_run`"), "{unclear:?}");
    bed.project_key(crate::bed::PROJECT, "half", "owner", &["endpoints:write"]).await;
    let half = bed.ask(Method::POST, ONBOARD).key(key("half")).body(json!({})).send().await;
    assert_eq!((half.status, half.message()), (403, "this key lacks the scope `subscriptions:write`"));
    bed.run("UPDATE projects SET kind = 'incoming'").await;
    assert_eq!(bed.post(ONBOARD, right).await.status, 409);
    assert!(is_untouched(&bed).await);
}
