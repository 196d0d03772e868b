//! The file as it is written. `examples/resources.yaml` shows every key.
//!
//! Strict: unknown keys are refused. Nothing is expanded; a secret is given inline or by its `_file` twin.

use std::fmt;

use longshore_core::duration::HumanDuration;
use longshore_core::project::ProjectSettings;
use longshore_core::{
    ApiKeyId, EndpointId, EndpointStatus, Mapping, ProjectId, RetrySchedule, Secret, SourceId, SubscriptionId,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess};
use serde_json::Value;

/// A whole file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// Tenants.
    pub(crate) projects: Vec<ProjectDocument>,
}

/// A tenant with what it holds. Its name is its identity.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectDocument {
    pub(crate) name: String,
    /// Generated when absent.
    pub(crate) id: Option<ProjectId>,
    #[serde(default)]
    pub(crate) settings: ProjectSettings,
    #[serde(default)]
    pub(crate) api_keys: Vec<ApiKeyDocument>,
    #[serde(default)]
    pub(crate) endpoints: Vec<EndpointDocument>,
    #[serde(default)]
    pub(crate) subscriptions: Vec<SubscriptionDocument>,
    #[serde(default)]
    pub(crate) sources: Vec<SourceDocument>,
}

/// An API key. Without `key` and `key_file` it is generated once and printed once.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyDocument {
    pub(crate) name: String,
    pub(crate) id: Option<ApiKeyId>,
    pub(crate) key: Option<Secret<String>>,
    pub(crate) key_file: Option<String>,
    /// RFC 3339.
    pub(crate) expires_at: Option<String>,
}

/// An endpoint. Without `secret` and `secrets` one is generated once and printed once.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointDocument {
    pub(crate) name: String,
    pub(crate) id: Option<EndpointId>,
    pub(crate) url: String,
    pub(crate) owner_id: Option<String>,
    #[serde(default = "active")]
    pub(crate) status: EndpointStatus,
    pub(crate) secret: Option<SecretDocument>,
    /// Oldest first; every one that has not expired signs.
    pub(crate) secrets: Option<Vec<SecretDocument>>,
    #[serde(default = "yes")]
    pub(crate) advanced_signatures: bool,
    #[serde(default = "ten_seconds")]
    pub(crate) http_timeout: HumanDuration,
    #[serde(default = "fifty")]
    pub(crate) max_concurrency: u16,
    pub(crate) authentication: Option<AuthenticationDocument>,
}

const fn active() -> EndpointStatus {
    EndpointStatus::Active
}

const fn yes() -> bool {
    true
}

const fn ten_seconds() -> HumanDuration {
    HumanDuration(std::time::Duration::from_secs(10))
}

const fn fifty() -> u16 {
    50
}

const fn one() -> u16 {
    1
}

/// An endpoint's secret: its text alone, or a mapping.
#[derive(Debug)]
pub(crate) struct SecretDocument {
    pub(crate) secret: Option<Secret<String>>,
    pub(crate) secret_file: Option<String>,
    pub(crate) expires_at: Option<String>,
}

/// Either of the two.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthenticationDocument {
    pub(crate) api_key: Option<HeaderDocument>,
    pub(crate) basic: Option<BasicDocument>,
}

/// A header with a fixed value.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderDocument {
    pub(crate) header: String,
    pub(crate) value: Option<Secret<String>>,
    pub(crate) value_file: Option<String>,
}

/// HTTP Basic.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BasicDocument {
    pub(crate) username: String,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) password_file: Option<String>,
}

/// A subscription of an endpoint of the same file.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionDocument {
    pub(crate) name: String,
    pub(crate) id: Option<SubscriptionId>,
    /// The endpoint's name.
    pub(crate) endpoint: String,
    /// `*` when absent.
    pub(crate) event_types: Option<Vec<String>>,
    /// For every event type that has none in `filters`.
    pub(crate) filter: Option<ScopesDocument>,
    #[serde(default)]
    pub(crate) filters: Vec<FilterDocument>,
    pub(crate) retry: Option<RetrySchedule>,
}

/// A filter by scope; all that are given must match.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopesDocument {
    pub(crate) body: Option<Value>,
    pub(crate) headers: Option<Value>,
}

/// A filter for some event types.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FilterDocument {
    pub(crate) event_type: String,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Option<Value>,
}

/// A source. The table named by `kind` holds the broker's settings.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceDocument {
    pub(crate) name: String,
    pub(crate) id: Option<SourceId>,
    pub(crate) kind: String,
    #[serde(default = "one")]
    pub(crate) workers: u16,
    #[serde(default)]
    pub(crate) disabled: bool,
    /// How its messages become events; the contract's envelope by default.
    #[serde(default)]
    pub(crate) mapping: Mapping,
    pub(crate) kafka: Option<Value>,
    #[serde(alias = "google")]
    pub(crate) pubsub: Option<Value>,
    #[serde(alias = "amqp")]
    pub(crate) rabbitmq: Option<Value>,
    pub(crate) sqs: Option<Value>,
}

impl fmt::Debug for SourceDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceDocument").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'de> Deserialize<'de> for SecretDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Mapping {
            secret: Option<Secret<String>>,
            secret_file: Option<String>,
            expires_at: Option<String>,
        }

        struct Reader;
        impl<'de> de::Visitor<'de> for Reader {
            type Value = SecretDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, or a mapping with `secret` or `secret_file`, and `expires_at`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretDocument, E> {
                let secret = Some(Secret::new(text.to_owned()));
                Ok(SecretDocument { secret, secret_file: None, expires_at: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretDocument, A::Error> {
                let Mapping { secret, secret_file, expires_at } =
                    Mapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SecretDocument { secret, secret_file, expires_at })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
