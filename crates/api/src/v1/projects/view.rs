//! Projects as the API shows them.

use longshore_core::ProjectId;
use longshore_core::retry::RetrySchedule;
use longshore_store::control::{ProjectRecord, ProjectStatistics};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::config::{
    CircuitBreakerConfig, MetaEventConfig, ProjectConfig, RateLimitConfig, SignatureConfig, SignatureVersion,
    SslConfig, StrategyConfig,
};
use crate::v1::api_keys::view::FirstKeyView;

/// A project.
#[derive(Serialize, ToSchema)]
pub(crate) struct ProjectView {
    /// Its id.
    #[schema(value_type = String)]
    uid: ProjectId,
    /// For people.
    name: String,
    /// A picture for people; empty for none.
    logo_url: String,
    /// Whose it is.
    organisation_id: String,
    /// `outgoing` or `incoming`.
    r#type: String,
    /// What its deliveries share.
    config: ProjectConfig,
    /// What it has at all; only where one project is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<StatisticsView>,
    /// Beyond the contract: the version of the API that its requests get when they name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

/// What a project has at all.
#[derive(Serialize, ToSchema)]
pub(crate) struct StatisticsView {
    /// Endpoints.
    endpoints_exist: bool,
    /// Subscriptions.
    subscriptions_exist: bool,
    /// Sources.
    sources_exist: bool,
    /// Events.
    events_exist: bool,
}

/// A project that was just created, and its first key.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedProjectView {
    /// The key: its text is shown this once.
    pub(super) api_key: FirstKeyView,
    /// The project.
    pub(super) project: ProjectView,
}

impl ProjectView {
    /// A project as somebody sees it who may or may not see its secrets.
    pub(crate) fn of(
        record: ProjectRecord,
        statistics: Option<ProjectStatistics>,
        shows_secrets: bool,
    ) -> Self {
        let config = ProjectConfig::of(&record, shows_secrets);
        Self {
            uid: record.project.id,
            name: record.project.name,
            logo_url: record.logo_url,
            organisation_id: record.organisation.to_string(),
            r#type: record.kind,
            config,
            statistics: statistics.map(|has| StatisticsView {
                endpoints_exist: has.has_endpoints,
                subscriptions_exist: has.has_subscriptions,
                sources_exist: has.has_sources,
                events_exist: has.has_events,
            }),
            api_version: record.api_version.map(|date| date.to_string()),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

impl ProjectConfig {
    /// A project's settings in the contract's words.
    pub(super) fn of(record: &ProjectRecord, shows_secrets: bool) -> Self {
        let (settings, kept) = (&record.project.settings, &record.contract_settings);
        let flag = |name: &str| Some(kept[name].as_bool().unwrap_or(false));
        Self {
            max_payload_read_size: u64::try_from(settings.max_payload_bytes).ok(),
            replay_attacks_prevention_enabled: flag("replay_attacks_prevention_enabled"),
            add_event_id_trace_headers: Some(settings.add_event_id_trace_headers),
            disable_endpoint: Some(settings.disable_endpoint),
            multiple_endpoint_subscriptions: flag("multiple_endpoint_subscriptions"),
            verify_dynamic_events: flag("verify_dynamic_events"),
            allow_unmatched_dynamic_urls: flag("allow_unmatched_dynamic_urls"),
            search_policy: kept["search_policy"].as_str().map(str::to_owned),
            ssl: Some(SslConfig { enforce_secure_endpoints: Some(settings.egress.allow_http != Some(true)) }),
            ratelimit: settings.ingest_rate_limit.map(|limit| RateLimitConfig {
                count: Some(limit.count()),
                duration: Some(limit.per().as_secs().max(1)),
            }),
            strategy: Some(strategy(&settings.retry)),
            signature: Some(signature(record)),
            request_id_header: Some(settings.idempotency_header.clone()),
            meta_event: Some(meta_event(record, shows_secrets)),
            circuit_breaker: Some(circuit_breaker(record)),
            event_types: Some(settings.event_types.as_str().to_owned()),
            retry: Some(json!(settings.retry)),
            retry_policy: Some(json!(settings.retry_policy)),
        }
    }
}

/// A schedule in the contract's words: what is listed grows, as `exponential` does.
pub(super) fn strategy(schedule: &RetrySchedule) -> StrategyConfig {
    let kind = match json!(schedule)["type"].as_str() {
        Some("linear") => "linear",
        _ => "exponential",
    };
    StrategyConfig {
        r#type: Some(kind.to_owned()),
        duration: Some(schedule.delay_after(1).map_or(1, |delay| delay.as_secs().max(1))),
        retry_count: Some(schedule.attempts()),
    }
}

fn signature(record: &ProjectRecord) -> SignatureConfig {
    let settings = &record.project.settings.signature;
    let word = |value: Value| value.as_str().map(str::to_owned);
    let (hash, encoding) = (word(json!(settings.hash)), word(json!(settings.encoding)));
    let kept: Vec<SignatureVersion> =
        serde_json::from_value(record.contract_settings["signature_versions"].clone()).unwrap_or_default();
    // A resource file may have changed what is signed with since.
    let is_current = kept.last().is_some_and(|last| (&last.hash, &last.encoding) == (&hash, &encoding));
    let versions = if is_current {
        kept
    } else {
        let created_at = Some(record.created_at.to_string());
        vec![SignatureVersion { uid: Some(record.project.id.to_string()), hash, encoding, created_at }]
    };
    SignatureConfig { header: Some(settings.header.clone()), versions: Some(versions) }
}

fn meta_event(record: &ProjectRecord, shows_secrets: bool) -> MetaEventConfig {
    let meta = &record.project.settings.meta_events;
    let secret = record.project.credentials.meta_event_secret.as_ref().filter(|_| shows_secrets);
    MetaEventConfig {
        is_enabled: Some(meta.enabled),
        r#type: Some("http".to_owned()),
        event_type: Some(meta.event_types.iter().map(ToString::to_string).collect()),
        url: Some(meta.url.as_ref().map(ToString::to_string).unwrap_or_default()),
        secret: secret.map(|secret| secret.expose().clone()),
    }
}

fn circuit_breaker(record: &ProjectRecord) -> CircuitBreakerConfig {
    let breaker = &record.project.settings.circuit_breaker;
    CircuitBreakerConfig {
        sample_rate: Some(record.contract_settings["sample_rate"].as_u64().unwrap_or(30)),
        error_timeout: Some(breaker.error_timeout.0.as_secs()),
        failure_threshold: Some(u64::from(breaker.failure_threshold)),
        success_threshold: Some(u64::from(breaker.success_threshold)),
        observability_window: Some((breaker.observability_window.0.as_secs() / 60).max(1)),
        minimum_request_count: Some(u64::from(breaker.minimum_request_count)),
        consecutive_failure_threshold: Some(u64::from(breaker.consecutive_failure_threshold)),
    }
}
