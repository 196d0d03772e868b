//! Versions of the API by date. What there is so far has one shape in all of them.

use longshore_store::control::{Date, date};

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
}

/// The date of the newest version, to which new projects are pinned.
#[must_use]
pub fn newest_version() -> Option<Date> {
    date(ApiVersion::default().as_str())
}
