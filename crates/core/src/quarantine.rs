//! Why a message could not become an event.

use std::fmt;

/// The class of a permanent fault, as stored with the quarantined message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The body is not JSON, or not the envelope.
    Undecodable,
    /// A required field is missing or has the wrong type.
    InvalidField,
    /// The endpoint named does not exist in the project.
    UnknownEndpoint,
    /// The kind named does not exist or is not accepted here.
    UnknownKind,
    /// Larger than the project's limit.
    TooLarge,
    /// The database refuses the row for good.
    Rejected,
}

impl Reason {
    /// The word used in the database and as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::InvalidField => "invalid_field",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::UnknownKind => "unknown_kind",
            Self::TooLarge => "too_large",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
