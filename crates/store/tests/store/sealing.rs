//! Credentials at rest: which key seals them, and the change of the master key under the feet of what runs.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::ports::{EventLog, StoreError};
use longshore_core::{EndpointId, Secret};
use longshore_store::reseal::{SEALED_COLUMNS, SealedValues};
use longshore_store::seal::KeyId;
use longshore_store::{Keys, Profile, Settings, Store, connect};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::bed::{Bed, MASTER, PROJECT};

const NEW: &str = "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn open(bed: &Bed, keys: Keys) -> Store {
    let settings = Settings {
        url: Secret::new(bed.database.url()),
        max_connections: 3,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
        lease: Duration::from_secs(10),
        profile: Profile::Hot,
    };
    connect(&settings, keys).await.unwrap()
}

fn old() -> Keys {
    Keys::parse(MASTER).unwrap()
}

fn new() -> Keys {
    Keys::parse(NEW).unwrap()
}

fn both() -> Keys {
    new().and_previous(MASTER).unwrap()
}

/// One row in each table that holds something sealed, endpoints excepted: `endpoints` of them.
async fn fill(bed: &Bed, keys: &Keys, endpoints: u128) {
    let project = PROJECT.as_uuid();
    let seal = |plain: &str, id: uuid::Uuid| {
        keys.seal(plain.as_bytes(), id.as_bytes(), &mut StdRng::from_os_rng()).unwrap()
    };
    sqlx::query("INSERT INTO projects (id, name, sealed_credentials) VALUES ($1, 'p', $2)")
        .bind(project)
        .bind(seal("{}", project))
        .execute(&bed.sql)
        .await
        .unwrap();
    for number in 1..=endpoints {
        let id = uuid::Uuid::from_u128(number);
        sqlx::query("INSERT INTO endpoints (project_id, id, name, url, sealed_credentials) VALUES ($1, $2, 'e', 'https://a.example/', $3)")
            .bind(project)
            .bind(id)
            .bind(seal(r#"{"headers": {"x-a": "1"}}"#, id))
            .execute(&bed.sql)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed) VALUES ($1, $2, $2, $3)",
        )
        .bind(project)
        .bind(id)
        .bind(seal(SECRET, id))
        .execute(&bed.sql)
        .await
        .unwrap();
    }
    let source = uuid::Uuid::from_u128(7);
    sqlx::query("INSERT INTO sources (project_id, id, name, kind, sealed_config) VALUES ($1, $2, 'q', 'rabbitmq', $3)")
        .bind(project)
        .bind(source)
        .bind(seal("{}", source))
        .execute(&bed.sql)
        .await
        .unwrap();
}

async fn add_api_key(bed: &Bed, hash: &[u8]) {
    sqlx::query("INSERT INTO api_keys (project_id, id, name, hash) VALUES ($1, $2, 'k', $3)")
        .bind(PROJECT.as_uuid())
        .bind(uuid::Uuid::from_u128(4))
        .bind(hash)
        .execute(&bed.sql)
        .await
        .unwrap();
}

/// Values by key, over all columns.
async fn by_key(store: &Store) -> BTreeMap<KeyId, usize> {
    let mut sum = BTreeMap::new();
    for SealedValues { by_key, unopened, .. } in store.sealed_values().await.unwrap() {
        assert!(unopened.is_empty());
        by_key.into_iter().for_each(|(key, count)| *sum.entry(key).or_default() += count);
    }
    sum
}

#[tokio::test]
async fn every_sealed_column_of_the_schema_is_on_the_list() {
    let bed = Bed::new().await;
    let schema: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'bytea' AND column_name LIKE 'sealed%' ORDER BY 1, 2",
    )
    .fetch_all(&bed.sql)
    .await
    .unwrap();

    let mut listed: Vec<_> =
        SEALED_COLUMNS.iter().map(|it| (it.table.to_owned(), it.column.to_owned())).collect();
    listed.sort();
    assert_eq!(schema, listed, "add the column to `SEALED_COLUMNS`, or the master key cannot be changed");
}

