//! Longshore's control plane over HTTP: the public API ([`v1`]), the operational routes, `/egress-ips`.
//!
//! What it is for: people, their programs, orchestrators and scrapers ask here. What it does not do: take events in or send
//! webhooks. Invariants: a liveness answer depends on this process alone, never on Postgres or a broker, since otherwise
//! an outage of theirs would restart the whole fleet; no query of this crate is on the hot path.

mod egress;
pub mod health;
mod ops;
pub mod v1;

pub use egress::egress_router;
pub use health::{Health, Reason};
pub use ops::{ops_router, probe_router};
pub use v1::with_request_ids;
