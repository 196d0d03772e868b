//! The configuration snapshot that follows changes within a second, by polling one row.
//!
//! No LISTEN: a notification would put a database-wide lock into the transactions that change resources, and a
//! pooler would lose it. Polling one row four times a second costs nothing that can be measured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::access::{Action, Resource, Role, Scope, scopes_allow};
use longshore_core::inbound::HttpSource;
use longshore_core::ports::{EventLog, StoreError};
use longshore_core::{OrganisationId, ProjectId, Secret, Snapshot, SourceId, Timestamp, UserId};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::Store;
use crate::control::HTTP;
use crate::error::{misconfigured, sort};
use crate::rows;

/// How often the version is looked at.
const POLL: Duration = Duration::from_millis(250);

/// All configuration at one moment.
#[derive(Debug, Default)]
pub struct Config {
    /// Grows with each change.
    pub version: i64,
    /// Projects, endpoints and subscriptions, indexed for matching.
    pub snapshot: Arc<Snapshot>,
    /// Sources declared in the database.
    pub sources: Vec<SourceRecord>,
    /// Sources that receive webhooks, by the end of their URL. They are among `sources` too.
    pub http_sources: HashMap<String, Arc<HttpSourceRecord>>,
    /// API keys, of projects and of people, by their hash.
    pub api_keys: HashMap<[u8; 32], ApiKey>,
    /// What people are in the organisations that projects belong to.
    pub people: People,
}

/// Where a fresh configuration is published: whole for the binary, the snapshot alone for the pipeline.
#[derive(Debug)]
pub struct Feed {
    /// All of it.
    pub config: watch::Sender<Arc<Config>>,
    /// What matching needs.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
}

/// A source as stored; the binary turns it into a running one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRecord {
    /// Its id.
    pub id: SourceId,
    /// The tenant its events belong to.
    pub project: ProjectId,
    /// For people.
    pub name: String,
    /// The broker.
    pub kind: String,
    /// Consumers per process.
    pub workers: u16,
    /// Whether it is switched off.
    pub is_disabled: bool,
    /// The broker's settings as JSON; they hold credentials.
    pub config: Secret<String>,
    /// How its messages become events: a JSON object, `{}` for the envelope.
    pub mapping: String,
}

/// A source that receives webhooks, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSourceRecord {
    /// Its id.
    pub id: SourceId,
    /// The tenant its events belong to.
    pub project: ProjectId,
    /// Whether it is switched off.
    pub is_disabled: bool,
    /// How it takes webhooks in.
    pub http: HttpSource,
}

/// What an API key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    pub owner: ApiKeyOwner,
    /// Whether its scopes let events in; they are looked at once, when the configuration is loaded.
    pub may_write_events: bool,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// Whose an API key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyOwner {
    /// A project's, with what it may do there.
    Project(ProjectId, Role),
    /// A person's, who may do no more with it than the role, if it has one.
    User(UserId, Option<Role>),
}

/// What people are in the organisations that projects belong to.
#[derive(Debug, Default)]
pub struct People {
    /// The organisation of each project.
    pub organisations: HashMap<ProjectId, OrganisationId>,
    /// The role of each member.
    pub roles: HashMap<(OrganisationId, UserId), Role>,
}

impl People {
    /// What somebody is where that project belongs; `None` for nothing.
    #[must_use]
    pub fn role(&self, user: UserId, project: ProjectId) -> Option<Role> {
        let organisation = self.organisations.get(&project)?;
        self.roles.get(&(*organisation, user)).copied()
    }
}

/// Takes the turn to change the configuration. Whoever locks rows of it before changing them does this first, as every
/// statement that changes some does by itself: so two of them never wait for each other.
pub(crate) async fn lock_config(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT version FROM config_version FOR UPDATE")
        .fetch_optional(connection)
        .await
        .map(drop)
        .map_err(sort)
}

