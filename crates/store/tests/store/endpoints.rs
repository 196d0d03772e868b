//! One endpoint changed by hand: its status, and its secrets rolled.

use std::time::Duration;

use longshore_core::endpoint::{EndpointStatus, LONGEST_OVERLAP, MAX_LIVE_SECRETS};
use longshore_core::ports::{EventLog, StoreError};
use longshore_core::{Clock, EndpointId, Secret, SystemClock};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, PROJECT};

const DAY: Duration = Duration::from_secs(86_400);
const NOWHERE: EndpointId = EndpointId::from_u128(404);

async fn bed() -> (Bed, Store) {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let (project, endpoint) = (PROJECT.as_uuid(), ENDPOINT.as_uuid());
    bed.run(&format!("INSERT INTO projects (id, name) VALUES ('{project}', 'p')")).await;
    bed.run(&format!(
        "INSERT INTO endpoints (project_id, id, name, url) VALUES ('{project}', '{endpoint}', 'e', 'https://a.example/')"
    ))
    .await;
    (bed, store)
}

fn secret(number: usize) -> Secret<String> {
    Secret::new(format!("secret-{number}"))
}

async fn live(store: &Store) -> usize {
    let config = store.load_config().await.unwrap();
    config.snapshot.endpoint(ENDPOINT).unwrap().live_keys(SystemClock.now()).count()
}

async fn rejection(store: &Store, secret: &Secret<String>, overlap: Duration) -> String {
    match store.roll_secret(PROJECT, ENDPOINT, secret, overlap).await {
        Err(StoreError::Rejected(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_rolled_secret_signs_beside_the_old_one_which_gets_its_end() {
    let (bed, store) = bed().await;

    let first = store.roll_secret(PROJECT, ENDPOINT, &secret(1), DAY).await.unwrap().unwrap();
    let second = store.roll_secret(PROJECT, ENDPOINT, &secret(2), DAY).await.unwrap().unwrap();

    assert_eq!((first.beside, second.beside), (0, 1));
    let secrets = store.endpoint_secrets(PROJECT, ENDPOINT).await.unwrap();
    let ends: Vec<_> = secrets.iter().map(|secret| secret.expires_at).collect();
    assert_eq!(ends, [Some(second.until), None]);
    assert!(second.until.since(SystemClock.now()).abs_diff(DAY) < Duration::from_secs(60));
    assert_eq!(live(&store).await, 2);
    assert_eq!(
        bed.count("SELECT count(*) FROM endpoint_secrets WHERE sealed LIKE '%secret-%'::bytea").await,
        0
    );
}

#[tokio::test]
async fn an_end_that_is_sooner_stays_and_one_that_is_later_is_brought_forward() {
    let (_bed, store) = bed().await;
    store.roll_secret(PROJECT, ENDPOINT, &secret(1), DAY).await.unwrap();
    let sooner = store.roll_secret(PROJECT, ENDPOINT, &secret(2), DAY / 24).await.unwrap().unwrap();
    store.roll_secret(PROJECT, ENDPOINT, &secret(3), DAY).await.unwrap();
    let secrets = store.endpoint_secrets(PROJECT, ENDPOINT).await.unwrap();
    assert_eq!(secrets[0].expires_at, Some(sooner.until));

    let now = store.roll_secret(PROJECT, ENDPOINT, &secret(4), Duration::ZERO).await.unwrap().unwrap();

    assert_eq!((now.beside, live(&store).await), (0, 1));
}

#[tokio::test]
async fn too_many_live_secrets_and_what_cannot_sign_are_refused_and_change_nothing() {
    let (_bed, store) = bed().await;
    for number in 0..MAX_LIVE_SECRETS {
        store.roll_secret(PROJECT, ENDPOINT, &secret(number), DAY).await.unwrap();
    }

    assert!(rejection(&store, &secret(9), DAY).await.contains("5 secrets"));
    assert!(rejection(&store, &secret(0), DAY).await.contains("has this secret already"));
    assert!(rejection(&store, &Secret::new(String::new()), DAY).await.contains("empty"));
    assert!(rejection(&store, &secret(9), LONGEST_OVERLAP + DAY).await.contains("a year"));
    assert_eq!(store.roll_secret(PROJECT, NOWHERE, &secret(9), DAY).await.unwrap(), None);
    assert_eq!(live(&store).await, MAX_LIVE_SECRETS);

    store.roll_secret(PROJECT, ENDPOINT, &secret(9), Duration::ZERO).await.unwrap();
    assert_eq!(live(&store).await, 1);
}

#[tokio::test]
async fn rolls_at_once_are_counted_one_after_the_other() {
    let (_bed, store) = bed().await;
    let rolls = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.roll_secret(PROJECT, ENDPOINT, &secret(number), DAY).await.is_ok() })
    });
    let rolls: Vec<_> = rolls.collect();
    let mut succeeded = 0;
    for roll in rolls {
        succeeded += usize::from(roll.await.unwrap());
    }

    assert_eq!((succeeded, live(&store).await), (MAX_LIVE_SECRETS, MAX_LIVE_SECRETS));
}

#[tokio::test]
async fn what_ended_long_ago_goes_with_the_next_roll() {
    let (bed, store) = bed().await;
    store.roll_secret(PROJECT, ENDPOINT, &secret(1), DAY).await.unwrap();
    store.roll_secret(PROJECT, ENDPOINT, &secret(2), DAY).await.unwrap();
    bed.run(
        "UPDATE endpoint_secrets SET expires_at = now() - interval '25 hours' WHERE expires_at IS NOT NULL",
    )
    .await;

    store.roll_secret(PROJECT, ENDPOINT, &secret(3), DAY).await.unwrap();

    assert_eq!(bed.count("SELECT count(*) FROM endpoint_secrets").await, 2);
}

#[tokio::test]
async fn a_status_set_by_hand_has_no_reason_and_says_what_was() {
    let (bed, store) = bed().await;
    bed.run("UPDATE endpoints SET status = 'inactive', status_reason = 'gone'").await;
    let set = async |status| store.set_endpoint_status(PROJECT, ENDPOINT, status).await.unwrap();

    assert_eq!(set(EndpointStatus::Active).await, Some(EndpointStatus::Inactive));
    let found = store.endpoint_summaries(PROJECT).await.unwrap().remove(0);
    assert_eq!((found.status, found.status_reason), (EndpointStatus::Active, None));
    assert!(found.status_changed_at.is_some());
    let version = store.config_version().await.unwrap();
    assert_eq!(set(EndpointStatus::Active).await, Some(EndpointStatus::Active));
    assert_eq!(set(EndpointStatus::Paused).await, Some(EndpointStatus::Active));
    assert!(store.config_version().await.unwrap() > version);
    assert_eq!(store.set_endpoint_status(PROJECT, NOWHERE, EndpointStatus::Active).await.unwrap(), None);
}
