//! The configuration snapshot that follows changes within a second, by polling one row.
//!
//! No LISTEN: a notification would put a database-wide lock into the transactions that change resources, and a
//! pooler would lose it. Polling one row four times a second costs nothing that can be measured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::inbound::HttpSource;
use longshore_core::ports::{EventLog, StoreError};
use longshore_core::{ProjectId, Secret, Snapshot, SourceId, Timestamp};
use sqlx::PgConnection;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connect::Store;
use crate::control::HTTP;
use crate::error::sort;
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
    /// API keys by their hash.
    pub api_keys: HashMap<[u8; 32], ApiKey>,
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
    /// The project it belongs to.
    pub project: ProjectId,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
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
        let api_keys = sqlx::query!("SELECT project_id, hash, expires_at FROM api_keys")
            .fetch_all(&mut *transaction)
            .await
            .map_err(sort)?;
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
        let api_keys = api_keys.into_iter().filter_map(|row| {
            let hash: [u8; 32] = row.hash.try_into().ok()?;
            let project = ProjectId::from_uuid(row.project_id);
            Some((hash, ApiKey { project, expires_at: row.expires_at.map(Timestamp::from_utc) }))
        });
        Ok(Config {
            version,
            snapshot: Arc::new(Snapshot::new(projects, endpoints, subscriptions).at_version(version)),
            sources: opened,
            http_sources,
            api_keys: api_keys.collect(),
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
