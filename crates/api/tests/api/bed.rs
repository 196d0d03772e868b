//! An organisation with two projects and keys for every role; requests, and answers that are held against the document.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request};
use jsonschema::Validator;
use longshore_api::v1::{Control, ControlSettings, api_document, control_routes};
use longshore_core::Secret;
use longshore_core::features::{Feature, FeatureSwitches};
use longshore_store::{ApiKeyHasher, Keys, Profile, Settings, Store, connect};
use longshore_testkit::database::{TestDatabase, fresh_from_template};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tower::ServiceExt;

pub(crate) const ORGANISATION: &str = "01JD00000000000000000000RG";
/// Another organisation.
pub(crate) const ELSEWHERE: &str = "01JD00000000000000000000R0";
/// The project of the tests.
pub(crate) const PROJECT: &str = "01JD0000000000000000000SHP";
/// A project of another organisation.
pub(crate) const FOREIGN: &str = "01JD0000000000000000000XYZ";
const MASTER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub(crate) struct Bed {
    /// Dropped last.
    _database: TestDatabase,
    pub(crate) store: Store,
    pub(crate) control: Control,
    pub(crate) sql: PgPool,
    router: axum::Router,
    hasher: ApiKeyHasher,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

/// A request on its way to being sent.
pub(crate) struct Asking<'a> {
    bed: &'a Bed,
    method: Method,
    path: String,
    key: Option<String>,
    body: Option<Value>,
    /// A body that is no JSON, with its `Content-Type`.
    raw: Option<(&'static str, Vec<u8>)>,
    headers: Vec<(&'static str, String)>,
}

/// The key of a role in the project of the tests, as text.
pub(crate) fn key(role: &str) -> String {
    format!("CO.{role:x<16}.{role:0<64}")
}

/// The token of a portal link of that name, as text.
pub(crate) fn token(name: &str) -> String {
    format!("PRT.{name:x<16}.{name:0<64}")
}

impl Bed {
    pub(crate) async fn new() -> Self {
        // Every feature is offered, since the document that answers are held against has them all.
        let features = FeatureSwitches::new(Feature::ALL.to_vec(), Vec::new());
        Self::with(ControlSettings { features, ..ControlSettings::default() }).await
    }

    /// The same, of an installation with other settings.
    pub(crate) async fn with(settings: ControlSettings) -> Self {
        let database = fresh_from_template("api", |url| async move {
            let store = open(&url).await;
            store.migrate().await.unwrap();
            store.close().await;
        })
        .await;
        let store = open(&database.url()).await;
        let sql = PgPool::connect_with(database.options()).await.unwrap();
        let hasher = store.api_key_hasher().await.unwrap();
        let settings = ControlSettings { public_url: "https://longshore.test".to_owned(), ..settings };
        let control = Control::new(store.clone(), hasher.clone(), settings).unwrap();
        let control = crate::brokers::with_fakes(control);
        let router = control_routes(control.clone()).router;
        let bed = Self { _database: database, store, control, sql, router, hasher };
        bed.populate().await;
        bed
    }

    /// The whole router, for what is no JSON.
    pub(crate) fn router(&self) -> axum::Router {
        self.router.clone()
    }

    /// Two organisations with a project each; a project key for each role, and one with a person of each role.
    async fn populate(&self) {
        let id = |text: &str| text.parse::<longshore_core::ProjectId>().unwrap().as_uuid();
        for (organisation, name, project) in [(ORGANISATION, "acme", PROJECT), (ELSEWHERE, "else", FOREIGN)] {
            sqlx::query("INSERT INTO organisations (id, name) VALUES ($1, $2)")
                .bind(id(organisation))
                .bind(name)
                .execute(&self.sql)
                .await
                .unwrap();
            sqlx::query("INSERT INTO projects (id, name, organisation_id) VALUES ($1, $2, $3)")
                .bind(id(project))
                .bind(format!("{name}-project"))
                .bind(id(organisation))
                .execute(&self.sql)
                .await
                .unwrap();
        }
        for role in ["viewer", "developer", "admin", "owner"] {
            self.project_key(PROJECT, role, role, &[]).await;
            self.person(&format!("my-{role}"), Some((ORGANISATION, role))).await;
        }
        self.project_key(FOREIGN, "foreign", "owner", &[]).await;
        self.person("my-foreign", Some((ELSEWHERE, "owner"))).await;
        self.person("my-nothing", None).await;
    }

    /// Adds a key of a project; its text is [`key`] of `name`.
    pub(crate) async fn project_key(&self, project: &str, name: &str, role: &str, scopes: &[&str]) {
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        sqlx::query(
            "INSERT INTO api_keys (project_id, id, name, hash, role, scopes)
             VALUES ($1, gen_random_uuid(), $2, $3, $4, $5)",
        )
        .bind(project.parse::<longshore_core::ProjectId>().unwrap().as_uuid())
        .bind(name)
        .bind(&self.hasher.hash(&key(name))[..])
        .bind(role)
        .bind(scopes)
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// Adds a person, a member of an organisation or of none, with a key whose text is [`key`] of `name`. The address is
    /// `NAME@acme.test`.
    pub(crate) async fn person(&self, name: &str, member: Option<(&str, &str)>) {
        let id = |text: &str| text.parse::<longshore_core::ProjectId>().unwrap().as_uuid();
        sqlx::query(
            "WITH person AS (INSERT INTO users (id, email) VALUES (gen_random_uuid(), $1) RETURNING id),
             member AS (INSERT INTO members (organisation_id, user_id, role)
                 SELECT $2, id, $3 FROM person WHERE $2 IS NOT NULL)
             INSERT INTO personal_keys (id, user_id, name, hash) SELECT gen_random_uuid(), id, $4, $5 FROM person",
        )
        .bind(format!("{name}@acme.test"))
        .bind(member.map(|(organisation, _)| id(organisation)))
        .bind(member.map(|(_, role)| role))
        .bind(name)
        .bind(&self.hasher.hash(&key(name))[..])
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// Adds a portal link over an owner's endpoints, with a token of its own whose text is [`token`] of `name`, and a
    /// short-lived one, [`token`] of `fresh-NAME`.
    pub(crate) async fn portal(&self, project: &str, name: &str, owner: &str, can_manage: bool) {
        sqlx::query(
            "WITH link AS (INSERT INTO portal_links (project_id, id, name, owner_id, auth_type, can_manage_endpoint,
                 token_hash, sealed_token)
                 VALUES ($1, gen_random_uuid(), $2, $3, 'static_token', $4, $5, '') RETURNING project_id, id)
             INSERT INTO portal_tokens (project_id, link_id, id, hash, expires_at)
             SELECT project_id, id, gen_random_uuid(), $6, now() + interval '1 hour' FROM link",
        )
        .bind(project.parse::<longshore_core::ProjectId>().unwrap().as_uuid())
        .bind(name)
        .bind(owner)
        .bind(can_manage)
        .bind(&self.hasher.hash(&token(name))[..])
        .bind(&self.hasher.hash(&token(&format!("fresh-{name}")))[..])
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// Adds an endpoint of the project, of an owner if one is named; its id.
    pub(crate) async fn endpoint(&self, name: &str, owner: Option<&str>) -> String {
        let id: sqlx::types::Uuid = sqlx::query_scalar(
            "INSERT INTO endpoints (project_id, id, name, url, owner_id)
             VALUES ($1, gen_random_uuid(), $2, 'https://receiver.example/', $3) RETURNING id",
        )
        .bind(PROJECT.parse::<longshore_core::ProjectId>().unwrap().as_uuid())
        .bind(name)
        .bind(owner)
        .fetch_one(&self.sql)
        .await
        .unwrap();
        longshore_core::EndpointId::from_uuid(id).to_string()
    }

    /// Runs SQL of the test's own.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(sql)).execute(&self.sql).await;
        done.unwrap_or_else(|error| panic!("`{sql}`: {error}")).rows_affected()
    }

    /// A request with the admin's key; `path` begins with `/api/v1`, or after it, or within the project.
    pub(crate) fn ask(&self, method: Method, path: &str) -> Asking<'_> {
        let path = match path.starts_with("/api/") {
            true => path.to_owned(),
            false => format!("/api/v1/projects/{PROJECT}{path}"),
        };
        Asking {
            bed: self,
            method,
            path,
            key: Some(key("admin")),
            body: None,
            raw: None,
            headers: Vec::new(),
        }
    }

    /// GETs within the project.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).send().await
    }

    /// POSTs within the project.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path).body(body).send().await
    }

    /// PUTs within the project.
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path).body(body).send().await
    }

    /// DELETEs within the project.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path).send().await
    }
}

