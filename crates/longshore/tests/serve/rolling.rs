//! A secret rolled while webhooks go out: whoever verifies with the old one, or with the new one, never fails.

use std::time::Duration;

use longshore_testkit::gateway::Gateway;
use longshore_testkit::receiver::{Receiver, Request};
use serde_json::Value;

use crate::bed::{ENDPOINT, PATIENCE, Traffic, apply, get, setup, subscribe};
use crate::support::{Database, file, longshore};

/// How long the old secret goes on in these tests.
const OVERLAP: Duration = Duration::from_secs(4);
const OLD: &str = "s-one";

async fn start() -> (Database, Receiver, Gateway) {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let receiver = Receiver::start().await;
    apply(
        &database,
        &format!("{{name: receiver, id: {ENDPOINT}, url: '{}', secret: {OLD}}}", receiver.url("/hook")),
    );
    let gateway = setup(&database).start().await;
    (database, receiver, gateway)
}

fn roll(database: &Database, flags: &[&str]) -> Value {
    let mut args = vec!["endpoints", "roll-secret", "shop", "receiver", "--json"];
    args.extend(flags);
    let rolled = longshore(database, &args);
    assert_eq!(rolled.code, 0, "{rolled:?}");
    serde_json::from_str(&rolled.stdout).unwrap()
}

/// Whether the secret verifies: both forms, since both go out.
fn verifies(request: &Request, secret: &str) -> bool {
    let (standard, contract) = (request.verify_standard(secret), request.verify_contract(secret.as_bytes()));
    assert_eq!(standard.is_ok(), contract.is_ok(), "{standard:?} {contract:?}");
    standard.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_around_a_roll_verify_with_the_old_secret_and_the_new_one() {
    let (database, receiver, gateway) = start().await;
    let traffic = Traffic::start(&[&gateway]);
    receiver.wait_for(20, PATIENCE).await;

    let rolled = roll(&database, &["--expire-in", "4s"]);
    let asked = tokio::time::Instant::now();
    let new = rolled["secret"].as_str().unwrap().to_owned();
    // Until after the old one's end, and then some.
    tokio::time::sleep_until(asked + OVERLAP + Duration::from_secs(1)).await;
    let ended = receiver.count();
    receiver.wait_for(ended + 20, PATIENCE).await;
    let accepted = traffic.stop().await;
    receiver.wait_for_unique(accepted, PATIENCE).await;

    assert_eq!(rolled["beside"], 1);
    let requests = receiver.requests();
    let both: Vec<(bool, bool)> =
        requests.iter().map(|request| (verifies(request, OLD), verifies(request, &new))).collect();
    assert!(both.iter().all(|(old, new)| *old || *new), "a delivery verifies with neither");
    let seen = |wanted: (bool, bool)| both.iter().filter(|found| **found == wanted).count();
    assert!(seen((true, false)) >= 20 && seen((true, true)) >= 20 && seen((false, true)) >= 20, "{both:?}");
    assert_eq!(both.last(), Some(&(false, true)));
    // The order is: old alone, both, new alone; with what was under way at a border.
    let late: Vec<_> = requests
        .iter()
        .zip(&both)
        .filter(|(request, _)| request.at > asked + Duration::from_secs(1))
        .collect();
    assert!(late.iter().all(|(_, (_, new))| *new), "not followed within a second");
    // A file that does not list secrets leaves them.
    apply(&database, &format!("{{name: receiver, id: {ENDPOINT}, url: '{}'}}", receiver.url("/hook")));
    let shown = longshore(&database, &["endpoints", "show", "shop", "receiver", "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["keys"].as_array().unwrap().len(), 2, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ed25519_key_signs_v1a_and_its_public_half_is_published() {
    let (database, receiver, gateway) = start().await;
    let path = format!("/public-keys/{ENDPOINT}");
    let (status, head, body) = get(&gateway, &path).await;
    assert_eq!((status, &body["data"]["keys"]), (200, &Value::Array(Vec::new())), "{body}");
    assert!(head.contains("cache-control: public, max-age=60"), "{head}");

    let rolled = roll(&database, &["--key-type", "ed25519"]);
    let public_key = rolled["public_key"].as_str().unwrap();
    let traffic = Traffic::start(&[&gateway]);
    // Followed within a second: until then the old one signs alone.
    while receiver.requests().last().is_none_or(|request| request.verify_asymmetric(public_key).is_err()) {
        receiver.wait_for(receiver.count() + 1, PATIENCE).await;
    }
    traffic.stop().await;

    let last = receiver.requests().pop().unwrap();
    last.verify_asymmetric(public_key).unwrap();
    assert!(verifies(&last, OLD));
    assert!(last.verify_asymmetric("whpk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").is_err());
    let (_, _, body) = get(&gateway, &path).await;
    let key = &body["data"]["keys"][0];
    assert_eq!((&body["status"], &key["algorithm"]), (&true.into(), &"ed25519".into()));
    assert_eq!((&key["public_key"], &key["expires_at"]), (&public_key.into(), &Value::Null));
    assert!(!body.to_string().contains(OLD));
    let shown = longshore(&database, &["endpoints", "show", "shop", ENDPOINT]);
    assert!(shown.stdout.contains(public_key), "{shown:?}");
    let (status, head, body) = get(&gateway, "/public-keys/01JD0000000000000000000XXX").await;
    assert_eq!((status, &body["status"]), (404, &false.into()));
    assert!(head.contains("no-store"), "{head}");
    assert_eq!(get(&gateway, "/public-keys/nonsense").await.0, 404);
}

#[tokio::test]
async fn a_secret_from_a_file_is_taken_and_not_told_and_what_cannot_be_is_refused() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    subscribe(&database, "https://a.example/");
    let given = file("a-secret-of-ours\n");
    let args =
        ["endpoints", "roll-secret", "shop", "receiver", "--secret-file", given.path().to_str().unwrap()];

    let rolled = longshore(&database, &args);
    assert_eq!(rolled.code, 0, "{rolled:?}");
    assert!(!rolled.stdout.contains("a-secret-of-ours"), "{rolled:?}");

    let again = longshore(&database, &args);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("has this secret already"), "{again:?}");
    let public = file("whpk_AAAA");
    let refused = longshore(
        &database,
        &["endpoints", "roll-secret", "shop", "receiver", "--secret-file", public.path().to_str().unwrap()],
    );
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--secret-file") && refused.stderr.contains("public"), "{refused:?}");
    for _ in 0..3 {
        roll(&database, &[]);
    }
    let full = longshore(&database, &["endpoints", "roll-secret", "shop", "receiver"]);
    assert_eq!(full.code, 1);
    assert!(full.stderr.contains("5 secrets of the endpoint sign already"), "{full:?}");
    let only = longshore(&database, &["endpoints", "roll-secret", "shop", "receiver", "--expire-in", "0s"]);
    assert!(only.stdout.contains("it is the only one that signs"), "{only:?}");
}
