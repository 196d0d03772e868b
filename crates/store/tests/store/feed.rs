//! The configuration: followed within a second, sealed at rest.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::{DynamicEndpoint, EventLog, StoreError};
use longshore_core::{EndpointId, Secret, Snapshot, SourceId, SubscriptionId};
use longshore_store::admin::{Change, Managed, SourceSpec};
use longshore_store::{ApiKeyOwner, Config, Feed, Keys, Profile, Settings, Store, connect};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::bed::{Bed, MASTER, PROJECT};

const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn seal(store: &Store, plain: &str, id: u128) -> Vec<u8> {
    let id = uuid::Uuid::from_u128(id);
    store.keys().seal(plain.as_bytes(), id.as_bytes(), &mut StdRng::from_os_rng()).unwrap()
}

async fn project(bed: &Bed) {
    bed.run(&format!("INSERT INTO projects (id, name) VALUES ('{}', 'p')", PROJECT.as_uuid())).await;
}

async fn endpoint(bed: &Bed, store: &Store, id: u128) {
    let (project, endpoint) = (PROJECT.as_uuid(), uuid::Uuid::from_u128(id));
    bed.run(&format!(
        "INSERT INTO endpoints (project_id, id, name, url) VALUES ('{project}', '{endpoint}', 'e', 'https://a.example/{id}')"
    ))
    .await;
    sqlx::query("INSERT INTO endpoint_secrets (project_id, endpoint_id, id, sealed) VALUES ($1, $2, $2, $3)")
        .bind(project)
        .bind(endpoint)
        .bind(seal(store, SECRET, id))
        .execute(&bed.sql)
        .await
        .unwrap();
}

struct Following {
    config: watch::Receiver<Arc<Config>>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    _stop: DropGuard,
}

impl Following {
    fn start(store: &Store) -> Self {
        let (config_sender, config) = watch::channel(Arc::default());
        let (snapshot_sender, snapshot) = watch::channel(Arc::default());
        let stop = CancellationToken::new();
        let (store, token) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            store.follow_config(Feed { config: config_sender, snapshot: snapshot_sender }, token).await;
        });
        Self { config, snapshot, _stop: stop.drop_guard() }
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Config) -> bool) {
        let followed =
            tokio::time::timeout(Duration::from_secs(1), self.config.wait_for(|config| holds(config))).await;
        assert!(followed.is_ok(), "{what} is not followed within a second");
        drop(followed);
        let (config, snapshot) = (self.config.borrow().clone(), self.snapshot.borrow().clone());
        assert_eq!(config.version, snapshot.version());
    }
}

