//! Subscriptions and filters as they are shown.

use longshore_core::{RetrySchedule, SubscriptionId, TypePattern};
use longshore_store::control::{
    FilterRecord, HTTP, ListedSubscription, SourceBrief, SubscribedEndpoint, SubscriptionRecord,
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body::{AlertConfig, SubscriptionRateLimit, shown};

/// A subscription.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubscriptionView {
    /// Its id.
    pub(super) uid: String,
    /// For people.
    name: String,
    /// `api`
    r#type: &'static str,
    /// Whose it is.
    project_id: String,
    /// Where matching events go.
    endpoint_metadata: SubscribedEndpointView,
    /// The only source whose events it takes; absent for all, and for one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_metadata: Option<SubscribedSourceView>,
    /// The id of that source, also of one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    /// Which events it takes.
    filter_config: FilterConfigView,
    /// When its deliveries are tried again, as far as the contract can say it; absent for the project's schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_config: Option<RetryConfigView>,
    /// The whole schedule, as in resource files; absent for the project's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    retry: Option<RetrySchedule>,
    /// Whether its deliveries go out in order, and by what.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    ordered: Option<Value>,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_config: Option<AlertConfig>,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit_config: Option<SubscriptionRateLimit>,
    /// `at_least_once`
    delivery_mode: &'static str,
    /// When it was made.
    created_at: String,
    /// When it or one of its filters was changed last.
    updated_at: String,
}

/// A subscription's endpoint, without its secrets.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubscribedEndpointView {
    /// Its id.
    uid: String,
    /// Whose it is.
    project_id: String,
    /// For people.
    name: String,
    /// Where it is.
    url: String,
    /// The owner that events may be addressed to; empty for none.
    owner_id: String,
    /// `active`, `paused` or `inactive`.
    status: String,
    /// Whether its signatures have the advanced form.
    advanced_signatures: bool,
    /// How long a request may take, in seconds.
    http_timeout: u64,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

/// A subscription's source, without what it connects with.
#[derive(Serialize, ToSchema)]
pub(crate) struct SubscribedSourceView {
    /// Its id.
    uid: String,
    /// Whose it is.
    project_id: String,
    /// The end of its URL.
    mask_id: String,
    /// For people.
    name: String,
    /// `pub_sub` or `http`.
    r#type: &'static str,
    /// Whose webhooks it receives; empty for nobody in particular.
    provider: String,
    /// Whether it rests.
    is_disabled: bool,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

/// Which events a subscription takes.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilterConfigView {
    /// An event matches when any of these does.
    event_types: Vec<String>,
    /// What its events must hold, unless there is a filter for their type.
    filter: ScopesView,
}

/// A filter's scopes; an empty one matches everything.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScopesView {
    /// Always `false`: it is shown as it was given.
    is_flattened: bool,
    /// Over the body.
    #[schema(value_type = Object)]
    body: Value,
    /// Over the headers.
    #[schema(value_type = Object)]
    headers: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    query: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    path: Value,
}

/// When deliveries are tried again, in the contract's words.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetryConfigView {
    /// `linear` or `exponential`.
    r#type: &'static str,
    /// The first delay, in seconds.
    duration: u64,
    /// Attempts in all, the first one included.
    retry_count: u16,
}

