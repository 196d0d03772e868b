//! A project: the tenant boundary and the settings its deliveries share.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::BreakerSettings;
use crate::catalogue::EventTypePolicy;
use crate::duration::{self, HumanDuration};
use crate::filter::Semantics;
use crate::ids::ProjectId;
use crate::notice::{AlertSettings, MetaEventSettings, NoticeKind};
use crate::rate::RateLimit;
use crate::retry::{RetryPolicy, RetrySchedule};
use crate::secret::{Secret, exposed_option};
use crate::signature::{Encoding, Hash};

/// The tenant boundary.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// For people.
    pub name: String,
    /// What its deliveries share.
    pub settings: ProjectSettings,
    /// What is kept sealed.
    pub credentials: ProjectCredentials,
}

impl Project {
    /// Whether anybody is to be told of that kind, by whatever channel.
    #[must_use]
    pub fn wants(&self, kind: NoticeKind) -> bool {
        let has_channel = !self.settings.alerts.emails.is_empty() || self.credentials.slack_url.is_some();
        self.settings.meta_events.wants(kind) || (has_channel && self.settings.alerts.wants(kind))
    }

    /// A project with defaults.
    #[must_use]
    pub fn new(id: ProjectId, name: String) -> Self {
        Self { id, name, settings: ProjectSettings::default(), credentials: ProjectCredentials::default() }
    }
}

/// Secrets of a project. The JSON form shows them: it is for the seal only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProjectCredentials {
    /// The proxy that webhooks go out through, with its credentials: `http://`, `https://`, `socks5://` or `socks5h://`.
    #[serde(serialize_with = "exposed_option")]
    pub proxy: Option<Secret<String>>,
    /// Signs meta events.
    #[serde(serialize_with = "exposed_option")]
    pub meta_event_secret: Option<Secret<String>>,
    /// Where alerts go in Slack's format: such a URL is a secret itself.
    #[serde(serialize_with = "exposed_option")]
    pub slack_url: Option<Secret<String>>,
}

/// What the deliveries of a project share. Stored as JSON; absent keys take the default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProjectSettings {
    /// Largest request body at ingest, in bytes.
    pub max_payload_bytes: usize,
    /// When a delivery is tried again, unless its subscription says otherwise.
    pub retry: RetrySchedule,
    /// What is tried again at all, for how long, and how much of it.
    pub retry_policy: RetryPolicy,
    /// How deliveries are signed.
    pub signature: SignatureSettings,
    /// How filters treat absent keys and mixed types.
    pub filter_semantics: Semantics,
    /// What is asked of the types of events, and of their data, before they are taken in.
    pub event_types: EventTypePolicy,
    /// Header that carries the event's idempotency key to the endpoint, when it has one.
    pub idempotency_header: String,
    /// Whether to send `X-Convoy-Event-ID` and `X-Convoy-EventDelivery-ID`.
    pub add_event_id_trace_headers: bool,
    /// Whether an endpoint that keeps failing is switched off.
    pub disable_endpoint: bool,
    /// Events taken in over the whole fleet; `None` for no limit.
    pub ingest_rate_limit: Option<RateLimit>,
    /// When deliveries to an endpoint that keeps failing are parked.
    pub circuit_breaker: BreakerSettings,
    /// How requests leave.
    pub egress: EgressSettings,
    /// Where meta events go, and which.
    pub meta_events: MetaEventSettings,
    /// Who is alerted of what.
    pub alerts: AlertSettings,
    /// How long events are kept, deliveries and attempts with them; `None` for as long as the installation keeps them, which
    /// bounds it anyway. A day at least.
    pub retention: Option<KeptFor>,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1024 * 1024,
            retry: RetrySchedule::default(),
            retry_policy: RetryPolicy::default(),
            signature: SignatureSettings::default(),
            filter_semantics: Semantics::Strict,
            event_types: EventTypePolicy::Any,
            idempotency_header: "X-Convoy-Idempotency-Key".to_owned(),
            add_event_id_trace_headers: false,
            disable_endpoint: false,
            ingest_rate_limit: None,
            circuit_breaker: BreakerSettings::default(),
            egress: EgressSettings::default(),
            meta_events: MetaEventSettings::default(),
            alerts: AlertSettings::default(),
            retention: None,
        }
    }
}

/// How long something is kept: a day at least. In JSON a duration as text: `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HumanDuration", into = "HumanDuration")]
pub struct KeptFor(Duration);

/// What is kept for less than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is too short: write `1d` or more", duration::format(*.0))]
pub struct TooShort(Duration);

impl KeptFor {
    /// That long.
    ///
    /// # Errors
    /// [`TooShort`].
    pub fn new(duration: Duration) -> Result<Self, TooShort> {
        if duration < Duration::from_secs(86_400) { Err(TooShort(duration)) } else { Ok(Self(duration)) }
    }

    /// How long.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<HumanDuration> for KeptFor {
    type Error = TooShort;

    fn try_from(duration: HumanDuration) -> Result<Self, TooShort> {
        Self::new(duration.0)
    }
}

impl From<KeptFor> for HumanDuration {
    fn from(kept: KeptFor) -> Self {
        Self(kept.0)
    }
}

/// How a project's requests leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressSettings {
    /// Whether endpoints may be plain `http://`; `None` for what the installation says.
    pub allow_http: Option<bool>,
    /// Hosts (names or addresses) that webhooks may go to although they are private, within what the installation lets
    /// projects open.
    pub allowed_hosts: Vec<String>,
    /// The address of this machine that connections are made from.
    pub source_address: Option<IpAddr>,
}

/// Which signature headers a delivery carries. Both sets are on by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignatureSettings {
    /// Whether to send the v1 contract's header.
    pub convoy: bool,
    /// Whether to send `webhook-id`, `webhook-timestamp` and `webhook-signature` (Standard Webhooks).
    pub standard: bool,
    /// Name of the v1 contract's header.
    pub header: String,
    /// Hash of the v1 contract's signature.
    pub hash: Hash,
    /// Encoding of the v1 contract's signature.
    pub encoding: Encoding,
}

impl Default for SignatureSettings {
    fn default() -> Self {
        Self {
            convoy: true,
            standard: true,
            header: "X-Convoy-Signature".to_owned(),
            hash: Hash::Sha256,
            encoding: Encoding::Hex,
        }
    }
}
