//! Versions of the API by date: a request is answered in the shape of the version it asks for.
//!
//! The code speaks the newest version only. Small functions carry what older clients send forward to it, and what they
//! are answered back, one change at a time.

use std::sync::{Arc, OnceLock};

use longshore_store::control::{Date, date};
use serde_json::Value;

use super::problem::Problem;

/// The published versions, oldest first.
pub(crate) const VERSIONS: [&str; 3] = ["2024-01-01", "2024-04-01", "2025-11-24"];

/// The newest of them.
pub const NEWEST: &str = VERSIONS[VERSIONS.len() - 1];

/// A published version, as its place in [`VERSIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion(usize);

impl Default for ApiVersion {
    /// The newest.
    fn default() -> Self {
        Self(VERSIONS.len() - 1)
    }
}

impl ApiVersion {
    /// The version of that date.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        VERSIONS.iter().position(|version| *version == text).map(Self)
    }

    /// Its date.
    pub(crate) fn as_str(self) -> &'static str {
        VERSIONS.get(self.0).copied().unwrap_or(VERSIONS[VERSIONS.len() - 1])
    }

    /// Whether there is a newer one.
    pub(crate) fn is_older(self) -> bool {
        self < Self::default()
    }
}

/// The date of the newest version, to which new projects are pinned.
#[must_use]
pub fn newest_version() -> Option<Date> {
    date(ApiVersion::default().as_str())
}

/// What older versions had otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// An endpoint.
    Endpoint,
    /// A page of endpoints.
    Endpoints,
    /// A portal link.
    PortalLink,
}

/// Where the version of a request is noted once its project is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct VersionSlot(Arc<OnceLock<ApiVersion>>);

impl VersionSlot {
    /// Notes it; the first word counts.
    pub(crate) fn set(&self, version: ApiVersion) {
        let _ = self.0.set(version);
    }

    /// What was noted, or the newest.
    pub(crate) fn get(&self) -> ApiVersion {
        self.0.get().copied().unwrap_or_default()
    }
}

/// Makes of what an older client sends what the newest would.
///
/// # Errors
/// `400`: it is wrong in its own version.
pub(crate) fn upgrade(_shape: Shape, _from: ApiVersion, _body: &mut Value) -> Result<(), Problem> {
    Ok(())
}

/// Makes of an answer's `data` what that version had.
pub(crate) fn downgrade(_shape: Shape, _to: ApiVersion, _data: &mut Value) {}