/// A filter of a subscription for some event types.
#[derive(Serialize, ToSchema)]
pub(crate) struct FilterView {
    /// Its id.
    uid: String,
    /// Whose it is.
    subscription_id: String,
    /// Which event types it is for.
    event_type: String,
    /// Over the body.
    #[schema(value_type = Object)]
    body: Value,
    /// Over the headers.
    #[schema(value_type = Object)]
    headers: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    query: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    path: Value,
    /// The same as `body`.
    #[schema(value_type = Object)]
    raw_body: Value,
    /// The same as `headers`.
    #[schema(value_type = Object)]
    raw_headers: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    raw_query: Value,
    /// Always empty.
    #[schema(value_type = Object)]
    raw_path: Value,
    /// Since when it is asked; absent while it rests.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

fn object(scope: Option<&Value>) -> Value {
    scope.cloned().unwrap_or_else(|| json!({}))
}

impl SubscriptionView {
    pub(super) fn of(project: &str, listed: ListedSubscription) -> Self {
        let ListedSubscription { record, endpoint, source } = listed;
        let kept = &record.contract_settings;
        Self {
            uid: record.id.to_string(),
            r#type: "api",
            project_id: project.to_string(),
            endpoint_metadata: SubscribedEndpointView::of(project, &record, endpoint),
            source_metadata: source
                .zip(record.source)
                .map(|(source, id)| SubscribedSourceView::of(project, id.to_string(), source)),
            source_id: record.source.map(|id| id.to_string()),
            filter_config: FilterConfigView::of(&record),
            retry_config: record.retry.as_ref().map(|schedule| {
                let (r#type, duration, retry_count) = shown(schedule);
                RetryConfigView { r#type, duration, retry_count }
            }),
            alert_config: serde_json::from_value(kept["alert_config"].clone()).ok(),
            rate_limit_config: serde_json::from_value(kept["rate_limit_config"].clone()).ok(),
            ordered: record.ordered.as_ref().map(|ordered| json!(ordered)),
            retry: record.retry,
            name: record.name,
            delivery_mode: "at_least_once",
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

impl SubscribedEndpointView {
    fn of(project: &str, record: &SubscriptionRecord, endpoint: SubscribedEndpoint) -> Self {
        Self {
            uid: record.endpoint.to_string(),
            project_id: project.to_string(),
            name: endpoint.name,
            url: endpoint.url,
            owner_id: endpoint.owner_id.unwrap_or_default(),
            status: endpoint.status,
            advanced_signatures: endpoint.advanced_signatures,
            http_timeout: u64::try_from(endpoint.http_timeout_ms).unwrap_or_default().div_ceil(1_000),
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
        }
    }
}

impl SubscribedSourceView {
    fn of(project: &str, uid: String, source: SourceBrief) -> Self {
        Self {
            uid,
            project_id: project.to_string(),
            mask_id: source.mask_id.unwrap_or_default(),
            name: source.name,
            r#type: if source.kind == HTTP { HTTP } else { "pub_sub" },
            provider: source.provider,
            is_disabled: source.is_disabled,
            created_at: source.created_at.to_string(),
            updated_at: source.updated_at.to_string(),
        }
    }
}

impl FilterConfigView {
    fn of(record: &SubscriptionRecord) -> Self {
        let filter = record
            .filters
            .iter()
            .find(|filter| filter.event_type == TypePattern::Any && filter.enabled_at.is_some());
        let scope = |scope: fn(&FilterRecord) -> Option<&Value>| object(filter.and_then(scope));
        Self {
            event_types: record.event_types.iter().map(ToString::to_string).collect(),
            filter: ScopesView {
                is_flattened: false,
                body: scope(|filter| filter.body.as_ref()),
                headers: scope(|filter| filter.headers.as_ref()),
                query: json!({}),
                path: json!({}),
            },
        }
    }
}

impl FilterView {
    pub(super) fn of(subscription: SubscriptionId, filter: &FilterRecord) -> Self {
        let (body, headers) = (object(filter.body.as_ref()), object(filter.headers.as_ref()));
        Self {
            uid: filter.id.to_string(),
            subscription_id: subscription.to_string(),
            event_type: filter.event_type.to_string(),
            raw_body: body.clone(),
            raw_headers: headers.clone(),
            body,
            headers,
            query: json!({}),
            path: json!({}),
            raw_query: json!({}),
            raw_path: json!({}),
            enabled_at: filter.enabled_at.map(|at| at.to_string()),
            created_at: filter.created_at.to_string(),
            updated_at: filter.updated_at.to_string(),
        }
    }
}
