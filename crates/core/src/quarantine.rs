//! Why a message could not become an event.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    /// The project wants types of its catalogue, and this is none.
    UnknownEventType,
    /// The project wants data as its catalogue describes them, and these are not.
    InvalidData,
    /// Larger than the project's limit.
    TooLarge,
    /// The database refuses the row for good.
    Rejected,
}

/// What a broker says of a message besides its headers and body: what it takes to decode it again as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageFacts {
    /// What the broker or the producer calls the message.
    pub message_id: Option<String>,
    /// What endpoints are told as its id, where that is something else.
    pub label: Option<String>,
    /// The producer's timestamp in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Where it was addressed to.
    pub address: String,
    /// What the broker keeps in order.
    pub key: Option<String>,
    /// Whether the broker said that it had delivered it before.
    pub redelivered: bool,
    /// Whether the broker said that there was no body at all.
    pub tombstone: bool,
    /// How often it had been delivered, where the broker counts.
    pub attempt: Option<u32>,
}

impl MessageFacts {
    /// As stored: a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// From the stored form; what is missing has its default.
    ///
    /// # Errors
    /// When the text is not such an object.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// A reason that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reason for quarantine: expected one of {known}", known = Reason::ALL.map(Reason::as_str).join(", "))]
pub struct UnknownReason(String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| UnknownReason(text.chars().take(64).collect()))
    }
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Undecodable,
        Self::InvalidField,
        Self::UnknownEndpoint,
        Self::UnknownKind,
        Self::UnknownEventType,
        Self::InvalidData,
        Self::TooLarge,
        Self::Rejected,
    ];

    /// The word used in the database and as a metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::InvalidField => "invalid_field",
            Self::UnknownEndpoint => "unknown_endpoint",
            Self::UnknownKind => "unknown_kind",
            Self::UnknownEventType => "unknown_event_type",
            Self::InvalidData => "invalid_data",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_round_trip_and_an_unknown_one_is_told_what_there_is() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        let problem = "lost".parse::<Reason>().unwrap_err().to_string();
        assert!(problem.contains("`lost`") && problem.contains("too_large"), "{problem}");
    }

    #[test]
    fn facts_round_trip_and_older_ones_are_filled_up() {
        let facts = MessageFacts {
            message_id: Some("m\0".to_owned()),
            timestamp_ms: Some(-1),
            redelivered: true,
            attempt: Some(3),
            ..MessageFacts::default()
        };

        assert_eq!(MessageFacts::from_json(&facts.to_json()).unwrap(), facts);
        assert_eq!(MessageFacts::from_json(r#"{"more": 1}"#).unwrap(), MessageFacts::default());
    }
}
