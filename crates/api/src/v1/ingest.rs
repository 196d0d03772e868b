//! What the document says of the routes that take events in. They are the data plane's: this is their documentation alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::problem::ErrorBody;
use super::reply::Envelope;

/// The routes that take events in.
#[derive(OpenApi)]
#[openapi(
    paths(create_event, create_fanout_event, create_broadcast_event, create_dynamic_event, create_batch),
    components(schemas(
        CreateEvent,
        FanoutEvent,
        BroadcastEvent,
        DynamicEvent,
        BatchEvent,
        TakenEvent,
        BatchResult
    ))
)]
pub(crate) struct IngestPaths;

/// An event for one endpoint.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands in the document alone: the data plane reads the bytes itself")]
pub(crate) struct CreateEvent {
    /// The endpoint it goes to.
    endpoint_id: String,
    /// What happened, e.g. `invoice.paid`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What is sent: any JSON but null, byte for byte but for spaces.
    data: Value,
    /// Headers for the endpoint, by name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What its producer calls it: a second one with the same is a duplicate.
    idempotency_key: Option<String>,
}

/// An event for every endpoint of an owner.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands in the document alone: the data plane reads the bytes itself")]
pub(crate) struct FanoutEvent {
    /// Whose endpoints it goes to.
    #[schema(min_length = 1)]
    owner_id: String,
    /// What happened, e.g. `invoice.paid`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What is sent: any JSON but null, byte for byte but for spaces.
    data: Value,
    /// Headers for the endpoints, by name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What its producer calls it: a second one with the same is a duplicate.
    idempotency_key: Option<String>,
}

/// An event for every subscription that wants it.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands in the document alone: the data plane reads the bytes itself")]
pub(crate) struct BroadcastEvent {
    /// What happened, e.g. `invoice.paid`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What is sent: any JSON but null, byte for byte but for spaces.
    data: Value,
    /// Headers for the endpoints, by name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What its producer calls it: a second one with the same is a duplicate.
    idempotency_key: Option<String>,
}

/// An event for a URL, which becomes an endpoint when it is none yet.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands in the document alone: the data plane reads the bytes itself")]
pub(crate) struct DynamicEvent {
    /// Where it goes.
    url: String,
    /// What signs it; made when left out.
    secret: Option<String>,
    /// What the endpoint is to get from now on.
    event_types: Option<Vec<String>>,
    /// What happened, e.g. `invoice.paid`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What is sent: any JSON but null, byte for byte but for spaces.
    data: Value,
    /// Headers for the endpoint, by name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What its producer calls it: a second one with the same is a duplicate.
    idempotency_key: Option<String>,
}

/// An event of a batch: of whatever kind, with what that kind needs.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "stands in the document alone: the data plane reads the bytes itself")]
pub(crate) struct BatchEvent {
    /// `single` (when left out), `fanout`, `broadcast` or `dynamic`.
    #[schema(pattern = "^(single|fanout|broadcast|dynamic)$")]
    kind: Option<String>,
    /// Of a single event: the endpoint it goes to.
    endpoint_id: Option<String>,
    /// Of a fanout event: whose endpoints it goes to.
    owner_id: Option<String>,
    /// Of a dynamic event: where it goes.
    url: Option<String>,
    /// What happened, e.g. `invoice.paid`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What is sent: any JSON but null, byte for byte but for spaces.
    data: Value,
    /// Headers for the endpoints, by name.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What its producer calls it: a second one with the same is a duplicate.
    idempotency_key: Option<String>,
}

/// An event that is stored.
#[derive(Serialize, ToSchema)]
pub(crate) struct TakenEvent {
    /// Its id.
    uid: String,
    /// Whether there was one with that idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_duplicate_event: Option<bool>,
}

/// What became of one event of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// Its place in the batch.
    index: u32,
    /// What it would have been answered alone.
    status: u16,
    /// Its id, once stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Whether there was one with that idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_duplicate_event: Option<bool>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

macro_rules! takes {
    ($name:ident, $path:literal, $operation:literal, $body:ty, $summary:literal) => {
        #[doc = $summary]
        ///
        /// Answered once it is durable.
        #[utoipa::path(
            post,
            path = $path,
            operation_id = $operation,
            tag = "Events",
            params(("project_id" = String, Path, description = "The project's id")),
            request_body = $body,
            responses(
                (status = 201, description = "The event is stored", body = Envelope<TakenEvent>),
                (status = 408, description = "The body did not arrive in time: send it again", body = ErrorBody),
            ),
            extensions(("x-longshore-plane" = json!("data"))),
        )]
        #[expect(dead_code, reason = "stands in the document alone")]
        fn $name() {}
    };
}

takes!(
    create_event,
    "/projects/{project_id}/events",
    "CreateEndpointEvent",
    CreateEvent,
    "Send an event to an endpoint."
);
takes!(
    create_fanout_event,
    "/projects/{project_id}/events/fanout",
    "CreateEndpointFanoutEvent",
    FanoutEvent,
    "Send an event to every endpoint of an owner."
);
takes!(
    create_broadcast_event,
    "/projects/{project_id}/events/broadcast",
    "CreateBroadcastEvent",
    BroadcastEvent,
    "Send an event to every subscription that wants it."
);
takes!(
    create_dynamic_event,
    "/projects/{project_id}/events/dynamic",
    "CreateDynamicEvent",
    DynamicEvent,
    "Send an event to a URL."
);

/// Send several events.
///
/// A JSON array, or one event per line as `application/x-ndjson`. Each has a result of its own.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/events/batch",
    operation_id = "CreateEventBatch",
    tag = "Events",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = Vec<BatchEvent>,
    responses(
        (status = 201, description = "All are stored", body = Envelope<Vec<BatchResult>>),
        (status = 408, description = "The body did not arrive in time: send it again", body = ErrorBody),
        (status = 207, description = "Some are stored", body = BatchAnswer),
        (status = 400, description = "None is stored: the batch, or each of its events, is wrong", body = BatchAnswer),
        (status = 503, description = "None is stored: send it again", body = BatchAnswer),
    ),
    extensions(("x-longshore-plane" = json!("data"))),
)]
#[expect(dead_code, reason = "stands in the document alone")]
fn create_batch() {}

/// What became of a batch, or what is wrong with it as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchAnswer {
    /// Whether all are stored.
    status: bool,
    /// How many came to what end, or what is wrong.
    message: String,
    /// What became of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<BatchResult>>,
}
