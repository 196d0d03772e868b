//! An endpoint: where webhooks go, with its secrets, limits and state.

mod credentials;
mod roll;
mod settings;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::clock::Timestamp;
use crate::ids::{EndpointId, ProjectId};
use crate::signature::SigningKey;

pub use credentials::{
    Authentication, ClientCertificate, EndpointCredentials, ExpiryUnit, OAuth2, OAuth2Client, TokenFields,
};
pub use roll::{ExpirationError, KeyType, LONGEST_OVERLAP, MAX_LIVE_SECRETS, contract_expiration};
pub use settings::{BatchSettings, CloudEventsMode, ContentType, EndpointSettings, SettingsError};

/// Whether an endpoint takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointStatus {
    /// Deliveries are sent.
    Active,
    /// Deliveries wait in Postgres until it is active again.
    Paused,
    /// Deliveries are discarded when their turn comes.
    Inactive,
}

impl EndpointStatus {
    /// The word used on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
        }
    }
}

impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EndpointStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "paused" => Ok(Self::Paused),
            "inactive" => Ok(Self::Inactive),
            other => Err(format!("`{other}` is not an endpoint status")),
        }
    }
}

/// A destination of webhooks.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The tenant.
    pub project: ProjectId,
    /// For people.
    pub name: String,
    /// Where to POST.
    pub url: Url,
    /// Whose it is: what `fanout` events name.
    pub owner_id: Option<String>,
    /// Whether it takes deliveries.
    pub status: EndpointStatus,
    /// Every key it has, oldest first; those alive at sending time sign.
    pub keys: Vec<EndpointKey>,
    /// Whether the v1 contract's header has the advanced form (`t=…,v1=…`).
    pub advanced_signatures: bool,
    /// One deadline over connect, TLS, request, response headers and body.
    pub http_timeout: Duration,
    /// Attempts in flight at once; at least 1.
    pub max_concurrency: u16,
    /// Limits, and the form of its requests.
    pub settings: EndpointSettings,
    /// What proves who we are, and who it is.
    pub credentials: EndpointCredentials,
}

impl Endpoint {
    /// How long an attempt may take unless the endpoint says otherwise.
    pub const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
    /// Attempts at once unless the endpoint says otherwise.
    pub const MAX_CONCURRENCY: u16 = 50;

    /// An active endpoint with defaults, without a key.
    #[must_use]
    pub fn new(id: EndpointId, project: ProjectId, url: Url) -> Self {
        Self {
            id,
            project,
            name: String::new(),
            url,
            owner_id: None,
            status: EndpointStatus::Active,
            keys: Vec::new(),
            advanced_signatures: true,
            http_timeout: Self::HTTP_TIMEOUT,
            max_concurrency: Self::MAX_CONCURRENCY,
            settings: EndpointSettings::default(),
            credentials: EndpointCredentials::default(),
        }
    }

    /// The keys that sign at that instant, oldest first.
    pub fn live_keys(&self, at: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().filter(move |key| key.is_live(at)).map(|key| &key.key)
    }
}

/// One of an endpoint's keys.
#[derive(Clone, Debug)]
pub struct EndpointKey {
    /// What signs.
    pub key: SigningKey,
    /// From when on it no longer signs; `None` while it is the current one.
    pub expires_at: Option<Timestamp>,
}

impl EndpointKey {
    /// Whether it signs at that instant.
    #[must_use]
    pub fn is_live(&self, at: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| at < end)
    }
}
