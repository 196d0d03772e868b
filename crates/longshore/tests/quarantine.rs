//! `quarantine` as people run it: the program against a real Postgres, from the list to the delivered webhook.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test binary uses a part")]
mod support;

use std::process::Command;
use std::time::Duration;

use longshore_core::ports::{EventLog, PersistBatch, QuarantinedMessage};
use longshore_core::quarantine::{MessageFacts, Reason};
use longshore_core::{Clock, EventId, ProjectId, QuarantineId, SourceId, SystemClock};
use longshore_store::Store;
use longshore_testkit::gateway::Setup;
use longshore_testkit::receiver::Receiver;
use serde_json::Value;
use support::{API_KEY, Database, MASTER_KEY, file, longshore};

const PROJECT: &str = "01JD0000000000000000000SHP";
const SOURCE: &str = "01JD0000000000000000000SRC";
const ENDPOINT: &str = "01JD0000000000000000000END";

fn resources(url: &str) -> String {
    format!(
        "
projects:
  - name: shop
    id: {PROJECT}
    endpoints: [{{name: receiver, id: {ENDPOINT}, url: '{url}', secret: s-one}}]
    subscriptions: [{{name: all, endpoint: receiver}}]
    sources:
      - {{name: orders, id: {SOURCE}, kind: rabbitmq, disabled: true, rabbitmq: {{urls: ['amqp://broker/'], queue: q}}}}
    api_keys: [{{name: k, key: {API_KEY}}}]
"
    )
}

