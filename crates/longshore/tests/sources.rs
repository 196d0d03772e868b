//! Sources as operators see them: what is listed, what a check says, what `apply` refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test binary uses a part")]
mod support;

use std::time::Duration;

use longshore_testkit::gateway::Setup;
use longshore_testkit::rabbitmq::{QueueKind, Rabbit};
use serde_json::Value;
use support::{Database, Output, file, longshore};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

fn setup(database: &Database) -> Setup {
    database
        .environment()
        .into_iter()
        .fold(Setup::new(env!("CARGO_BIN_EXE_longshore")), |setup, (name, value)| setup.env(name, value))
}

/// A database with its schema.
async fn migrated() -> Database {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    database
}

/// Applies a project with these sources, each as name and queue.
fn apply(database: &Database, amqp_url: &str, sources: &[(&str, &str)], args: &[&str]) -> Output {
    let source = |(name, queue): &(&str, &str)| {
        format!("      - {{name: {name}, kind: amqp, amqp: {{urls: ['{amqp_url}'], queue: {queue}}}}}\n")
    };
    let sources: String = sources.iter().map(source).collect();
    let file = file(&format!("projects:\n  - name: shop\n    sources:\n{sources}"));
    let path = file.path().to_str().unwrap();
    longshore(database, &[&["apply", "-f", path], args].concat())
}