#[tokio::test]
async fn a_change_of_every_table_is_followed_within_a_second() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut feed = Following::start(&store);
    let (id, subscription, source) = (EndpointId::from_u128(1), SubscriptionId::from_u128(2), 3);
    feed.until("nothing", |config| config.version > 0).await;

    project(&bed).await;
    feed.until("a project", |config| config.snapshot.project(PROJECT).is_some()).await;
    endpoint(&bed, &store, 1).await;
    let has_key =
        |config: &Config| config.snapshot.endpoint(id).is_some_and(|endpoint| endpoint.keys.len() == 1);
    feed.until("an endpoint with its secret", has_key).await;
    bed.run(&format!(
        "INSERT INTO subscriptions (project_id, id, endpoint_id, name, event_types, filters, retry) VALUES
         ('{}', '{}', '{}', 's', '{{invoice.*}}', '[{{\"event_type\": \"*\", \"body\": {{\"a\": 1}}}}]',
          '{{\"type\": \"list\", \"delays\": [\"5s\"]}}')",
        PROJECT.as_uuid(),
        subscription.as_uuid(),
        id.as_uuid()
    ))
    .await;
    feed.until("a subscription", |config| {
        config.snapshot.subscription(subscription).is_some_and(|found| found.filter_for("a").is_some())
            && config.snapshot.retry_schedule(PROJECT, Some(subscription)).attempts() == 2
    })
    .await;
    sqlx::query("INSERT INTO sources (project_id, id, name, kind, sealed_config) VALUES ($1, $2, 'q', 'rabbitmq', $3)")
        .bind(PROJECT.as_uuid())
        .bind(uuid::Uuid::from_u128(source))
        .bind(seal(&store, "{\"queue\": \"q\"}", source))
        .execute(&bed.sql)
        .await
        .unwrap();
    feed.until("a source", |config| {
        config
            .sources
            .first()
            .is_some_and(|found| found.config.expose() == "{\"queue\": \"q\"}" && found.mapping == "{}")
    })
    .await;
    bed.run("UPDATE sources SET mapping = '{\"format\": \"cloudevents\"}'").await;
    feed.until("a mapping", |config| {
        config.sources.first().is_some_and(|found| found.mapping == "{\"format\": \"cloudevents\"}")
    })
    .await;
    let hasher = store.api_key_hasher().await.unwrap();
    sqlx::query("INSERT INTO api_keys (project_id, id, name, hash) VALUES ($1, $2, 'k', $3)")
        .bind(PROJECT.as_uuid())
        .bind(uuid::Uuid::from_u128(4))
        .bind(&hasher.hash("CO.key")[..])
        .execute(&bed.sql)
        .await
        .unwrap();
    let hash = hasher.hash("CO.key");
    feed.until("an API key", |config| {
        config.api_keys.get(&hash).is_some_and(|key| matches!(key.owner, ApiKeyOwner::Project(PROJECT, _)))
    })
    .await;
    bed.run("UPDATE endpoints SET status = 'paused'").await;
    feed.until("an update", |config| {
        config
            .snapshot
            .endpoint(id)
            .is_some_and(|found| found.status == longshore_core::EndpointStatus::Paused)
    })
    .await;
    bed.run("DELETE FROM projects").await;
    feed.until("a removal", |config| {
        config.snapshot.endpoint(id).is_none() && config.sources.is_empty() && config.api_keys.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_named_and_the_last_good_configuration_stays() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    project(&bed).await;
    endpoint(&bed, &store, 1).await;
    let mut feed = Following::start(&store);
    feed.until("the first", |config| config.snapshot.endpoint(EndpointId::from_u128(1)).is_some()).await;

    bed.run("UPDATE endpoints SET url = 'nowhere'").await;

    let error = store.load_config().await.unwrap_err();
    assert!(matches!(&error, StoreError::Misconfigured(text) if text.contains("endpoints row")), "{error}");
    assert!(feed.config.borrow().snapshot.endpoint(EndpointId::from_u128(1)).is_some());
    bed.run("UPDATE endpoints SET url = 'https://b.example/'").await;
    feed.until("the repaired one", |config| {
        config
            .snapshot
            .endpoint(EndpointId::from_u128(1))
            .is_some_and(|found| found.url.as_str() == "https://b.example/")
    })
    .await;
}

#[tokio::test]
async fn a_wrong_master_key_is_said_to_be_that() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    project(&bed).await;
    endpoint(&bed, &store, 1).await;
    let settings = Settings {
        url: Secret::new(bed.database.url()),
        max_connections: 1,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
        lease: Duration::from_secs(10),
        profile: Profile::Hot,
    };
    let other = Keys::parse(&MASTER.replace("AAE", "AQE")).unwrap();
    let other = connect(&settings, other).await.unwrap();

    let error = other.load_config().await.unwrap_err().to_string();

    assert!(error.contains("endpoint_secrets row") && error.contains("master key"), "{error}");
    assert!(store.load_config().await.is_ok());
}

#[tokio::test]
async fn a_dynamic_endpoint_is_registered_once_by_however_many() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    project(&bed).await;
    let wanted = |path: &str, secret: Option<&str>, pattern: &str| {
        let url: url::Url = format!("https://d.example/{path}").parse().unwrap();
        DynamicEndpoint {
            id: EndpointId::derive(PROJECT, url.as_str()),
            project: PROJECT,
            url,
            secret: secret.map(|text| Secret::new(text.to_owned())),
            event_types: vec![pattern.parse().unwrap()],
        }
    };
    let forth = [wanted("a", Some(SECRET), "*"), wanted("b", None, "*")];
    let back = [wanted("b", None, "*"), wanted("a", Some("another"), "*")];
    let before = one.config_version().await.unwrap();

    let (a, b) = tokio::join!(one.register_dynamic(&forth), two.register_dynamic(&back));
    a.unwrap();
    b.unwrap();
    one.register_dynamic(&[wanted("a", None, "invoice.*")]).await.unwrap();

    assert!(one.config_version().await.unwrap() > before);
    let config = one.load_config().await.unwrap();
    assert_eq!((config.snapshot.endpoints().count(), config.snapshot.subscriptions().count()), (2, 2));
    for wanted in &forth {
        let found = config.snapshot.endpoint_by_url(PROJECT, wanted.url.as_str()).unwrap();
        assert_eq!((found.id, found.keys.len()), (wanted.id, 1));
    }
    let first = config.snapshot.subscription(SubscriptionId::derive(forth[0].id)).unwrap();
    assert_eq!(first.event_types, ["invoice.*".parse().unwrap()]);
}