async fn prepared(url: &str) -> (Database, Store) {
    let database = Database::create().await;
    assert_eq!(longshore(&database, &["migrate", "up"]).code, 0);
    let file = file(&resources(url));
    let applied = longshore(&database, &["apply", "-f", file.path().to_str().unwrap()]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let store = database.store().await;
    store.create_partitions(1).await.unwrap();
    (database, store)
}

/// Puts a message into quarantine as ingest does; `n` seconds ago.
async fn quarantine(store: &Store, n: u64, body: &[u8]) -> QuarantineId {
    let now = SystemClock.now();
    let source: SourceId = SOURCE.parse().unwrap();
    let message = QuarantinedMessage {
        id: QuarantineId::from_u128(EventId::derive(source, &n.to_be_bytes(), now).as_u128()),
        project: PROJECT.parse().unwrap(),
        source: Some(source),
        reason: Reason::UnknownEndpoint,
        detail: "`endpoint_id` endpoint not found".to_owned(),
        position: format!("m-{n} orders\u{1b}[2J"),
        facts: MessageFacts {
            message_id: Some(format!("m-{n}")),
            timestamp_ms: Some(now.as_millis()),
            ..MessageFacts::default()
        },
        headers: [("x-tenant".to_owned(), "seven".to_owned())].into_iter().collect(),
        body: body.to_vec().into(),
        received_at: now.before(Duration::from_secs(n)),
    };
    let id = message.id;
    let batch = PersistBatch { quarantined: vec![message], ..PersistBatch::default() };
    store.persist(&batch).await.unwrap();
    id
}

fn envelope(n: u64) -> String {
    format!(r#"{{"event_type":"order.paid","endpoint_id":"{ENDPOINT}","data":{{"n":{n}}}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_right_is_replayed_and_delivered_once() {
    let receiver = Receiver::start().await;
    let (database, store) = prepared(&receiver.url("/hook")).await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(quarantine(&store, n, envelope(n).as_bytes()).await.to_string());
    }
    let poison = quarantine(&store, 4, b"{").await.to_string();

    let one = longshore(&database, &["quarantine", "replay", &ids[0]]);
    assert_eq!(one.code, 0, "{one:?}");
    assert!(one.stdout.contains("stored as event") && one.stdout.ends_with("1 stored\n"), "{one:?}");
    let again = longshore(&database, &["quarantine", "replay", &ids[0]]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stdout.contains("replayed before, as event"), "{again:?}");
    let all = longshore(&database, &["quarantine", "replay", "--all", "--source", "orders"]);
    assert_eq!(all.code, 1, "{all:?}");
    assert!(all.stdout.contains(&format!("{poison}  still no event: undecodable")), "{all:?}");
    assert!(all.stdout.ends_with("2 stored, 1 still no event\n"), "{all:?}");

    let setup = database
        .environment()
        .into_iter()
        .fold(Setup::new(env!("CARGO_BIN_EXE_longshore")), |setup, (name, value)| setup.env(name, value));
    let mut gateway = setup.start().await;
    let mut bodies: Vec<String> = receiver
        .wait_for(3, Duration::from_secs(30))
        .await
        .iter()
        .map(|request| {
            assert_eq!(request.header("x-tenant"), Some("seven"));
            assert_eq!(request.header("content-type"), Some("application/json"));
            String::from_utf8(request.body.to_vec()).unwrap()
        })
        .collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    gateway.sigterm(Duration::from_secs(30)).await;
    let left = longshore(&database, &["quarantine", "list", "--json"]);
    let left: Value = serde_json::from_str(left.stdout.trim()).unwrap();
    assert_eq!(
        (left["id"].as_str().unwrap(), &left["reason"]),
        (poison.as_str(), &Value::from("undecodable"))
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_hides_what_a_message_holds_and_show_tells_it() {
    let (database, store) = prepared("https://a.example.com/").await;
    let text = quarantine(&store, 1, b"{\"secret\": \"swordfish\"}").await.to_string();
    let bytes = quarantine(&store, 7_200, b"\xff\x00\xfe").await.to_string();

    let list = longshore(&database, &["quarantine", "list"]);
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(list.code, 0, "{list:?}");
    assert!(lines[1].starts_with(&text) && lines[2].starts_with(&bytes), "{list:?}");
    assert!(lines[1].contains("shop") && lines[1].contains("orders"), "{list:?}");
    assert_eq!(lines[3], "2 in quarantine: 2 unknown_endpoint");
    assert!(!list.stdout.contains("swordfish"), "{list:?}");
    let json = longshore(&database, &["quarantine", "list", "--json"]);
    assert!(!json.stdout.contains("swordfish") && json.stdout.lines().count() == 2, "{json:?}");

    let shown = longshore(&database, &["quarantine", "show", &text]);
    assert!(shown.stdout.contains("swordfish") && shown.stdout.contains("x-tenant: seven"), "{shown:?}");
    assert!(!shown.stdout.contains('\u{1b}'), "a terminal would obey: {shown:?}");
    let shown = longshore(&database, &["quarantine", "show", &bytes]);
    assert!(
        shown.stdout.contains("3 bytes, not text; in base64") && shown.stdout.contains("/wD+"),
        "{shown:?}"
    );
    let raw = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(["quarantine", "show", &bytes, "--raw"])
        .env_clear()
        .envs(database.environment())
        .output()
        .unwrap();
    assert_eq!(raw.stdout, b"\xff\x00\xfe");

    for (filter, expected) in [
        (["--newer-than", "1h"], "1 in quarantine"),
        (["--older-than", "1h"], "1 in quarantine"),
        (["--reason", "too_large"], "nothing in quarantine"),
        (["--project", "shop"], "2 in quarantine"),
        (["--source", SOURCE], "2 in quarantine"),
        (["--limit", "1"], "2 in quarantine: 2 unknown_endpoint; the newest 1 shown"),
    ] {
        let list = longshore(&database, &[&["quarantine", "list"], &filter[..]].concat());
        assert!(list.stdout.contains(expected), "{filter:?}: {list:?}");
    }
    for (filter, problem) in [
        (["--project", "nobody"], "no project `nobody`"),
        (["--source", "nobody"], "no source `nobody`"),
        (["--reason", "bad"], "expected one of undecodable"),
    ] {
        let list = longshore(&database, &[&["quarantine", "list"], &filter[..]].concat());
        assert!(list.code != 0 && list.stderr.contains(problem), "{filter:?}: {list:?}");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discarding_all_of_them_is_asked_for_twice() {
    let (database, store) = prepared("https://a.example.com/").await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        ids.push(quarantine(&store, n, b"{").await.to_string());
    }

    let one = longshore(&database, &["quarantine", "discard", &ids[0]]);
    assert_eq!((one.code, one.stdout.as_str()), (0, "1 discarded\n"), "{one:?}");
    let gone = longshore(&database, &["quarantine", "discard", &ids[0]]);
    assert!(gone.code == 1 && gone.stderr.contains("1 of the ids are not in quarantine"), "{gone:?}");
    let unsure = longshore(&database, &["quarantine", "discard", "--all"]);
    assert!(unsure.code == 1 && unsure.stderr.contains("deletes 2 messages for good"), "{unsure:?}");
    for wrong in [&["discard"][..], &["discard", &ids[1], "--all"], &["replay", &ids[1], "--project", "shop"]]
    {
        let usage = longshore(&database, &[&["quarantine"], wrong].concat());
        assert_eq!(usage.code, 2, "{wrong:?}: {usage:?}");
    }
    let sure = longshore(&database, &["quarantine", "discard", "--all", "--yes"]);
    assert_eq!((sure.code, sure.stdout.as_str()), (0, "2 discarded\n"), "{sure:?}");
    let shown = longshore(&database, &["quarantine", "show", &ids[1]]);
    assert!(shown.code == 1 && shown.stderr.contains("it was discarded"), "{shown:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_source_can_decode_is_left_out_and_looking_needs_no_master_key() {
    let (database, store) = prepared("https://a.example.com/").await;
    let id = quarantine(&store, 1, envelope(1).as_bytes()).await.to_string();
    let without = file(
        &resources("https://a.example.com/")
            .replace("    sources:\n", "    x:\n")
            .lines()
            .filter(|line| !line.contains("name: orders") && !line.contains("    x:"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    let pruned = longshore(&database, &["apply", "--prune", "-f", without.path().to_str().unwrap()]);
    assert_eq!(pruned.code, 0, "{pruned:?}");

    let replayed = longshore(&database, &["quarantine", "replay", "--all"]);
    assert!(replayed.code == 1 && replayed.stdout.contains("is not declared any more"), "{replayed:?}");

    let mut list = Command::new(env!("CARGO_BIN_EXE_longshore"));
    list.args(["quarantine", "list", "--json"]).env_clear().envs(database.environment());
    let listed = list.env_remove("LONGSHORE__SECURITY__MASTER_KEY").output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && text.contains(&id), "{text}");
    assert!(!text.contains(MASTER_KEY));
    let project: ProjectId = PROJECT.parse().unwrap();
    assert!(text.contains(&project.to_string()));
    store.close().await;
}