#[tokio::test]
async fn after_a_rotation_the_old_key_is_of_no_use_and_the_new_one_opens_everything() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 250).await;
    let before = open(&bed, old()).await;
    let hash = before.api_key_hasher().await.unwrap().hash("CO.key");
    add_api_key(&bed, &hash).await;
    let during = open(&bed, both()).await;
    assert_eq!(by_key(&during).await, BTreeMap::from([(old().current(), 503)]));

    let mut resealed = 0;
    for column in SEALED_COLUMNS {
        let done = during.reseal(*column).await.unwrap();
        assert_eq!((done.unopened.len(), done.missed), (0, 0));
        resealed += done.resealed;
    }

    assert_eq!(resealed, 503);
    assert_eq!(by_key(&during).await, BTreeMap::from([(new().current(), 503)]));
    let again = during.reseal(SEALED_COLUMNS[0]).await.unwrap();
    assert_eq!(again.resealed, 0);
    let after = open(&bed, new()).await;
    let config = after.load_config().await.unwrap();
    let endpoint = config.snapshot.endpoint(EndpointId::from_u128(250)).unwrap();
    assert_eq!((endpoint.keys.len(), endpoint.credentials.headers.len()), (1, 1));
    assert!(config.api_keys.contains_key(&after.api_key_hasher().await.unwrap().hash("CO.key")));
    let error = before.load_config().await.unwrap_err().to_string();
    assert!(error.contains(&new().current().to_string()), "{error}");
}

#[tokio::test]
async fn values_of_the_first_format_are_opened_told_and_sealed_anew() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 1).await;
    // The first format has no key id; the rest is the same but for what is authenticated. Made by another library.
    let first: Vec<u8> = hex(FIRST_FORMAT_OF_ROW_1);
    sqlx::query("UPDATE endpoint_secrets SET sealed = $1").bind(first).execute(&bed.sql).await.unwrap();
    let store = open(&bed, old()).await;
    assert_eq!(store.load_config().await.unwrap().snapshot.endpoints().count(), 1);

    let done = store.reseal(SEALED_COLUMNS[0]).await.unwrap();

    assert_eq!((done.column.table, done.resealed), ("endpoint_secrets", 1));
    let values = &store.sealed_values().await.unwrap()[0];
    assert_eq!(values.by_key, BTreeMap::from([(old().current(), 1)]));
    assert_eq!(bed.count("SELECT get_byte(sealed, 0)::int8 FROM endpoint_secrets").await, 2);
    assert_eq!(store.load_config().await.unwrap().snapshot.endpoints().count(), 1);
}

const FIRST_FORMAT_OF_ROW_1: &str = "01000102030405060708090a0b275adc99db303b956b398c867bee26cf0173cba25fbc87d315521f9bf67175c7a7e001d0736d8b57039118e5777570d953aa633cbc1833b8d994652925097320129a";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_left_alone() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 2).await;
    bed.run(
        "UPDATE endpoint_secrets SET sealed = '\\x0200' WHERE id = '00000000-0000-0000-0000-000000000001'",
    )
    .await;
    let store = open(&bed, both()).await;

    let done = store.reseal(SEALED_COLUMNS[0]).await.unwrap();

    assert_eq!((done.resealed, done.unopened), (1, vec![uuid::Uuid::from_u128(1)]));
    let values = &store.sealed_values().await.unwrap()[0];
    assert_eq!((values.unopened.len(), values.by_key.len()), (1, 1));
    assert_eq!(bed.count("SELECT count(*) FROM endpoint_secrets WHERE sealed = '\\x0200'").await, 1);
}

#[tokio::test]
async fn what_others_write_during_a_rotation_is_not_lost() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 300).await;
    // A process that was not restarted yet: it still seals with the old key.
    let writing = open(&bed, old().and_previous(NEW).unwrap()).await;
    let rotating = open(&bed, both()).await;
    let endpoint = |number| EndpointId::from_u128(number);
    let write = async {
        for number in 1..=20 {
            let secret = Secret::new(format!("secret-{number}"));
            let rolled = writing.roll_secret(PROJECT, endpoint(number * 15), &secret, Duration::ZERO).await;
            rolled.unwrap().unwrap();
        }
    };
    let rotate = async {
        for _ in 0..10 {
            rotating.reseal(SEALED_COLUMNS[0]).await.unwrap();
        }
    };

    tokio::join!(write, rotate);

    rotating.reseal(SEALED_COLUMNS[0]).await.unwrap();
    let after = open(&bed, both()).await;
    for number in 1..=20 {
        let secrets = after.endpoint_secrets(PROJECT, endpoint(number * 15)).await.unwrap();
        assert_eq!(secrets.len(), 2);
        assert!(secrets[0].expires_at.is_some() && secrets[1].expires_at.is_none());
    }
    let values = &after.sealed_values().await.unwrap()[0];
    assert_eq!(values.by_key, BTreeMap::from([(new().current(), 320)]));
}

