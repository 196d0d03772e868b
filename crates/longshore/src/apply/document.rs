//! The file as it is written. `examples/resources.yaml` shows every key.
//!
//! Strict: unknown keys are refused. Nothing is expanded; a secret is given inline or by its `_file` twin.

use std::collections::BTreeMap;
use std::fmt;

use longshore_core::duration::HumanDuration;
use longshore_core::endpoint::{BatchSettings, CloudEventsMode, ContentType, ExpiryUnit, TokenFields};
use longshore_core::project::ProjectSettings;
use longshore_core::subscription::Ordered;
use longshore_core::{
    ApiKeyId, Endpoint, EndpointId, EndpointStatus, Mapping, ProjectId, RateLimit, RetrySchedule, Secret,
    SourceId, SubscriptionId,
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
    pub(crate) credentials: ProjectCredentialsDocument,
    #[serde(default)]
    pub(crate) api_keys: Vec<ApiKeyDocument>,
    #[serde(default)]
    pub(crate) endpoints: Vec<EndpointDocument>,
    #[serde(default)]
    pub(crate) subscriptions: Vec<SubscriptionDocument>,
    #[serde(default)]
    pub(crate) sources: Vec<SourceDocument>,
}

/// Secrets of a project.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ProjectCredentialsDocument {
    pub(crate) proxy: Option<Secret<String>>,
    pub(crate) proxy_file: Option<String>,
    pub(crate) meta_event_secret: Option<Secret<String>>,
    pub(crate) meta_event_secret_file: Option<String>,
    pub(crate) slack_url: Option<Secret<String>>,
    pub(crate) slack_url_file: Option<String>,
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
    /// Whatever it is when absent; a new one is active.
    pub(crate) status: Option<EndpointStatus>,
    pub(crate) secret: Option<SecretDocument>,
    /// Oldest first; every one that has not expired signs.
    pub(crate) secrets: Option<Vec<SecretDocument>>,
    #[serde(default = "yes")]
    pub(crate) advanced_signatures: bool,
    #[serde(default = "ten_seconds")]
    pub(crate) http_timeout: HumanDuration,
    #[serde(default = "fifty")]
    pub(crate) max_concurrency: u16,
    /// Over the whole fleet.
    pub(crate) rate_limit: Option<RateLimit>,
    #[serde(default)]
    pub(crate) adaptive_concurrency: bool,
    #[serde(default)]
    pub(crate) content_type: ContentType,
    pub(crate) user_agent: Option<String>,
    pub(crate) cloudevents: Option<CloudEventsMode>,
    pub(crate) batch: Option<BatchSettings>,
    pub(crate) authentication: Option<AuthenticationDocument>,
    pub(crate) client_certificate: Option<CertificateDocument>,
    /// PEM of the authorities to trust instead of the public ones.
    pub(crate) ca: Option<String>,
    pub(crate) ca_file: Option<String>,
    /// Sent with each request.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, Secret<String>>,
}

const fn yes() -> bool {
    true
}

const fn ten_seconds() -> HumanDuration {
    HumanDuration(Endpoint::HTTP_TIMEOUT)
}

const fn fifty() -> u16 {
    Endpoint::MAX_CONCURRENCY
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

/// A certificate chain and its key in PEM.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateDocument {
    pub(crate) certificate: Option<String>,
    pub(crate) certificate_file: Option<String>,
    pub(crate) key: Option<Secret<String>>,
    pub(crate) key_file: Option<String>,
}

/// One of the three.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthenticationDocument {
    pub(crate) api_key: Option<HeaderDocument>,
    pub(crate) basic: Option<BasicDocument>,
    pub(crate) oauth2: Option<OAuth2Document>,
}

/// OAuth 2.0 client credentials: a client secret, or a key that signs a client assertion.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OAuth2Document {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: Option<Secret<String>>,
    pub(crate) client_secret_file: Option<String>,
    #[serde(default)]
    pub(crate) secret_in_header: bool,
    /// The text of a JWK.
    pub(crate) signing_key: Option<Secret<String>>,
    pub(crate) signing_key_file: Option<String>,
    pub(crate) signing_algorithm: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) audience: Option<String>,
    #[serde(default)]
    pub(crate) fields: TokenFields,
    #[serde(default)]
    pub(crate) expiry_unit: ExpiryUnit,
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
    /// Delivery in order, by a key.
    pub(crate) ordered: Option<Ordered>,
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