impl Asking<'_> {
    /// With this key instead.
    pub(crate) fn key(mut self, key: impl Into<Option<String>>) -> Self {
        self.key = key.into();
        self
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With a body of another type.
    pub(crate) fn raw(mut self, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.raw = Some((content_type, body.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if self.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        if let Some((content_type, _)) = &self.raw {
            request = request.header("content-type", *content_type);
        }
        let body = match (self.body, self.raw) {
            (_, Some((_, raw))) => Body::from(raw),
            (Some(body), None) => Body::from(body.to_string()),
            (None, None) => Body::empty(),
        };
        let response = self.bed.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        // The shapes of older versions are other documents.
        let is_newest = !self.headers.iter().any(|(name, _)| name.ends_with("-version"));
        if is_newest {
            conform(&self.method, &self.path, &answer);
        }
        answer
    }
}

impl Answer {
    /// `data`, of a success.
    pub(crate) fn data(&self) -> &Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        &self.body["data"]
    }

    /// `message`, of whatever answer.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// A text within `data`.
    pub(crate) fn text(&self, pointer: &str) -> String {
        let found = self.data().pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text at {pointer} of {self:?}")).to_owned()
    }
}

async fn open(url: &str) -> Store {
    let settings = Settings {
        url: Secret::new(url.to_owned()),
        max_connections: 4,
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
        lease: Duration::from_secs(30),
        profile: Profile::Control,
    };
    connect(&settings, Keys::parse(MASTER).unwrap()).await.unwrap()
}

/// The document of the API, as JSON.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(api_document()).unwrap());

/// Holds an answer against what the document says of its path, method and status.
fn conform(method: &Method, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let Some(template) = template(path) else {
        assert_eq!(answer.status, 404, "{path} is not in the document");
        return;
    };
    let operation = &DOCUMENT["paths"][template][method.as_str().to_ascii_lowercase()];
    if operation.is_null() {
        assert_eq!(answer.status, 405, "{method} {template} is not in the document");
        return;
    }
    let response = &operation["responses"][answer.status.to_string()];
    assert!(!response.is_null(), "{method} {template} does not document {}: {answer:?}", answer.status);
    let response = match response["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    };
    let schema = &response["content"]["application/json"]["schema"];
    if schema.is_null() {
        return;
    }
    static VALIDATORS: LazyLock<Mutex<HashMap<String, &'static Validator>>> = LazyLock::new(Default::default);
    let name = format!("{method} {template} {}", answer.status);
    let validator = *VALIDATORS.lock().unwrap().entry(name.clone()).or_insert_with(|| {
        let mut whole = schema.clone();
        whole["components"] = DOCUMENT["components"].clone();
        let built = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&whole);
        Box::leak(Box::new(built.unwrap_or_else(|error| panic!("{name}: {error}"))))
    });
    let errors: Vec<String> = validator
        .iter_errors(&answer.body)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name} breaches its schema: {errors:#?}\n{:#}", answer.body);
}

/// The path of the document that a request's path is of. Literal segments beat parameters.
fn template(path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == segments.len()
            && parts.iter().zip(&segments).all(|(part, segment)| part.starts_with('{') || part == segment)
    };
    let templates = DOCUMENT["paths"].as_object().unwrap().keys().map(String::as_str);
    templates.filter(|template| fits(template)).min_by_key(|template| template.matches('{').count())
}

