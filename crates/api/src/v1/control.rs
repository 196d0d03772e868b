//! What every handler has at hand.

use std::sync::Arc;

use longshore_store::{ApiKeyHasher, Store};

use super::version::ApiVersion;

/// What the control plane is told about its installation.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Where people reach it, without a slash at the end: links begin with it.
    pub public_url: String,
    /// The version of the API for those who name none, as its date; `None` for the newest.
    pub default_version: Option<String>,
}

/// What every handler has at hand; cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    store: Store,
    hasher: ApiKeyHasher,
    settings: ControlSettings,
    default_version: ApiVersion,
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
        Ok(Self(Arc::new(Inner { store, hasher, settings, default_version })))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn hasher(&self) -> &ApiKeyHasher {
        &self.0.hasher
    }

    pub(crate) fn settings(&self) -> &ControlSettings {
        &self.0.settings
    }

    pub(crate) fn default_version(&self) -> ApiVersion {
        self.0.default_version
    }
}