#[tokio::test]
async fn a_sources_mapping_is_written_and_read_as_text() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    project(&bed).await;
    let source = |mapping: &str| Managed {
        id: SourceId::from_u128(7),
        spec: SourceSpec {
            name: "orders".to_owned(),
            kind: "kafka".to_owned(),
            workers: 1,
            is_disabled: false,
            settings: Secret::new(serde_json::json!({"topic": "t"})),
            mapping: mapping.to_owned(),
        },
    };

    for mapping in ["{}", r#"{"b": 1,  "a": "\u00e9"}"#] {
        let mut session = store.begin_apply().await.unwrap();
        session.write(&[Change::PutSource(PROJECT, source(mapping))]).await.unwrap();
        session.commit().await.unwrap();

        let mut session = store.begin_apply().await.unwrap();
        assert_eq!(session.load("p").await.unwrap().unwrap().sources, [source(mapping)]);
        assert_eq!(store.directory().await.unwrap().sources[0].mapping, mapping);
    }
}

#[tokio::test]
async fn a_catalogue_is_there_for_projects_that_hold_their_events_against_it() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    project(&bed).await;
    let add = async |id: u128, name: &str, schema: &str| {
        let (project, id) = (PROJECT.as_uuid(), uuid::Uuid::from_u128(id));
        bed.run(&format!(
            "INSERT INTO event_types (project_id, id, name, json_schema) VALUES ('{project}', '{id}', '{name}', {schema})"
        ))
        .await;
    };
    let mut feed = Following::start(&store);
    feed.until("nothing", |config| config.snapshot.project(PROJECT).is_some()).await;
    assert!(store.load_config().await.unwrap().snapshot.catalogue(PROJECT).is_none());

    let event = |event_type: &str, body: &'static str| longshore_core::Event {
        id: longshore_core::EventId::from_u128(1),
        project: PROJECT,
        source: None,
        target: longshore_core::event::Target::Broadcast,
        event_type: event_type.to_owned(),
        body: bytes::Bytes::from_static(body.as_bytes()),
        headers: longshore_core::Headers::default(),
        idempotency_key: None,
        received_at: longshore_core::Timestamp::EPOCH,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    };
    let takes = |config: &Config, event_type: &str, body| {
        config.snapshot.catalogue(PROJECT).is_some_and(|known| known.check(&event(event_type, body)).is_ok())
    };
    bed.run(r#"UPDATE projects SET settings = '{"event_types": "known"}'"#).await;
    feed.until("an empty catalogue", |config| config.snapshot.catalogue(PROJECT).is_some()).await;
    assert!(!takes(&feed.config.borrow().clone(), "a", "1"));
    add(1, "a", r#"'{"type": "string"}'"#).await;
    add(2, "b", r#"'{"type": 7}'"#).await;
    feed.until("its types", |config| takes(config, "a", "1") && takes(config, "b", "1")).await;
    assert!(!takes(&feed.config.borrow().clone(), "c", "1"));

    bed.run(r#"UPDATE projects SET settings = '{"event_types": "valid"}'"#).await;
    feed.until("its schemas", |config| !takes(config, "a", "1") && takes(config, "a", "\"x\"")).await;
    // A schema that is none keeps nothing out.
    assert!(takes(&feed.config.borrow().clone(), "b", "1"));
}

#[tokio::test]
async fn a_filter_that_rests_is_not_asked() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    project(&bed).await;
    endpoint(&bed, &store, 1).await;
    bed.run(&format!(
        r#"INSERT INTO subscriptions (project_id, id, endpoint_id, name, filters) VALUES
         ('{}', '{}', '{}', 's', '[{{"event_type": "*", "body": {{"a": 1}}}},
          {{"event_type": "b", "is_disabled": true}}, {{"event_type": "c", "headers": {{"h": "1"}}}}]')"#,
        PROJECT.as_uuid(),
        uuid::Uuid::from_u128(2),
        uuid::Uuid::from_u128(1)
    ))
    .await;
    let config = store.load_config().await.unwrap();
    let found = config.snapshot.subscription(SubscriptionId::from_u128(2)).unwrap();
    assert!(found.filter_for("b").unwrap().body.is_some());
    assert!(found.filter_for("c").unwrap().headers.is_some());
}
