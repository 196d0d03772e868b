//! An event: the durable fact that deliveries are made of.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{EndpointId, EventId, ProjectId, SourceId};

/// Header names and values in the producer's order and spelling. Names compare without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Appends a header.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value of that name, whatever its case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As stored: a JSON array of `[name, value]` pairs, which keeps order, case and repeats.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "[]".to_owned())
    }

    /// From the stored form.
    ///
    /// # Errors
    /// When the text is not a JSON array of pairs.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }
}

impl FromIterator<(String, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The subscriptions of one endpoint.
    Single,
    /// The subscriptions of every endpoint of one owner.
    Fanout,
    /// Every subscription of the project.
    Broadcast,
    /// A URL given with the event; registered as an endpoint when unknown.
    Dynamic,
    /// The subscriptions of the HTTP source that received it. No producer can say it: it is what such a source makes.
    Incoming,
}

impl EventKind {
    /// The word used on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Fanout => "fanout",
            Self::Broadcast => "broadcast",
            Self::Dynamic => "dynamic",
            Self::Incoming => "incoming",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an event kind: expected single, fanout, broadcast or dynamic")]
pub struct UnknownKind(String);

impl FromStr for EventKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "single" => Ok(Self::Single),
            "fanout" => Ok(Self::Fanout),
            "broadcast" => Ok(Self::Broadcast),
            "dynamic" => Ok(Self::Dynamic),
            "incoming" => Ok(Self::Incoming),
            other => Err(UnknownKind(other.chars().take(64).collect())),
        }
    }
}

/// Whom this event is for, with what that needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One endpoint.
    Single(EndpointId),
    /// The endpoints of an owner.
    Fanout(String),
    /// Every subscription of the project.
    Broadcast,
    /// The endpoint of a URL, derived with [`EndpointId::derive`] unless one was registered before.
    Dynamic(EndpointId),
    /// The subscriptions of the event's source.
    Incoming,
}

impl Target {
    /// The kind of event that has this target.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Single(_) => EventKind::Single,
            Self::Fanout(_) => EventKind::Fanout,
            Self::Broadcast => EventKind::Broadcast,
            Self::Dynamic(_) => EventKind::Dynamic,
            Self::Incoming => EventKind::Incoming,
        }
    }

    /// The endpoint named by the event, if it names one.
    #[must_use]
    pub const fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Self::Single(id) | Self::Dynamic(id) => Some(*id),
            Self::Fanout(_) | Self::Broadcast | Self::Incoming => None,
        }
    }

    /// The owner named by the event, if it names one.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Fanout(owner) => Some(owner),
            _ => None,
        }
    }
}

/// A durable fact, or one about to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Derived from the broker's position where there is one; see [`EventId::derive`].
    pub id: EventId,
    /// The tenant.
    pub project: ProjectId,
    /// The source it came from; `None` for the HTTP event routes.
    pub source: Option<SourceId>,
    /// Whom it is for.
    pub target: Target,
    /// What happened, e.g. `invoice.paid`.
    pub event_type: String,
    /// Compact JSON, byte for byte what is signed and sent.
    pub body: Bytes,
    /// Forwarded to the endpoint.
    pub headers: Headers,
    /// The producer's key; a second event with the same key is stored and marked, not delivered.
    pub idempotency_key: Option<String>,
    /// When we received it.
    pub received_at: Timestamp,
    /// What the broker or the producer keeps in order: a Kafka record's key, a message group, an ordering key.
    pub ordering_key: Option<String>,
    /// When it happened, by the producer's word.
    pub occurred_at: Option<Timestamp>,
    /// The media type of `body`, sent to the endpoint as `Content-Type`; `None` for `application/json`.
    pub content_type: Option<String>,
    /// The context attributes of a CloudEvent: the text of a JSON object.
    pub attributes: Option<String>,
    /// The query of the URL that a source received it at, without `?`: appended to the endpoint's URL.
    pub url_query: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_order_case_and_repeats() {
        let headers: Headers = [("X-A", "1"), ("x-b", "2"), ("X-A", "3")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into_iter()
            .collect();

        assert_eq!(headers.to_json(), r#"[["X-A","1"],["x-b","2"],["X-A","3"]]"#);
        assert_eq!(Headers::from_json(&headers.to_json()).unwrap(), headers);
        assert_eq!(headers.get("x-a"), Some("1"));
        assert_eq!(headers.get("X-B"), Some("2"));
    }

    #[test]
    fn kinds_round_trip_and_unknown_ones_are_named() {
        for kind in [EventKind::Single, EventKind::Fanout, EventKind::Broadcast, EventKind::Dynamic] {
            assert_eq!(kind.as_str().parse::<EventKind>().unwrap(), kind);
        }
        assert!("Single".parse::<EventKind>().unwrap_err().to_string().contains("`Single`"));
    }
}
