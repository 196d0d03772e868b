//! The master key changed under running gateways, in the documented steps, with events coming in all the while.

use longshore_testkit::gateway::{Gateway, Setup};
use longshore_testkit::receiver::Receiver;
use serde_json::Value;

use crate::bed::{PATIENCE, Traffic, post, setup, subscribe};
use crate::support::{Database, MASTER_KEY, longshore};

const NEW_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn with_keys(database: &Database, current: &str, previous: &str) -> Setup {
    setup(database)
        .env("LONGSHORE__SECURITY__MASTER_KEY", current)
        .env("LONGSHORE__SECURITY__PREVIOUS_MASTER_KEYS", previous)
}

async fn status(setup: &Setup) -> Value {
    serde_json::from_str(&setup.run_ok(["keys", "status", "--json"]).await).unwrap()
}

/// Takes one of two gateways out, and puts one with other keys in its place.
async fn replace(old: Gateway, other: &Gateway, traffic: &Traffic, setup: Setup) -> Gateway {
    let mut old = old;
    traffic.only(&[other]).await;
    assert_eq!(old.sigterm(PATIENCE).await.code(), Some(0));
    let new = setup.start().await;
    traffic.only(&[&new, other]).await;
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_changed_under_traffic_and_the_old_one_removed() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    subscribe(&database, &receiver.url("/hook"));
    let stage = |current: &str, previous: &str| with_keys(&database, current, previous);
    let (mut one, mut two) = (stage(MASTER_KEY, "").start().await, stage(MASTER_KEY, "").start().await);
    let traffic = Traffic::start(&[&one, &two]);

    // 1. Every process can open what the new key seals. 2. Every process seals with it.
    for (current, previous) in [(MASTER_KEY, NEW_KEY), (NEW_KEY, MASTER_KEY)] {
        one = replace(one, &two, &traffic, stage(current, previous)).await;
        two = replace(two, &one, &traffic, stage(current, previous)).await;
    }
    let operator = stage(NEW_KEY, MASTER_KEY);
    let before = status(&operator).await;
    assert_eq!(before["previous"][0]["can_be_removed"], false, "{before}");
    // 3. Everything is sealed anew. A new secret, under the eyes of both.
    let rotated = operator.run_ok(["keys", "rotate"]).await;
    assert!(rotated.contains("endpoint_secrets.sealed: 1 sealed anew"), "{rotated}");
    assert!(rotated.contains("it can be removed once every process has the current key"), "{rotated}");
    let again = operator.run_ok(["keys", "rotate"]).await;
    assert!(again.contains("endpoint_secrets.sealed: 0 sealed anew"), "{again}");
    operator.run_ok(["endpoints", "roll-secret", "shop", "receiver"]).await;
    let after = status(&operator).await;
    assert_eq!(
        (&after["previous"][0]["can_be_removed"], &after["unopened"]),
        (&true.into(), &0.into()),
        "{after}"
    );
    // 4. The old key is gone.
    one = replace(one, &two, &traffic, stage(NEW_KEY, "")).await;
    two = replace(two, &one, &traffic, stage(NEW_KEY, "")).await;

    let accepted = traffic.stop().await;
    receiver.wait_for_unique(accepted, PATIENCE).await;
    assert_eq!(receiver.unique_ids(), accepted);
    for request in receiver.requests() {
        request.verify_standard("s-one").unwrap();
    }
    assert_eq!(post(&two.url("/"), r#"{"event_type": "a", "data": 1}"#).await, 201);
    for gateway in [&one, &two] {
        assert!(!gateway.log().contains("configuration not refreshed"), "{}", gateway.log());
    }
    let refused = stage(MASTER_KEY, "").run(["serve"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("previous_master_keys"), "{refused:?}");
}

#[tokio::test]
async fn a_value_that_no_key_opens_is_a_failure_of_status_and_named() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    subscribe(&database, "https://a.example/");
    let wrong = with_keys(&database, NEW_KEY, "");

    let status = wrong.run(["keys", "status"]).await;
    assert_eq!(status.status.code(), Some(1));
    let (table, said) = (String::from_utf8_lossy(&status.stdout), String::from_utf8_lossy(&status.stderr));
    assert!(table.contains("endpoint_secrets.sealed") && table.contains("does not open  1"), "{table}");
    assert!(said.contains("2 stored credentials do not open"), "{said}");

    let rotated = wrong.run(["keys", "rotate"]).await;
    assert_eq!(rotated.status.code(), Some(1));
    let said = String::from_utf8_lossy(&rotated.stderr);
    assert!(said.contains("what API keys are hashed with") && said.contains("master key"), "{said}");
}
