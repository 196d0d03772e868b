//! Resources as they are declared and stored, with secrets in the clear: never log them.

use std::time::Duration;

use longshore_core::endpoint::{EndpointCredentials, EndpointSettings};
use longshore_core::subscription::Ordered;
use longshore_core::{
    ApiKeyId, EndpointId, EndpointStatus, Project, RetrySchedule, Secret, SourceId, SubscriptionId,
    Timestamp, TypePattern,
};
use serde_json::Value;
use url::Url;

/// A stored resource with its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Managed<I, S> {
    /// Its id.
    pub id: I,
    /// What it is.
    pub spec: S,
}

/// A project with everything in it that is managed by name.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedProject {
    /// The project itself.
    pub project: Project,
    /// Sorted by name, as the others.
    pub endpoints: Vec<ManagedEndpoint>,
    /// Subscriptions; their endpoints may be unmanaged.
    pub subscriptions: Vec<Managed<SubscriptionId, SubscriptionSpec>>,
    /// Sources.
    pub sources: Vec<Managed<SourceId, SourceSpec>>,
    /// API keys.
    pub api_keys: Vec<Managed<ApiKeyId, ApiKeySpec>>,
}

/// A stored endpoint with its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ManagedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// What it is.
    pub spec: EndpointSpec,
    /// Every secret, oldest first.
    pub secrets: Vec<EndpointSecret>,
}

/// An endpoint, without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSpec {
    /// Unique among the project's managed endpoints.
    pub name: String,
    /// Where to POST.
    pub url: Url,
    /// Whose it is.
    pub owner_id: Option<String>,
    /// Whether it takes deliveries.
    pub status: EndpointStatus,
    /// Whether the v1 contract's header has the advanced form.
    pub advanced_signatures: bool,
    /// 100 ms to 120 s.
    pub http_timeout: Duration,
    /// 1 to 1000.
    pub max_concurrency: u16,
    /// Limits, and the form of its requests.
    pub settings: EndpointSettings,
    /// What proves who we are, and who it is.
    pub credentials: EndpointCredentials,
}

/// One of an endpoint's secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSecret {
    /// As a `SigningKey` parses it.
    pub text: Secret<String>,
    /// From when on it no longer signs.
    pub expires_at: Option<Timestamp>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionSpec {
    /// Unique among the project's managed subscriptions.
    pub name: String,
    /// Where matching events go.
    pub endpoint: EndpointId,
    /// An event matches when any of these does.
    pub event_types: Vec<TypePattern>,
    /// By event type.
    pub filters: Vec<FilterSpec>,
    /// Beats the project's schedule.
    pub retry: Option<RetrySchedule>,
    /// Whether its deliveries go out in order, and by what.
    pub ordered: Option<Ordered>,
}

/// A filter for some event types.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterSpec {
    /// Which event types it is for.
    pub event_type: TypePattern,
    /// Over the body.
    pub body: Option<Value>,
    /// Over the headers.
    pub headers: Option<Value>,
}

/// A source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSpec {
    /// Unique among the project's managed sources.
    pub name: String,
    /// The broker.
    pub kind: String,
    /// Consumers at once in each process, 1 to 64.
    pub workers: u16,
    /// Whether it rests.
    pub is_disabled: bool,
    /// The broker's settings, with credentials.
    pub settings: Secret<Value>,
    /// How its messages become events: the text of a JSON object, `{}` for the envelope.
    pub mapping: String,
}

/// An API key, of which only the hash is ever known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeySpec {
    /// Unique among the project's managed keys.
    pub name: String,
    /// See [`ApiKeyHasher::hash`](crate::ApiKeyHasher::hash).
    pub hash: Vec<u8>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}
