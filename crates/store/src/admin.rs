//! The writes behind `apply`: the resources of a project as a file declares them.
//!
//! What it is for: to load what is managed, and to write what differs, in one transaction under one lock. What it
//! does not do: decide what differs, or validate (the caller does both). Invariants: only resources with a
//! `resource_name` are loaded, changed or deleted here; whatever is secret is sealed, or hashed, before it
//! reaches SQL.

mod load;
mod resource;
mod session;
mod write;

pub use resource::{
    ApiKeySpec, EndpointSecret, EndpointSpec, FilterSpec, Managed, ManagedEndpoint, ManagedProject,
    SourceSpec, SubscriptionSpec,
};
pub use session::ApplySession;
pub use write::{Change, Kind};
