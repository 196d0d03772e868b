//! `longshore doctor` and `longshore features`, on an installation that is well and on one that is not.

use serde_json::Value;

use crate::bed::{setup, subscribe};
use crate::support::{Database, longshore};

/// Level and advice of what was looked at.
fn findings(stdout: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| (text(&line, "level"), text(&line, "what"), text(&line, "advice"))).collect()
}

fn level(findings: &[(String, String, String)], what: &str) -> Option<String> {
    findings.iter().find(|(_, known, _)| known == what).map(|(level, ..)| level.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let database = Database::create().await;
    let before = longshore(&database, &["doctor", "--json"]);
    assert_eq!(before.code, 1);
    let found = findings(&before.stdout);
    assert_eq!(level(&found, "schema").as_deref(), Some("fail"));
    assert!(found.iter().any(|(_, _, advice)| advice == "run `longshore migrate up`"));

    longshore(&database, &["migrate", "up"]);
    subscribe(&database, "http://127.0.0.1:1/");
    let idle = findings(&longshore(&database, &["doctor", "--json"]).stdout);
    assert_eq!(level(&idle, "maintenance").as_deref(), Some("warn"), "nobody runs");
    let _gateway = setup(&database).start().await;
    let alone = || findings(&longshore(&database, &["doctor", "--json"]).stdout);
    let mut well = alone();
    while level(&well, "maintenance").as_deref() != Some("ok") {
        well = alone(); // another process gives no signal
    }
    for what in ["postgres", "postgres xmin", "postgres age", "schema", "partitions", "clock"] {
        assert_eq!(level(&well, what).as_deref(), Some("ok"), "{what}: {well:?}");
    }
    // A server for tests may be without it.
    assert!(level(&well, "postgres fsync").is_some());

    let pool = sqlx::PgPool::connect_with(database.inner().options()).await.unwrap();
    let today: String =
        sqlx::query_scalar("SELECT 'events_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
            .fetch_one(&pool)
            .await
            .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("DROP TABLE {today}"))).execute(&pool).await.unwrap();
    let broken = longshore(&database, &["doctor"]);
    assert_eq!(broken.code, 1);
    assert!(broken.stdout.contains("fail  partitions: today's are missing\n      → "), "{}", broken.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tries_every_declared_source() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let resources = crate::support::file(
        "
projects:
  - name: shop
    sources: [{name: orders, kind: rabbitmq, rabbitmq: {urls: ['amqp://guest:guest@127.0.0.1:1/%2f'], queue: q}}]
",
    );
    let path = resources.path().to_str().unwrap();
    assert_eq!(longshore(&database, &["apply", "--no-connect", "-f", path]).code, 0);

    let tried = longshore(&database, &["doctor"]);
    let spared = longshore(&database, &["doctor", "--no-connect"]);

    assert!(tried.stdout.contains("fail  source `shop/orders`: "), "{}", tried.stdout);
    assert_eq!(tried.code, 1);
    assert!(!spared.stdout.contains("shop/orders"), "{}", spared.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_listed_as_they_are() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    subscribe(&database, "http://127.0.0.1:1/");
    let offering = ["--set", "features.enabled=retention_report"];
    let listed = |args: &[&str]| {
        let listed = longshore(&database, &[&["features", "--json"], args].concat());
        assert_eq!(listed.code, 0, "{listed:?}");
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        listed[0]["enabled"].as_bool().unwrap()
    };

    assert!(!listed(&[]));
    assert!(listed(&offering));
    assert!(!listed(&[&offering[..], &["--project", "shop"]].concat()));
    let pool = sqlx::PgPool::connect_with(database.inner().options()).await.unwrap();
    let decided = "INSERT INTO project_features SELECT id, 'retention_report', true FROM projects";
    sqlx::query(decided).execute(&pool).await.unwrap();
    assert!(listed(&[&offering[..], &["--project", "shop"]].concat()));
    assert!(!listed(&["--project", "shop"]), "what is not offered is on nowhere");

    let wrong = longshore(&database, &["features", "--set", "features.enabled=dark_mode"]);
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.contains("features.enabled[0]") && wrong.stderr.contains("retention_report"),
        "{wrong:?}"
    );
}
