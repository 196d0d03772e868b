//! Endpoints paused and activated by hand under a running gateway.

use std::time::Duration;

use longshore_testkit::database::count;
use longshore_testkit::receiver::Receiver;
use serde_json::Value;

use crate::bed::{ENDPOINT, PATIENCE, apply, post, setup, subscribe};
use crate::support::{Database, Output, longshore};

const EVENT: &str = r#"{"event_type": "order.paid", "data": 1}"#;
const WAITING: &str = "SELECT count(*) FROM schedule WHERE claimed_by IS NULL";

fn endpoints(database: &Database, args: &[&str]) -> Output {
    let output = longshore(database, &[&["endpoints"], args].concat());
    assert_eq!(output.code, 0, "{output:?}");
    output
}

/// How many deliveries wait in Postgres, once all but those were received. Another process gives no signal.
async fn waiting(database: &Database, receiver: &Receiver, accepted: usize) -> usize {
    let settled = tokio::time::timeout(PATIENCE, async {
        loop {
            let waiting = usize::try_from(count(database.inner(), WAITING).await).unwrap();
            if waiting + receiver.unique_ids() == accepted {
                return waiting;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    settled.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_for_a_paused_endpoint_waits_and_goes_out_when_it_is_activated() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    let endpoint =
        format!("{{name: receiver, id: {ENDPOINT}, url: '{}', secret: s-one}}", receiver.url("/hook"));
    apply(&database, &endpoint);
    let gateway = setup(&database).start().await;
    post(&gateway.url("/"), EVENT).await;
    receiver.wait_for(1, PATIENCE).await;

    let paused = endpoints(&database, &["pause", "shop", "receiver"]);
    assert_eq!(paused.stdout, "endpoint `shop/receiver`: active → paused\n");
    let again = endpoints(&database, &["pause", "shop", ENDPOINT]);
    assert_eq!(again.stdout, "endpoint `shop/receiver` is paused already\n");
    // Followed within a second: until then an event may still go out.
    let mut accepted = 1;
    while count(database.inner(), WAITING).await == 0 {
        assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
        accepted += 1;
    }
    for _ in 0..5 {
        assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
        accepted += 1;
    }
    let before = waiting(&database, &receiver, accepted).await;
    assert!(before >= 6, "{before}");
    // Neither a restart nor the file that declares it sends them.
    apply(&database, &endpoint);
    let mut gateway = gateway;
    gateway.sigterm(PATIENCE).await;
    gateway.restart().await;
    assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
    accepted += 1;
    assert_eq!(waiting(&database, &receiver, accepted).await, before + 1);

    let activated = endpoints(&database, &["activate", "shop", "receiver", "--json"]);
    let activated: Value = serde_json::from_str(&activated.stdout).unwrap();
    assert_eq!((&activated["status"], &activated["id"]), (&"active".into(), &ENDPOINT.into()));
    receiver.wait_for_unique(accepted, PATIENCE).await;
    assert_eq!(receiver.count(), accepted);
    assert_eq!(waiting(&database, &receiver, accepted).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_disabled_is_activated_and_its_reason_forgotten() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    let disable =
        "WITH changed AS (UPDATE endpoints SET status = 'inactive', status_reason = 'gone' RETURNING 1)
                   SELECT count(*) FROM changed";
    assert_eq!(count(database.inner(), disable).await, 1);
    let listed = endpoints(&database, &["list", "shop"]);
    assert!(
        listed.stdout.lines().any(|line| line.starts_with("receiver") && line.contains("inactive  gone")),
        "{listed:?}"
    );
    let gateway = setup(&database).start().await;

    let activated = endpoints(&database, &["activate", "shop", "receiver"]);
    assert_eq!(activated.stdout, "endpoint `shop/receiver`: inactive → active\n");

    // What came while it was inactive is discarded: only what comes from now on is sent.
    while receiver.count() == 0 {
        assert_eq!(post(&gateway.url("/"), EVENT).await, 201);
    }
    let listed = endpoints(&database, &["list", "shop", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&listed[0]["status"], &listed[0]["status_reason"]), (&"active".into(), &Value::Null));
}

#[tokio::test]
async fn what_is_not_there_is_said_by_name() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    subscribe(&database, "https://a.example/");

    for (args, said) in [
        (["show", "shop", "nobody"], "project `shop` has no endpoint `nobody`"),
        (["pause", "nowhere", "receiver"], "no project `nowhere`"),
        (["roll-secret", "shop", "nobody"], "project `shop` has no endpoint `nobody`"),
    ] {
        let output = longshore(&database, &[&["endpoints"], &args[..]].concat());
        assert_eq!(output.code, 1);
        assert!(output.stderr.contains(said), "{output:?}");
    }
}
