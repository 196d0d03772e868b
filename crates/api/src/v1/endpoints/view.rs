//! What requests are told of an endpoint.

use longshore_core::endpoint::ContentType;
use longshore_store::breakers::BreakerEvent;
use longshore_store::control::{BreakerRecord, EndpointOutcomes, SecretRecord, StoredEndpoint};
use serde::Serialize;
use utoipa::ToSchema;

use super::authentication::{AuthenticationView, CertificateView};

/// An endpoint.
#[derive(Serialize, ToSchema)]
pub(crate) struct EndpointView {
    /// Its id.
    pub(crate) uid: String,
    /// Whose it is.
    project_id: String,
    /// The owner that `fanout` events name; empty for none.
    owner_id: String,
    /// For people.
    name: String,
    /// Where webhooks go.
    url: String,
    /// Every secret that signs or did lately, oldest first.
    secrets: Vec<SecretView>,
    /// Whether the signature's header has a time.
    advanced_signatures: bool,
    /// For people.
    description: String,
    /// Who is told when it is switched off.
    support_email: String,
    /// The same, in Slack's format.
    slack_webhook_url: String,
    /// The same, in Teams' format.
    teams_webhook_url: String,
    /// Seconds an attempt may take.
    http_timeout: u64,
    /// Requests per `rate_limit_duration`; 0 for no limit.
    rate_limit: u32,
    /// Seconds; 0 for no limit.
    rate_limit_duration: u64,
    /// `active`, `paused` or `inactive`.
    status: String,
    /// `application/json` or `application/x-www-form-urlencoded`.
    content_type: String,
    /// What its requests prove who sends them with.
    #[serde(skip_serializing_if = "Option::is_none")]
    authentication: Option<AuthenticationView>,
    /// The certificate that its requests are sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtls_client_cert: Option<CertificateView>,
    /// The circuit breaker: `closed`, `open` or `half-open`; absent when it has not failed lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    cb_state: Option<String>,
    /// Failures of a hundred requests, as the circuit breaker sees them.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_rate: Option<f64>,
    /// Events that were for it, for as long as statistics are kept; counted once a minute.
    /// Absent for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    /// Made, RFC 3339.
    created_at: String,
    /// Changed last, RFC 3339.
    updated_at: String,
}

/// One of an endpoint's secrets.
#[derive(Serialize, ToSchema)]
pub(crate) struct SecretView {
    /// Its id.
    uid: String,
    /// The secret.
    value: String,
    /// From when on it no longer signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Made.
    created_at: String,
    /// The same.
    updated_at: String,
}

/// How an endpoint's deliveries went in a span of time.
#[derive(Serialize, ToSchema)]
pub(crate) struct OutcomesView {
    /// The endpoint.
    uid: String,
    /// Delivered.
    success_count: u64,
    /// Given up.
    failure_count: u64,
    /// Failed so far.
    retry_count: u64,
    /// (failure + retry) / (success + failure + retry), of a hundred.
    period_failure_rate: f64,
}

/// Whether client credentials get a token.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct TokenTestView {
    /// Whether they do.
    pub(super) success: bool,
    /// The beginning of the token; the rest is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token: Option<String>,
    /// What goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_type: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires_at: Option<String>,
    /// In a sentence.
    pub(super) message: String,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// An endpoint's circuit breaker.
#[derive(Serialize, ToSchema)]
pub(crate) struct BreakerView {
    /// `closed`, `open` or `half-open`.
    state: String,
    /// How often it has opened without closing in between.
    trips: u32,
    /// Open: when a probe may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Requests in the window that is watched.
    requests: u64,
    /// How many of them failed.
    failures: u64,
    /// Failures of a hundred requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_rate: Option<f64>,
    /// When it changed last; absent when it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<String>,
    /// What it went through, newest first, at most a hundred.
    transitions: Vec<TransitionView>,
}

/// A change of a circuit breaker.
#[derive(Serialize, ToSchema)]
pub(crate) struct TransitionView {
    /// What it was.
    from: String,
    /// What it became.
    to: String,
    /// How often it had opened without closing in between.
    trips: u32,
    /// Whether the endpoint was switched off for it.
    is_disabled: bool,
    /// When.
    at: String,
}

