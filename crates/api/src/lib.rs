//! Longshore's control plane over HTTP. For now: the operational routes and `/egress-ips`.
//!
//! What it is for: orchestrators and scrapers ask here. What it does not do: serve events or webhooks.
//! Invariants: a liveness answer depends on this process alone, never on Postgres or a broker, since otherwise
//! an outage of theirs would restart the whole fleet; nothing here waits on IO.

mod egress;
pub mod health;
mod ops;

pub use egress::egress_router;
pub use health::{Health, Reason};
pub use ops::{ops_router, probe_router};
