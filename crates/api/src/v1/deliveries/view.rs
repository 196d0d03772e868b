//! Deliveries as they are shown.

use std::collections::BTreeMap;

use longshore_core::retry::RetrySchedule;
use longshore_store::control::{DeliveryRecord, Retries};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::v1::events::{EndpointMetadata, SourceMetadata, body, headers};

/// One event for one endpoint.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryView {
    /// Its id.
    uid: String,
    /// The project.
    project_id: String,
    /// The event.
    event_id: String,
    /// The endpoint.
    endpoint_id: String,
    /// The subscription that wanted it; absent when the event named the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<String>,
    /// `Scheduled`, `Processing`, `Retry`, `Success`, `Failure`, `Discarded`.
    status: &'static str,
    /// What happened; absent when the event is kept no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// What its producer calls the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// What is sent along, by name.
    headers: BTreeMap<String, Vec<String>>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<String>,
    /// The query that goes on to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url_query_params: Option<String>,
    /// `at_least_once`
    delivery_mode: &'static str,
    /// From its making to its end, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<f64>,
    /// The event, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_metadata: Option<EventMetadata>,
    /// The endpoint, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_metadata: Option<EndpointMetadata>,
    /// The event's source, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_metadata: Option<SourceMetadata>,
    /// How it is tried.
    metadata: DeliveryMetadata,
    /// When the event was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it ended, and when it was made until then.
    updated_at: String,
}

/// An event in short.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventMetadata {
    /// Its id.
    uid: String,
    /// The project.
    project_id: String,
    /// What happened.
    event_type: String,
    /// Whether there was one with its idempotency key before.
    is_duplicate_event: bool,
    /// When it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

/// How a delivery is tried.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryMetadata {
    /// What is sent, when it is JSON; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Box<RawValue>>,
    /// The same as text; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    /// The project's schedule: `linear` or `exponential`.
    strategy: &'static str,
    /// When its next attempt is, while it waits for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_send_time: Option<String>,
    /// Attempts so far, since it was last resent by hand.
    num_trials: u16,
    /// The project's first delay, in seconds.
    interval_seconds: u64,
    /// Attempts of the project's schedule.
    retry_limit: u16,
}

/// Many deliveries tried again, in the background.
#[derive(Serialize, ToSchema)]
pub(crate) struct RetriesView {
    /// Its id.
    uid: String,
    /// `waiting`, `running`, `done`, `failed`.
    state: String,
    /// Why it cannot go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// Deliveries that are tried again.
    retried: u64,
    /// Deliveries that were past that when their turn came.
    left_out: u64,
    /// When it was asked for.
    created_at: String,
    /// When it went on last.
    updated_at: String,
}

impl DeliveryView {
    pub(super) fn new(record: DeliveryRecord, schedule: &RetrySchedule) -> Self {
        let project = record.project.to_string();
        let made_at = record.id.timestamp();
        let (data, raw) = record.body.as_deref().map_or((None, None), |bytes| body(bytes, None));
        let is_linear = json!(schedule)["type"] == "linear";
        let endpoint = record.endpoint_brief.as_ref();
        let event_metadata = record.event_type.clone().map(|event_type| EventMetadata {
            uid: record.event.to_string(),
            project_id: project.clone(),
            event_type,
            is_duplicate_event: record.is_duplicate,
            created_at: record.received_at.map(|at| at.to_string()),
        });
        Self {
            uid: record.id.to_string(),
            event_id: record.event.to_string(),
            endpoint_id: record.endpoint.to_string(),
            subscription_id: record.subscription.map(|id| id.to_string()),
            status: record.state.as_str(),
            event_type: record.event_type,
            idempotency_key: record.idempotency_key,
            headers: headers(&record.headers),
            target_url: endpoint.map(|endpoint| endpoint.url.clone()),
            url_query_params: record.url_query,
            delivery_mode: "at_least_once",
            latency_seconds: record.finished_at.map(|at| at.since(made_at).as_secs_f64()),
            event_metadata,
            endpoint_metadata: endpoint.map(|brief| EndpointMetadata::new(brief, project.clone())),
            source_metadata: record.source.as_ref().map(|(id, name)| SourceMetadata::new(*id, name)),
            metadata: DeliveryMetadata {
                data,
                raw,
                strategy: if is_linear { "linear" } else { "exponential" },
                next_send_time: record.due_at.filter(|_| !record.state.is_final()).map(|at| at.to_string()),
                num_trials: record.attempts,
                interval_seconds: schedule.delay_after(1).map_or(1, |delay| delay.as_secs().max(1)),
                retry_limit: schedule.attempts(),
            },
            acknowledged_at: record.received_at.map(|at| at.to_string()),
            created_at: made_at.to_string(),
            updated_at: record.finished_at.unwrap_or(made_at).to_string(),
            project_id: project,
        }
    }
}

impl From<Retries> for RetriesView {
    fn from(retries: Retries) -> Self {
        Self {
            uid: retries.id.to_string(),
            state: retries.state,
            problem: retries.problem,
            retried: retries.retried,
            left_out: retries.left_out,
            created_at: retries.created_at.to_string(),
            updated_at: retries.updated_at.to_string(),
        }
    }
}