/// `{…}` parameters of a template filled in.
pub(crate) fn filled(template: &str) -> String {
    let parts = template.split('/').map(|part| match part {
        "{project_id}" => PROJECT,
        "{organisation_id}" => ORGANISATION,
        part if part.starts_with('{') => "01JD000000000000000000N0NE",
        part => part,
    });
    let path = parts.collect::<Vec<_>>().join("/");
    if path == "/api/v1/projects" { format!("{path}?orgID={ORGANISATION}") } else { path }
}

/// Every operation of the document: its method, its path, and itself.
pub(crate) fn operations() -> Vec<(Method, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let methods = |item: &'static Value| item.as_object().unwrap().iter();
    let all = paths
        .iter()
        .flat_map(|(path, item)| methods(item).map(move |(method, operation)| (path, method, operation)));
    // What takes events in is the data plane's.
    let all = all.filter(|(_, _, operation)| operation["x-longshore-plane"] != "data");
    all.filter(|(_, method, _)| ["get", "post", "put", "delete", "patch"].contains(&method.as_str()))
        .map(|(path, method, operation)| {
            (method.to_ascii_uppercase().parse().unwrap(), path.as_str(), operation)
        })
        .collect()
}

/// Whether an operation needs no key.
pub(crate) fn is_public(operation: &Value) -> bool {
    operation["security"] == json!([]) || operation["security"] == json!([{}])
}
