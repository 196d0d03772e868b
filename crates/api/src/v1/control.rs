//! What every handler has at hand.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use longshore_core::RateLimit;
use longshore_core::features::FeatureSwitches;
use longshore_store::{ApiKeyHasher, Store};

use super::brokers::{Brokers, Nothing, Replays};
use super::egress::{Egress, Nobody};
use super::limits::Limits;
use super::published::Published;
use super::version::ApiVersion;

/// What the control plane is told about its installation.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Where people reach it, without a slash at the end: links begin with it.
    pub public_url: String,
    /// The version of the API for those who name none, as its date; `None` for the newest.
    pub default_version: Option<String>,
    /// A request is answered by then.
    pub deadline: Duration,
    /// Requests of one key to one process; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Which features projects can have.
    pub features: FeatureSwitches,
    /// How long the installation keeps events.
    pub events_kept: Duration,
}

impl Default for ControlSettings {
    fn default() -> Self {
        Self {
            public_url: "http://localhost:8080".to_owned(),
            default_version: None,
            deadline: Duration::from_secs(30),
            rate_limit: None,
            features: FeatureSwitches::default(),
            events_kept: Duration::from_secs(30 * 86_400),
        }
    }
}

/// What every handler has at hand; cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
    brokers: Arc<dyn Brokers>,
    replays: Arc<dyn Replays>,
    egress: Arc<dyn Egress>,
}

struct Inner {
    store: Store,
    hasher: ApiKeyHasher,
    settings: ControlSettings,
    default_version: ApiVersion,
    limits: Option<Limits>,
    /// Set once the routes are known.
    published: OnceLock<Published>,
}

impl Control {
    /// A control plane over that database, which should be of connections of its own.
    ///
    /// # Errors
    /// What is wrong with a setting.
    pub fn new(store: Store, hasher: ApiKeyHasher, settings: ControlSettings) -> Result<Self, String> {
        let default_version = match &settings.default_version {
            None => ApiVersion::default(),
            Some(text) => ApiVersion::parse(text).ok_or_else(|| {
                format!(
                    "no version of the API is of `{text}`; there are {}",
                    super::version::VERSIONS.join(", ")
                )
            })?,
        };
        let limits = settings.rate_limit.map(Limits::new);
        let published = OnceLock::new();
        let inner = Arc::new(Inner { store, hasher, settings, default_version, limits, published });
        Ok(Self { inner, brokers: Arc::new(Nothing), replays: Arc::new(Nothing), egress: Arc::new(Nobody) })
    }

    /// With the brokers that are built in.
    #[must_use]
    pub fn with_brokers(self, brokers: Arc<dyn Brokers>) -> Self {
        Self { brokers, ..self }
    }

    /// With somebody who replays quarantined messages.
    #[must_use]
    pub fn with_replays(self, replays: Arc<dyn Replays>) -> Self {
        Self { replays, ..self }
    }

    /// With somebody who sends webhooks.
    #[must_use]
    pub fn with_egress(self, egress: Arc<dyn Egress>) -> Self {
        Self { egress, ..self }
    }

    pub(crate) fn egress(&self) -> &dyn Egress {
        &*self.egress
    }

    pub(crate) fn brokers(&self) -> &dyn Brokers {
        &*self.brokers
    }

    pub(crate) fn replays(&self) -> &dyn Replays {
        &*self.replays
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn hasher(&self) -> &ApiKeyHasher {
        &self.inner.hasher
    }

    pub(crate) fn settings(&self) -> &ControlSettings {
        &self.inner.settings
    }

    pub(crate) fn limits(&self) -> Option<&Limits> {
        self.inner.limits.as_ref()
    }

    /// What of the document is served, for people and programs.
    pub(crate) fn published(&self) -> Option<&Published> {
        self.inner.published.get()
    }

    /// Publishes the document; the first one counts.
    pub(crate) fn publish(&self, published: Published) {
        let _ = self.inner.published.set(published);
    }

    pub(crate) fn default_version(&self) -> ApiVersion {
        self.inner.default_version
    }
}
