//! What requests are told of quarantined messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_core::QuarantineId;
use longshore_store::control::Operation;
use longshore_store::{QuarantineEntry, QuarantineItem};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::v1::brokers::ReplayOutcome;

/// A message that could not become an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineView {
    /// Its id.
    pub(super) uid: String,
    /// Whose it is.
    project_id: String,
    /// The source it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    /// The class of the fault.
    reason: String,
    /// What is wrong, in a sentence.
    detail: String,
    /// Where it stood at the broker.
    position: String,
    /// The length of its body.
    bytes: u64,
    /// When it was received.
    received_at: String,
    /// When it became an event after all.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed_at: Option<String>,
    /// That event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
}

/// A message with what it holds.
#[derive(Serialize, ToSchema)]
pub(crate) struct QuarantineDetail {
    /// What the list says.
    #[serde(flatten)]
    item: QuarantineView,
    /// The broker's headers, in order.
    headers: Vec<HeaderView>,
    /// The body, byte for byte, in base64.
    body_base64: String,
    /// The body, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<String>,
    /// What the broker said besides: its name and time for the message, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    message: Option<Value>,
}

/// A header.
#[derive(Serialize, ToSchema)]
struct HeaderView {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
}

/// What became of a message that was to be replayed.
#[derive(Serialize, ToSchema)]
pub(crate) struct ReplayView {
    /// The message.
    uid: String,
    /// `stored`, `duplicate` (stored, not delivered: its idempotency key was seen before), `known` (an event already),
    /// `faulty` (still none) or `left_out`.
    outcome: String,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// The class of the fault, when it is still faulty.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why it is no event.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Bulk work on quarantined messages.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperationView {
    /// Its id.
    uid: String,
    /// `replay` or `discard`.
    kind: String,
    /// `waiting`, `running`, `done` or `failed`.
    state: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// How many messages there were when it was asked for.
    total: u64,
    /// How many were looked at so far.
    done: u64,
    /// How many became events.
    stored: u64,
    /// How many became events that are not delivered: their idempotency keys were seen before.
    duplicate: u64,
    /// How many were events already.
    known: u64,
    /// How many still are none.
    faulty: u64,
    /// How many are deleted.
    discarded: u64,
    /// How many were gone, or cannot be replayed.
    left_out: u64,
    /// When it was asked for.
    created_at: String,
    /// When it went on last.
    updated_at: String,
}

impl From<&QuarantineItem> for QuarantineView {
    fn from(item: &QuarantineItem) -> Self {
        Self {
            uid: item.id.to_string(),
            project_id: item.project.to_string(),
            source_id: item.source.map(|id| id.to_string()),
            reason: item.reason.clone(),
            detail: item.detail.clone(),
            position: item.position.clone(),
            bytes: item.bytes,
            received_at: item.received_at.to_string(),
            replayed_at: item.replayed_at.map(|at| at.to_string()),
            // Before it is replayed it is the id that an unfinished replay chose.
            event_id: item.event.filter(|_| item.replayed_at.is_some()).map(|id| id.to_string()),
        }
    }
}

impl From<QuarantineEntry> for QuarantineDetail {
    fn from(entry: QuarantineEntry) -> Self {
        let header =
            |(name, value): (&str, &str)| HeaderView { name: name.to_owned(), value: value.to_owned() };
        Self {
            item: QuarantineView::from(&entry.item),
            headers: entry.headers.iter().map(header).collect(),
            body_base64: STANDARD.encode(&entry.body),
            body_text: std::str::from_utf8(&entry.body).ok().map(str::to_owned),
            message: entry.facts.and_then(|facts| serde_json::to_value(facts).ok()),
        }
    }
}

impl ReplayView {
    pub(super) fn new(id: QuarantineId, outcome: ReplayOutcome) -> Self {
        let (name, event, reason, detail) = match outcome {
            ReplayOutcome::Stored(event) => ("stored", Some(event), None, None),
            ReplayOutcome::Duplicate(event) => ("duplicate", Some(event), None, None),
            ReplayOutcome::Known(event) => ("known", event, None, None),
            ReplayOutcome::Faulty(reason, detail) => ("faulty", None, Some(reason), Some(detail)),
            ReplayOutcome::LeftOut(detail) => ("left_out", None, None, Some(detail)),
        };
        Self {
            uid: id.to_string(),
            outcome: name.to_owned(),
            event_id: event.map(|id| id.to_string()),
            reason: reason.map(|reason| reason.as_str().to_owned()),
            detail,
        }
    }
}

impl From<Operation> for OperationView {
    fn from(operation: Operation) -> Self {
        let progress = operation.progress;
        Self {
            uid: operation.id.to_string(),
            kind: operation.kind.as_str().to_owned(),
            state: operation.state.as_str().to_owned(),
            problem: operation.problem,
            total: operation.total,
            done: progress.done(),
            stored: progress.stored,
            duplicate: progress.duplicate,
            known: progress.known,
            faulty: progress.faulty,
            discarded: progress.discarded,
            left_out: progress.left_out,
            created_at: operation.created_at.to_string(),
            updated_at: operation.updated_at.to_string(),
        }
    }
}
