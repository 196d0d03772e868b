//! From claim to recorded attempt: `claim → sign → guard → send → judge → record`.
//!
//! One scheduler per process hands out turns by project and endpoint; each attempt is a task; outcomes are recorded in
//! batches, fenced by the claim. A receiver's failure is data ([`AttemptOutcome`](longshore_core::AttemptOutcome)).

mod attempt;
mod breakers;
mod claims;
pub mod egress;
mod http;
mod lease;
mod rates;
mod recorder;
mod request;
mod run;
mod scheduler;
mod transport;

use std::time::Duration;

pub use http::{HttpSettings, HttpTransport, TransportError};
pub(crate) use rates::most_held;
pub use run::{Dispatch, run};
pub use transport::{Answer, SignedRequest, Transport};

/// Bounds of dispatch.
#[derive(Clone, Copy, Debug)]
pub struct DispatchLimits {
    /// Attempts in flight at once, over all endpoints.
    pub attempts: usize,
    /// The part of them that endpoints may take together that are slow or of which nothing is known; of 1.
    pub slow_share: f64,
    /// The part of them that retries take at most of endpoints for which nothing else waits, and the part of an endpoint's
    /// turns that its retries get while both wait; of 1.
    pub retry_share: f64,
    /// How often Postgres is asked for due deliveries when nothing hints at one.
    pub poll: Duration,
    /// How long outcomes are gathered before they are recorded together.
    pub gather: Duration,
    /// The lease this process has on its claims; see the store's settings. Renewed four times per lease.
    pub lease: Duration,
}
