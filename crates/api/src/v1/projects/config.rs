//! A project's `config`: the contract's words for our settings, in both directions.

use longshore_store::control::ProjectRecord;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What the deliveries of a project share. Everything may be left out.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct ProjectConfig {
    /// Largest request body at ingest, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_payload_read_size: Option<u64>,
    /// Kept and given back; signatures have a timestamp where the endpoint has `advanced_signatures`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay_attacks_prevention_enabled: Option<bool>,
    /// Whether deliveries carry the ids of the event and of the delivery as headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) add_event_id_trace_headers: Option<bool>,
    /// Whether an endpoint that keeps failing is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disable_endpoint: Option<bool>,
    /// Kept and given back; an endpoint may always have several subscriptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) multiple_endpoint_subscriptions: Option<bool>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verify_dynamic_events: Option<bool>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) allow_unmatched_dynamic_urls: Option<bool>,
    /// Kept and given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) search_policy: Option<String>,
    /// Whether endpoints have to be `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ssl: Option<SslConfig>,
    /// How many events are taken in; absent or `count` 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ratelimit: Option<RateLimitConfig>,
    /// When a delivery is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strategy: Option<StrategyConfig>,
    /// How deliveries are signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<SignatureConfig>,
    /// The header that carries the event's idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id_header: Option<String>,
    /// Where meta events go, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meta_event: Option<MetaEventConfig>,
    /// When deliveries to an endpoint that keeps failing are parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) circuit_breaker: Option<CircuitBreakerConfig>,
    /// Beyond the contract: what is asked of events before they are taken in. `any` (the default) nothing; `known` a type of
    /// the catalogue; `valid` data that the type's schema allows, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_types: Option<String>,
    /// Beyond the contract: the whole retry schedule, as in resource files; it beats `strategy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) retry: Option<Value>,
    /// Beyond the contract: what is tried again at all, as in resource files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) retry_policy: Option<Value>,
}

/// Whether endpoints have to be `https`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct SslConfig {
    /// Whether they have to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enforce_secure_endpoints: Option<bool>,
}

/// So many in so long.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct RateLimitConfig {
    /// How many; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u32>,
    /// In how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
}

/// When a delivery is tried again.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct StrategyConfig {
    /// `linear` or `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#type: Option<String>,
    /// The first delay, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration: Option<u64>,
    /// Attempts in all, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_count: Option<u16>,
}

/// How deliveries are signed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct SignatureConfig {
    /// The header that carries the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) header: Option<String>,
    /// Hash and encoding; the last one is signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) versions: Option<Vec<SignatureVersion>>,
}

/// A hash and an encoding.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct SignatureVersion {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<String>,
    /// `SHA256` or `SHA512`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<String>,
    /// `hex` or `base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_at: Option<String>,
}

/// Where meta events go, and which.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct MetaEventConfig {
    /// Whether there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_enabled: Option<bool>,
    /// `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) r#type: Option<String>,
    /// Which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event_type: Option<Vec<String>>,
    /// Where they are posted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// Signs them; made when there is none yet. Shown only to those who may change the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<String>,
}

/// When deliveries to an endpoint that keeps failing are parked.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct CircuitBreakerConfig {
    /// Kept and given back: nothing is sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sample_rate: Option<u64>,
    /// Seconds that it stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_timeout: Option<u64>,
    /// Percent of the attempts that must have failed to open it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure_threshold: Option<u64>,
    /// Percent of the probes that must succeed to close it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) success_threshold: Option<u64>,
    /// Minutes that an attempt counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observability_window: Option<u64>,
    /// Attempts below which nothing is decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minimum_request_count: Option<u64>,
    /// Times it opens in a row before the endpoint is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) consecutive_failure_threshold: Option<u64>,
}

/// What is left of a given value when it says what is shown already. The contract's words cannot say everything that our
/// settings can: whoever sends back what he read must not change what was only rounded for him.
fn news<T: PartialEq>(given: Option<T>, shown: Option<&T>) -> Option<T> {
    given.filter(|given| Some(given) != shown)
}

impl ProjectConfig {
    /// Without what says the same as the project does already.
    pub(super) fn changed_from(self, before: &ProjectRecord) -> Self {
        let shown = Self::of(before, true);
        Self {
            ssl: news(self.ssl, shown.ssl.as_ref()),
            ratelimit: news(self.ratelimit, shown.ratelimit.as_ref()),
            strategy: news(self.strategy, shown.strategy.as_ref()),
            signature: news(self.signature, shown.signature.as_ref()),
            meta_event: news(self.meta_event, shown.meta_event.as_ref()),
            circuit_breaker: self
                .circuit_breaker
                .map(|given| given.changed_from(&shown.circuit_breaker.unwrap_or_default())),
            retry: news(self.retry, shown.retry.as_ref()),
            retry_policy: news(self.retry_policy, shown.retry_policy.as_ref()),
            ..self
        }
    }
}

impl CircuitBreakerConfig {
    fn changed_from(self, shown: &Self) -> Self {
        Self {
            sample_rate: self.sample_rate,
            error_timeout: news(self.error_timeout, shown.error_timeout.as_ref()),
            failure_threshold: news(self.failure_threshold, shown.failure_threshold.as_ref()),
            success_threshold: news(self.success_threshold, shown.success_threshold.as_ref()),
            observability_window: news(self.observability_window, shown.observability_window.as_ref()),
            minimum_request_count: news(self.minimum_request_count, shown.minimum_request_count.as_ref()),
            consecutive_failure_threshold: news(
                self.consecutive_failure_threshold,
                shown.consecutive_failure_threshold.as_ref(),
            ),
        }
    }
}
