//! Endpoints, for the public API.
//!
//! Invariants: what an endpoint authenticates with, its secrets and the contacts of its people are sealed, and are in no
//! line of the audit log; every change tells meta events what `apply` would.

mod read;
mod write;

use longshore_core::breaker::BreakerState;
use longshore_core::{Endpoint, EndpointId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

/// An endpoint as it is stored. Its keys are in [`Self::secrets`] only.
#[derive(Clone, Debug)]
pub struct StoredEndpoint {
    /// Where webhooks go, and how.
    pub endpoint: Endpoint,
    /// For people.
    pub description: String,
    /// Those who run it.
    pub contacts: Contacts,
    /// Oldest first, expired ones included.
    pub secrets: Vec<SecretRecord>,
    /// Its circuit breaker, when it failed lately.
    pub breaker: Option<BreakerRecord>,
    /// How many went to it while statistics are kept, as counted last.
    pub deliveries: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// How to reach those who run an endpoint. The JSON form is for the seal only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contacts {
    /// An e-mail address.
    pub support_email: String,
    /// Takes messages in Slack's format; a secret.
    #[serde(serialize_with = "longshore_core::secret::exposed")]
    pub slack_webhook_url: Secret<String>,
    /// Takes messages in Teams' format; a secret.
    #[serde(serialize_with = "longshore_core::secret::exposed")]
    pub teams_webhook_url: Secret<String>,
}

/// One of an endpoint's secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRecord {
    /// Its id, as text.
    pub id: EndpointId,
    /// As a [`SigningKey`](longshore_core::signature::SigningKey) parses it.
    pub text: Secret<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it no longer signs.
    pub expires_at: Option<Timestamp>,
}

/// A circuit breaker, for people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerRecord {
    /// Its state.
    pub state: BreakerState,
    /// How often it has opened without closing in between.
    pub trips: u32,
    /// Open: when a probe may begin.
    pub until: Option<Timestamp>,
    /// When it changed last.
    pub changed_at: Timestamp,
    /// Requests in the window that is watched, over the fleet.
    pub requests: u64,
    /// How many of them failed.
    pub failures: u64,
}

impl BreakerRecord {
    /// Failures of a hundred requests; `None` without a request.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts of some minutes")]
        let rate = || self.failures as f64 * 100.0 / self.requests as f64;
        (self.requests > 0).then(rate)
    }
}

/// Which endpoints are asked for; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointFilter {
    /// A part of the name, in whatever case.
    pub name: Option<String>,
    /// Of this owner.
    pub owner: Option<String>,
}

/// How the deliveries of an endpoint went in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointOutcomes {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Delivered.
    pub success: u64,
    /// Given up.
    pub failure: u64,
    /// Failed so far.
    pub retry: u64,
}
