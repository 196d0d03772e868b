//! What happens to endpoints, deliveries and sources that people and their programs want to be told of.
//!
//! What it is for: the kinds, the settings that choose among them, and the JSON of each. What it does not do: store or
//! send. A notice goes out as a *meta event* (a signed webhook to the project's own URL) and as an *alert* (e-mail,
//! Slack), by what the project's settings say.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::duration::HumanDuration;
use crate::ids::ProjectId;

/// What happened. The spelling is the public contract's where it knows the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// An endpoint was made.
    EndpointCreated,
    /// An endpoint was changed.
    EndpointUpdated,
    /// An endpoint was deleted.
    EndpointDeleted,
    /// An endpoint was switched off because it keeps failing, or is gone.
    EndpointDisabled,
    /// An endpoint that was inactive is active again.
    EndpointEnabled,
    /// An endpoint's circuit breaker opened: its deliveries wait.
    BreakerOpened,
    /// An endpoint's circuit breaker closed: its deliveries go out again.
    BreakerClosed,
    /// A delivery was made.
    DeliverySuccess,
    /// A delivery was given up.
    DeliveryFailed,
    /// A source has been failing for a while.
    SourceFailing,
    /// A source that was failing consumes again.
    SourceRecovered,
}

/// A word that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of meta event: write some of {list}", list = NoticeKind::ALL.map(NoticeKind::as_str).join(", "))]
pub struct UnknownKind(String);

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::EndpointCreated,
        Self::EndpointUpdated,
        Self::EndpointDeleted,
        Self::EndpointDisabled,
        Self::EndpointEnabled,
        Self::BreakerOpened,
        Self::BreakerClosed,
        Self::DeliverySuccess,
        Self::DeliveryFailed,
        Self::SourceFailing,
        Self::SourceRecovered,
    ];

    /// The word used on the wire, in settings and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EndpointCreated => "endpoint.created",
            Self::EndpointUpdated => "endpoint.updated",
            Self::EndpointDeleted => "endpoint.deleted",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointEnabled => "endpoint.enabled",
            Self::BreakerOpened => "breaker.opened",
            Self::BreakerClosed => "breaker.closed",
            Self::DeliverySuccess => "eventdelivery.success",
            Self::DeliveryFailed => "eventdelivery.failed",
            Self::SourceFailing => "source.failing",
            Self::SourceRecovered => "source.recovered",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NoticeKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| UnknownKind(text.chars().take(64).collect()))
    }
}

impl Serialize for NoticeKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NoticeKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Something that happened, to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The tenant.
    pub project: ProjectId,
    /// What happened.
    pub kind: NoticeKind,
    /// To whom: the id of the endpoint or the source, as bits. Alerts about one subject are gathered.
    pub subject: u128,
    /// The `data` of the meta event: a JSON object.
    pub data: Value,
}

/// Why an endpoint was switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisableReason {
    /// It answered `410 Gone`.
    Gone,
    /// A delivery was given up, and none has succeeded since its first attempt.
    Exhausted,
    /// Its circuit breaker opened too often in a row.
    Breaker,
}

impl DisableReason {
    /// The word kept with the endpoint.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Exhausted => "exhausted",
            Self::Breaker => "breaker",
        }
    }
}

/// Where a project's meta events go, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetaEventSettings {
    /// Whether there are any.
    pub enabled: bool,
    /// Where to POST; signed with the project's `meta_event_secret`.
    pub url: Option<Url>,
    /// Which.
    pub event_types: Vec<NoticeKind>,
}

impl Default for MetaEventSettings {
    /// None; of those that may come, every kind but `eventdelivery.success`.
    fn default() -> Self {
        let event_types = NoticeKind::ALL.into_iter().filter(|kind| *kind != NoticeKind::DeliverySuccess);
        Self { enabled: false, url: None, event_types: event_types.collect() }
    }
}

impl MetaEventSettings {
    /// Whether that kind goes out.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.enabled && self.event_types.contains(&kind)
    }
}

/// Who is alerted of what. Slack is told as well, when the project's credentials hold a `slack_url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Addresses that get an e-mail, at most 20.
    pub emails: Vec<String>,
    /// Of what.
    pub events: Vec<NoticeKind>,
    /// About one subject and kind, at most one message in this time, on each channel; what happens in between is
    /// counted in the next. 1 s to 7 d.
    pub every: HumanDuration,
}

impl Default for AlertSettings {
    /// Nobody; of what needs somebody to look, and its end.
    fn default() -> Self {
        let events = vec![
            NoticeKind::EndpointDisabled,
            NoticeKind::BreakerOpened,
            NoticeKind::BreakerClosed,
            NoticeKind::DeliveryFailed,
            NoticeKind::SourceFailing,
            NoticeKind::SourceRecovered,
        ];
        Self { emails: Vec::new(), events, every: HumanDuration(Duration::from_secs(3_600)) }
    }
}

impl AlertSettings {
    /// Whether people want to be alerted of that kind, by whatever channel.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        self.events.contains(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_as_they_are_written_and_others_are_named() {
        for kind in NoticeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let error = "endpoint.exploded".parse::<NoticeKind>().unwrap_err().to_string();
        assert!(error.contains("`endpoint.exploded`") && error.contains("endpoint.disabled"), "{error}");
    }

    #[test]
    fn success_has_to_be_asked_for() {
        let on: MetaEventSettings =
            serde_json::from_str(r#"{"enabled": true, "url": "https://a.example/"}"#).unwrap();
        let asked: MetaEventSettings = serde_json::from_str(
            r#"{"enabled": true, "url": "https://a.example/", "event_types": ["eventdelivery.success"]}"#,
        )
        .unwrap();

        assert!(on.wants(NoticeKind::DeliveryFailed) && !on.wants(NoticeKind::DeliverySuccess));
        assert!(asked.wants(NoticeKind::DeliverySuccess) && !asked.wants(NoticeKind::DeliveryFailed));
        assert!(!MetaEventSettings::default().wants(NoticeKind::DeliveryFailed));
    }
}