#[tokio::test]
async fn a_value_that_changes_between_reading_and_writing_keeps_what_was_written() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 5).await;
    let rotating = open(&bed, both()).await;
    let id = uuid::Uuid::from_u128(3);
    let written = old().seal(b"written meanwhile", id.as_bytes(), &mut StdRng::from_os_rng()).unwrap();
    let mut transaction = bed.sql.begin().await.unwrap();
    // Whoever wants to write waits; whoever reads does not.
    sqlx::query("LOCK TABLE endpoint_secrets IN EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    sqlx::query("UPDATE endpoint_secrets SET sealed = $1 WHERE id = $2")
        .bind(written)
        .bind(id)
        .execute(&mut *transaction)
        .await
        .unwrap();

    let rotation = tokio::spawn(async move { rotating.reseal(SEALED_COLUMNS[0]).await.unwrap() });
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waits = tokio::time::timeout(Duration::from_secs(4), async {
        while bed.count(blocked).await == 0 {
            tokio::task::yield_now().await; // another session gives no signal
        }
    });
    waits.await.unwrap();
    transaction.commit().await.unwrap();

    assert_eq!(rotation.await.unwrap().resealed, 5);
    let stored = sqlx::query_scalar::<_, Vec<u8>>("SELECT sealed FROM endpoint_secrets WHERE id = $1");
    let stored = stored.bind(id).fetch_one(&bed.sql).await.unwrap();
    assert_eq!(new().open(&stored, id.as_bytes()).unwrap(), b"written meanwhile");
}

#[tokio::test]
async fn a_row_that_somebody_has_in_hand_is_left_for_later_and_no_process_loads_anew() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 5).await;
    let rotating = open(&bed, both()).await;
    let mut transaction = bed.sql.begin().await.unwrap();
    sqlx::query("UPDATE endpoint_secrets SET expires_at = now() WHERE id = $1")
        .bind(uuid::Uuid::from_u128(3))
        .execute(&mut *transaction)
        .await
        .unwrap();
    let before = rotating.config_version().await.unwrap();

    let done = rotating.reseal(SEALED_COLUMNS[0]).await.unwrap();

    assert_eq!((done.resealed, done.missed), (4, 1));
    assert_eq!(rotating.config_version().await.unwrap(), before);
    transaction.commit().await.unwrap();
    let done = rotating.reseal(SEALED_COLUMNS[0]).await.unwrap();
    assert_eq!((done.resealed, done.missed), (1, 0));
    assert_eq!(rotating.config_version().await.unwrap(), before + 1, "by the transaction alone");
}

#[tokio::test]
async fn api_keys_of_earlier_versions_stay_valid_whichever_key_comes_first() {
    // The HMAC of `CO.key` as versions without a pepper stored it, by another library.
    let hash = hex(HASH_OF_EARLIER_VERSIONS);

    let bed = Bed::new().await;
    fill(&bed, &old(), 1).await;
    add_api_key(&bed, &hash).await;
    let hasher = open(&bed, old()).await.api_key_hasher().await.unwrap();
    assert_eq!(hasher.hash("CO.key")[..], hash);

    // Started with both keys at once, it tells by what is sealed in the first format.
    let bed = Bed::new().await;
    fill(&bed, &old(), 1).await;
    add_api_key(&bed, &hash).await;
    bed.run(&format!("UPDATE endpoint_secrets SET sealed = '\\x{FIRST_FORMAT_OF_ROW_1}'")).await;
    let hasher = open(&bed, both()).await.api_key_hasher().await.unwrap();
    assert_eq!(hasher.hash("CO.key")[..], hash);
}

const HASH_OF_EARLIER_VERSIONS: &str = "fb5dfef4ebaf3e6dd682e24ba44ed3003a67f5f878547cf942fe34b19a667d9b";

#[tokio::test]
async fn a_pepper_is_not_made_on_a_guess() {
    let bed = Bed::new().await;
    fill(&bed, &old(), 1).await;
    add_api_key(&bed, &[1; 32]).await;

    let guess = open(&bed, both()).await.api_key_hasher().await.unwrap_err();
    assert!(matches!(&guess, StoreError::Misconfigured(text) if text.contains("alone")), "{guess}");
    let wrong = open(&bed, new()).await.api_key_hasher().await.unwrap_err();
    assert!(matches!(&wrong, StoreError::Misconfigured(text) if text.contains("master key")), "{wrong}");
    assert_eq!(bed.count("SELECT count(*) FROM installation_secrets").await, 0);
}

#[tokio::test]
async fn however_many_start_at_once_there_is_one_pepper() {
    let bed = Bed::new().await;
    let (one, two) = (open(&bed, old()).await, open(&bed, old()).await);

    let (a, b) = tokio::join!(one.api_key_hasher(), two.api_key_hasher());

    assert_eq!(a.unwrap().hash("x"), b.unwrap().hash("x"));
    assert_eq!(bed.count("SELECT count(*) FROM installation_secrets").await, 1);
}