/// The sources as `longshore sources --json` tells, once `is_so`.
async fn listed(database: &Database, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let output = longshore(database, &["sources", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        let sources: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
        if is_so(&sources) {
            return sources;
        }
        assert!(begun.elapsed() < PATIENCE, "{sources:#?}");
        sleep(Duration::from_millis(50)).await; // another process gives no signal
    }
}

fn find<'a>(sources: &'a [Value], name: &str) -> Option<&'a Value> {
    sources.iter().find(|source| source["name"] == name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_at_fault_is_shown_with_its_problem_and_delays_no_other() {
    let (database, rabbit) = (migrated().await, Rabbit::connect().await);
    let queue = rabbit.queue(QueueKind::Classic).await;
    let sources = [("good", queue.name()), ("bad", "no-such-queue")];
    let applied = apply(&database, rabbit.url(), &sources, &["--no-connect"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let declared = format!(
        "[[sources]]\nname = 'filed'\nproject = 'shop'\nkind = 'rabbitmq'\nworkers = 2\nrabbitmq = {{ urls = ['{}'], \
         queue = '{}' }}\n",
        rabbit.url(),
        queue.name()
    );
    let declared = file(&declared);
    let gateway = setup(&database).env("LONGSHORE_CONFIG", declared.path().to_str().unwrap()).start().await;

    let state = |sources: &[Value], name: &str, state: &str| {
        find(sources, name).is_some_and(|source| source["state"] == state)
    };
    let is_settled = |sources: &[Value]| {
        state(sources, "good", "consuming")
            && state(sources, "filed", "consuming")
            && state(sources, "bad", "failing")
    };
    let sources = listed(&database, is_settled).await;

    let bad = find(&sources, "bad").unwrap();
    assert!(bad["problem"].as_str().unwrap().contains("no-such-queue"), "{bad:#}");
    // The same whether it is declared in the file or in the database.
    assert_eq!(sources.iter().filter(|source| source["name"] == "filed").count(), 2);
    let table = longshore(&database, &["sources"]).stdout;
    assert!(table.contains("good") && table.contains("problem: misconfigured: "), "{table}");
    let (_, metrics) = gateway.get("/metrics").await.unwrap();
    for line in [
        r#"source_state{kind="rabbitmq",source="bad",state="failing"} 1"#,
        r#"source_state{kind="rabbitmq",source="filed",state="consuming"} 2"#,
        r#"source_oldest_in_flight_seconds{kind="rabbitmq",source="good"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }

    // Put right, it is tried at once, however long its pause is by now.
    let at = Instant::now();
    let sources = [("good", queue.name()), ("bad", queue.name())];
    assert_eq!(apply(&database, rabbit.url(), &sources, &[]).code, 0);
    listed(&database, |sources| state(sources, "bad", "consuming")).await;
    assert!(at.elapsed() < Duration::from_secs(5), "{:?}", at.elapsed());
}

#[tokio::test]
async fn apply_refuses_a_source_that_cannot_be_used_and_changes_nothing() {
    let (database, rabbit) = (migrated().await, Rabbit::connect().await);
    let queue = rabbit.queue(QueueKind::Classic).await;
    let sources = [("good", queue.name()), ("bad", "no-such-queue"), ("worse", "no-such-queue-either")];

    let refused = apply(&database, rabbit.url(), &sources, &[]);

    assert_eq!(refused.code, 1, "{refused:?}");
    for part in ["`bad`", "`worse`", "no-such-queue-either", "--no-connect"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    assert!(!refused.stderr.contains("`good`"), "{refused:?}");
    assert_eq!(database.store().await.load_config().await.unwrap().sources, []);

    assert_eq!(apply(&database, rabbit.url(), &sources, &["--no-connect"]).code, 0);
    assert_eq!(database.store().await.load_config().await.unwrap().sources.len(), 3);
    // What does not change is not tried again.
    let again = apply(&database, rabbit.url(), &sources, &[]);
    assert_eq!(again.code, 0, "{again:?}");
}

#[tokio::test]
async fn a_check_connects_to_every_source_and_says_what_is_wrong_with_each() {
    let (database, rabbit) = (migrated().await, Rabbit::connect().await);
    let queue = rabbit.queue(QueueKind::Classic).await;
    let stored = [("stored", queue.name()), ("gone", "no-such-queue")];
    assert_eq!(apply(&database, rabbit.url(), &stored, &["--no-connect"]).code, 0);
    let source = |name: &str, settings: &str| {
        format!(
            "[[sources]]\nname = '{name}'\nproject = 'shop'\nkind = 'rabbitmq'\nrabbitmq = {{ urls = ['{}'], {settings} }}\n",
            rabbit.url()
        )
    };
    let declared = file(
        &(source("lossy", "queue = 'to-be-declared', declare = { type = 'quorum' }")
            + &source("fine", &format!("queue = '{}'", queue.name()))),
    );
    let check = ["config", "check", "--connect", "--config", declared.path().to_str().unwrap()];

    let checked = longshore(&database, &check);

    assert_eq!(checked.code, 1, "{checked:?}");
    for line in [
        "database: ok",
        "source `lossy` (configuration file): ok\n  warning: ",
        "source `fine` (configuration file): ok",
        "source `shop/stored`: ok",
    ] {
        assert!(checked.stdout.contains(line), "`{line}` is not in {}", checked.stdout);
    }
    assert!(checked.stderr.contains("source `shop/gone`: misconfigured: "), "{}", checked.stderr);
    assert!(checked.stdout.contains("dead-letter"), "{}", checked.stdout);

    assert_eq!(apply(&database, rabbit.url(), &stored[..1], &["--prune"]).code, 0);
    assert_eq!(longshore(&database, &check).code, 0);
}

#[tokio::test]
async fn a_mapping_that_cannot_be_read_is_named_with_its_place() {
    let database = migrated().await;
    let declared = file(
        "[[sources]]\nname = 'q'\nproject = 'shop'\nkind = 'rabbitmq'\nmapping = { event_type = 'hedaer:x' }\n\
         rabbitmq = { host = 'h', queue = 'q' }\n",
    );
    let checked = longshore(&database, &["config", "check", "--config", declared.path().to_str().unwrap()]);
    assert_eq!(checked.code, 2, "{checked:?}");
    assert!(
        checked.stderr.contains("sources[0].mapping") && checked.stderr.contains("event_type"),
        "{checked:?}"
    );

    let resources = file(
        "projects:\n  - name: shop\n    sources:\n      - name: q\n        kind: rabbitmq\n        mapping: {event_type: \
         'hedaer:x'}\n        rabbitmq: {host: h, queue: q}\n",
    );
    let applied = longshore(&database, &["apply", "-f", resources.path().to_str().unwrap()]);
    assert_eq!(applied.code, 2, "{applied:?}");
    assert!(applied.stderr.contains("event_type"), "{applied:?}");
}