/// The contract spells it with a hyphen.
fn spelt(state: longshore_core::breaker::BreakerState) -> String {
    state.as_str().replace('_', "-")
}

impl EndpointView {
    pub(crate) fn of(stored: &StoredEndpoint) -> Self {
        let (endpoint, credentials) = (&stored.endpoint, &stored.endpoint.credentials);
        let limit = endpoint.settings.rate_limit;
        let content_type = match endpoint.settings.content_type {
            ContentType::Json => "application/json",
            ContentType::Form => "application/x-www-form-urlencoded",
        };
        Self {
            uid: endpoint.id.to_string(),
            project_id: endpoint.project.to_string(),
            owner_id: endpoint.owner_id.clone().unwrap_or_default(),
            name: endpoint.name.clone(),
            url: endpoint.url.to_string(),
            secrets: stored.secrets.iter().map(SecretView::of).collect(),
            advanced_signatures: endpoint.advanced_signatures,
            description: stored.description.clone(),
            support_email: stored.contacts.support_email.clone(),
            slack_webhook_url: stored.contacts.slack_webhook_url.expose().clone(),
            teams_webhook_url: stored.contacts.teams_webhook_url.expose().clone(),
            http_timeout: endpoint.http_timeout.as_secs().max(1),
            rate_limit: limit.map_or(0, longshore_core::RateLimit::count),
            rate_limit_duration: limit.map_or(0, |limit| limit.per().as_secs().max(1)),
            status: endpoint.status.to_string(),
            content_type: content_type.to_owned(),
            authentication: credentials.authentication.as_ref().map(AuthenticationView::of),
            mtls_client_cert: credentials.client_certificate.as_ref().map(CertificateView::of),
            cb_state: stored.breaker.map(|breaker| spelt(breaker.state)),
            failure_rate: stored.breaker.and_then(|breaker| breaker.failure_rate()),
            events: Some(stored.deliveries).filter(|count| *count > 0),
            created_at: stored.created_at.to_string(),
            updated_at: stored.updated_at.to_string(),
        }
    }
}

impl SecretView {
    fn of(secret: &SecretRecord) -> Self {
        Self {
            uid: secret.id.to_string(),
            value: secret.text.expose().clone(),
            expires_at: secret.expires_at.map(|at| at.to_string()),
            created_at: secret.created_at.to_string(),
            updated_at: secret.created_at.to_string(),
        }
    }
}

impl OutcomesView {
    pub(super) fn of(outcomes: &EndpointOutcomes) -> Self {
        let failed = outcomes.failure + outcomes.retry;
        let all = outcomes.success + failed;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let period_failure_rate = if all == 0 { 0.0 } else { failed as f64 * 100.0 / all as f64 };
        Self {
            uid: outcomes.endpoint.to_string(),
            success_count: outcomes.success,
            failure_count: outcomes.failure,
            retry_count: outcomes.retry,
            period_failure_rate,
        }
    }
}

impl BreakerView {
    pub(super) fn of(breaker: Option<BreakerRecord>, history: &[BreakerEvent]) -> Self {
        Self {
            state: breaker.map_or_else(|| "closed".to_owned(), |breaker| spelt(breaker.state)),
            trips: breaker.map_or(0, |breaker| breaker.trips),
            until: breaker.and_then(|breaker| breaker.until).map(|at| at.to_string()),
            requests: breaker.map_or(0, |breaker| breaker.requests),
            failures: breaker.map_or(0, |breaker| breaker.failures),
            failure_rate: breaker.and_then(|breaker| breaker.failure_rate()),
            changed_at: breaker.map(|breaker| breaker.changed_at.to_string()),
            transitions: history
                .iter()
                .map(|event| TransitionView {
                    from: spelt(event.from),
                    to: spelt(event.to),
                    trips: event.trips,
                    is_disabled: event.is_disabled,
                    at: event.occurred_at.to_string(),
                })
                .collect(),
        }
    }
}
