//! Meta events as they are shown.

use longshore_core::project::Project;
use longshore_store::control::{LastMetaAttempt, MetaEventRecord};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What a project's own webhook is told of.
#[derive(Serialize, ToSchema)]
pub(super) struct MetaEventView {
    /// Its id: the `webhook-id` of its requests.
    pub(super) uid: String,
    /// The project.
    project_id: String,
    /// What happened: `endpoint.disabled`, …
    event_type: String,
    /// `Scheduled`, `Processing`, `Retry`, `Success`, `Failure`.
    status: String,
    /// What is sent, and how.
    metadata: MetaEventMetadata,
    /// The last attempt; absent before the first has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<MetaEventAttempt>,
    /// When it happened.
    created_at: String,
    /// When something became of it last.
    updated_at: String,
}

/// What is sent, and how it is tried.
#[derive(Serialize, ToSchema)]
struct MetaEventMetadata {
    /// The body: `event_type` and `data`.
    #[schema(value_type = Object)]
    data: Value,
    /// The same as the text that is signed and sent.
    raw: String,
    /// The project's schedule: `linear` or `exponential`.
    strategy: &'static str,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_send_time: Option<String>,
    /// Attempts so far, since it was last resent.
    num_trials: u16,
    /// The project's first delay, in seconds.
    interval_seconds: u64,
    /// Attempts of the project's schedule.
    retry_limit: u16,
}

/// The last attempt at a meta event.
#[derive(Serialize, ToSchema)]
struct MetaEventAttempt {
    /// The first bytes of the answer, as text.
    response_data: String,
    /// What came of it: `success`, `server_error`, `timeout`, …
    outcome: String,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    /// What went wrong, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl MetaEventView {
    pub(super) fn new(record: MetaEventRecord, project: &Project) -> Self {
        let schedule = &project.settings.retry;
        let is_linear = json!(schedule)["type"] == "linear";
        let raw = format!(r#"{{"event_type":"{}","data":{}}}"#, record.event_type, record.data);
        Self {
            uid: record.id.to_string(),
            project_id: project.id.to_string(),
            event_type: record.event_type,
            status: record.state,
            metadata: MetaEventMetadata {
                data: serde_json::from_str(&raw).unwrap_or_default(),
                raw,
                strategy: if is_linear { "linear" } else { "exponential" },
                next_send_time: record.next_attempt_at.map(|at| at.to_string()),
                num_trials: record.attempts,
                interval_seconds: schedule.delay_after(1).map_or(1, |delay| delay.as_secs().max(1)),
                retry_limit: schedule.attempts(),
            },
            attempt: record.last.map(MetaEventAttempt::from),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

impl From<LastMetaAttempt> for MetaEventAttempt {
    fn from(last: LastMetaAttempt) -> Self {
        Self {
            response_data: String::from_utf8_lossy(&last.response_body).into_owned(),
            outcome: last.outcome,
            http_status: last.http_status,
            error: Some(last.error).filter(|error| !error.is_empty()),
        }
    }
}
