//! Events as they are shown.

use std::collections::{BTreeMap, HashMap};

use longshore_core::event::Headers;
use longshore_core::media::is_json;
use longshore_core::{EndpointId, SourceId};
use longshore_store::control::{EndpointBrief, EventRecord};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An event.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Its id.
    uid: String,
    /// The project.
    project_id: String,
    /// What happened.
    event_type: String,
    /// `single`, `fanout`, `broadcast`, `dynamic`, or `incoming` for what a webhook source received.
    kind: String,
    /// The source it came from; absent for the event routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    /// The source, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_metadata: Option<SourceMetadata>,
    /// The endpoints it is delivered to.
    endpoints: Vec<String>,
    /// Those of them that there are.
    endpoint_metadata: Vec<EndpointMetadata>,
    /// What is sent along, by name.
    headers: BTreeMap<String, Vec<String>>,
    /// What its producer calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// The query that its source was asked with, which goes on to the endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    url_query_params: Option<String>,
    /// Whether there was one with that idempotency key before: it is not delivered.
    is_duplicate_event: bool,
    /// What is sent, when it is JSON. Absent at the end of a page of very large events, as `raw` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    data: Option<Box<RawValue>>,
    /// The same as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    /// `Success`, or `Failure` when no subscription matched it.
    status: &'static str,
    /// Why it is `Failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'static str>,
    /// When it was received.
    acknowledged_at: String,
    /// When it was received.
    created_at: String,
    /// When it was received: an event does not change.
    updated_at: String,
}

/// What there is to say of an endpoint here.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct EndpointMetadata {
    /// Its id.
    uid: String,
    /// The project.
    project_id: String,
    /// For people.
    name: String,
    /// Where it is.
    url: String,
    /// Whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<String>,
    /// `active`, `paused`, `inactive`.
    status: String,
}

/// What there is to say of a source here.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct SourceMetadata {
    /// Its id.
    uid: String,
    /// For people.
    name: String,
}

impl EndpointMetadata {
    pub(crate) fn new(brief: &EndpointBrief, project: String) -> Self {
        Self {
            uid: brief.id.to_string(),
            project_id: project,
            name: brief.name.clone(),
            url: brief.url.clone(),
            owner_id: brief.owner.clone(),
            status: brief.status.clone(),
        }
    }
}

impl SourceMetadata {
    pub(crate) fn new(id: SourceId, name: &str) -> Self {
        Self { uid: id.to_string(), name: name.to_owned() }
    }
}

/// Headers by name; a name has its values in their order.
pub(crate) fn headers(headers: &Headers) -> BTreeMap<String, Vec<String>> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers.iter() {
        by_name.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    by_name
}

/// A body as JSON and as text, as far as it is either.
pub(crate) fn body(bytes: &[u8], content_type: Option<&str>) -> (Option<Box<RawValue>>, Option<String>) {
    let text = std::str::from_utf8(bytes).ok();
    let is_json = content_type.is_none_or(is_json);
    let data = text.filter(|_| is_json).and_then(|text| RawValue::from_string(text.to_owned()).ok());
    (data, text.map(str::to_owned))
}

impl EventView {
    pub(super) fn new(record: EventRecord, endpoints: &HashMap<EndpointId, EndpointBrief>) -> Self {
        let EventRecord { event, has_body, is_duplicate, source_name, endpoints: own } = record;
        let project = event.project.to_string();
        let (data, raw) = match has_body {
            true => body(&event.body, event.content_type.as_deref()),
            false => (None, None),
        };
        let is_unmatched = own.is_empty() && !is_duplicate;
        let received_at = event.received_at.to_string();
        let source = event.source.zip(source_name.as_deref());
        Self {
            uid: event.id.to_string(),
            project_id: project.clone(),
            kind: event.target.kind().to_string(),
            source_id: event.source.map(|id| id.to_string()),
            source_metadata: source.map(|(id, name)| SourceMetadata::new(id, name)),
            endpoint_metadata: own
                .iter()
                .filter_map(|id| endpoints.get(id))
                .map(|brief| EndpointMetadata::new(brief, project.clone()))
                .collect(),
            endpoints: own.iter().map(ToString::to_string).collect(),
            headers: headers(&event.headers),
            idempotency_key: event.idempotency_key,
            url_query_params: event.url_query,
            is_duplicate_event: is_duplicate,
            data,
            raw,
            status: if is_unmatched { "Failure" } else { "Success" },
            failure_reason: is_unmatched.then_some("no subscription matched this event"),
            acknowledged_at: received_at.clone(),
            created_at: received_at.clone(),
            updated_at: received_at,
            event_type: event.event_type,
        }
    }
}