impl Store {
    /// Loads the whole configuration, all tables as of one moment.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] names the row that does not parse or open.
    pub async fn load_config(&self) -> Result<Config, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        let version = sqlx::query_scalar!("SELECT version FROM config_version")
            .fetch_one(&mut *transaction)
            .await
            .map_err(sort)?;
        let projects = rows::projects(&mut transaction, self.keys()).await?;
        let endpoints = rows::endpoints(&mut transaction, self.keys()).await?;
        let subscriptions = rows::subscriptions(&mut transaction).await?;
        let catalogues = rows::catalogues(&mut transaction, &projects).await?;
        let api_keys = api_keys(&mut transaction).await?;
        let people = people(&mut transaction).await?;
        let sources = sqlx::query!(
            r#"SELECT project_id, id, name, kind, workers, is_disabled, sealed_config, mapping::text AS "mapping!",
                   mask_id
               FROM sources ORDER BY id"#
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(sort)?;
        transaction.commit().await.map_err(sort)?;

        let mut opened = Vec::with_capacity(sources.len());
        let mut http_sources = HashMap::new();
        for row in sources {
            let fault =
                |problem: &str| StoreError::Misconfigured(format!("sources row {}: {problem}", row.id));
            let config = self
                .keys()
                .open(&row.sealed_config, row.id.as_bytes())
                .map_err(|error| fault(&error.to_string()))?;
            let config =
                Secret::new(String::from_utf8(config).map_err(|_| fault("its settings are not text"))?);
            if row.kind == HTTP
                && let Some(mask) = row.mask_id
            {
                // The parser's own words could quote a credential.
                match serde_json::from_str(config.expose()) {
                    Ok(http) => {
                        let (id, project) =
                            (SourceId::from_uuid(row.id), ProjectId::from_uuid(row.project_id));
                        let record = HttpSourceRecord { id, project, is_disabled: row.is_disabled, http };
                        http_sources.insert(mask, Arc::new(record));
                    }
                    Err(_) => {
                        tracing::error!("sources row {}: its stored settings are not understood", row.id);
                    }
                }
            }
            opened.push(SourceRecord {
                id: SourceId::from_uuid(row.id),
                project: ProjectId::from_uuid(row.project_id),
                name: row.name,
                kind: row.kind,
                workers: u16::try_from(row.workers).unwrap_or(1),
                is_disabled: row.is_disabled,
                config,
                mapping: row.mapping,
            });
        }
        let snapshot = Snapshot::new(projects, endpoints, subscriptions).with_catalogues(catalogues);
        Ok(Config {
            version,
            snapshot: Arc::new(snapshot.at_version(version)),
            sources: opened,
            http_sources,
            api_keys,
            people,
        })
    }

    /// Keeps the feed up to date until `stop`; a failure to load leaves the last good one in place.
    pub async fn follow_config(&self, feed: Feed, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.refresh(&feed).await {
                Ok(()) => failing = false,
                Err(error) => {
                    metrics::counter!("store_config_load_failures_total").increment(1);
                    // Once per outage, not four times a second.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "configuration not refreshed; going on with the last one");
                    }
                }
            }
        }
    }

    async fn refresh(&self, feed: &Feed) -> Result<(), StoreError> {
        let version = self.config_version().await?;
        if version != feed.config.borrow().version {
            let fresh = self.within(self.load_config()).await?;
            tracing::info!(config.version = fresh.version, "configuration loaded");
            feed.snapshot.send_replace(Arc::clone(&fresh.snapshot));
            feed.config.send_replace(Arc::new(fresh));
        }
        Ok(())
    }
}

/// The keys of projects and of people.
async fn api_keys(connection: &mut PgConnection) -> Result<HashMap<[u8; 32], ApiKey>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT hash AS "hash!", project_id, NULL::uuid AS user_id, role, scopes AS "scopes!", expires_at FROM api_keys
           UNION ALL
           SELECT hash, NULL, user_id, role, scopes, expires_at FROM personal_keys"#
    )
    .fetch_all(connection)
    .await
    .map_err(sort)?;
    let mut keys = HashMap::with_capacity(rows.len());
    for row in rows {
        let Ok(hash) = <[u8; 32]>::try_from(row.hash) else { continue };
        let role = row.role.as_deref().map(str::parse::<Role>).transpose().map_err(misconfigured)?;
        let owner = match (row.project_id, row.user_id) {
            (Some(project), _) => {
                ApiKeyOwner::Project(ProjectId::from_uuid(project), role.unwrap_or(Role::Viewer))
            }
            (None, Some(user)) => ApiKeyOwner::User(UserId::from_uuid(user), role),
            (None, None) => continue,
        };
        let scopes: Result<Vec<Scope>, _> = row.scopes.iter().map(|text| text.parse()).collect();
        let scopes = scopes.map_err(misconfigured)?;
        let key = ApiKey {
            owner,
            may_write_events: scopes_allow(&scopes, Resource::Events, Action::Write),
            expires_at: row.expires_at.map(Timestamp::from_utc),
        };
        keys.insert(hash, key);
    }
    Ok(keys)
}

/// Who is what where.
async fn people(connection: &mut PgConnection) -> Result<People, StoreError> {
    let members = sqlx::query!("SELECT organisation_id, user_id, role FROM members")
        .fetch_all(&mut *connection)
        .await
        .map_err(sort)?;
    let projects =
        sqlx::query!("SELECT id, organisation_id FROM projects").fetch_all(connection).await.map_err(sort)?;
    let roles = members.into_iter().map(|row| {
        let key = (OrganisationId::from_uuid(row.organisation_id), UserId::from_uuid(row.user_id));
        Ok((key, row.role.parse().map_err(misconfigured)?))
    });
    let organisations = projects
        .into_iter()
        .map(|row| (ProjectId::from_uuid(row.id), OrganisationId::from_uuid(row.organisation_id)));
    Ok(People { organisations: organisations.collect(), roles: roles.collect::<Result<_, StoreError>>()? })
}
