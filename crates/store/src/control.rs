//! What the public API reads and writes: everything that people do to a project, and who may.
//!
//! None of this is on the hot path; it runs on connections of its own ([`Profile::Control`](crate::Profile)). Invariants:
//! every change is one transaction with its line in the audit log ([`Changing`]); nothing is read or written without the
//! project it belongs to.

mod access;
mod audit;
mod changing;
mod features;
mod operations;
mod page;
mod projects;
mod quarantine;
mod repeats;
mod sources;

use longshore_core::OrganisationId;

pub use access::{KeyOwner, KeyRecord};
pub use audit::{Actor, ActorKind, AuditEntry};
pub use changing::Changing;
pub use operations::{
    ClaimedOperation, Operation, OperationKind, OperationProgress, OperationState, Selection,
};
pub use page::{Direction, Page, PageRequest};
pub use projects::ProjectRecord;
pub use quarantine::quarantine_cursor;
pub use repeats::{REPEATS_KEPT, Turn};
pub use sources::{HTTP, SourceFilter, StoredSource};

/// The organisation that the projects of resource files belong to. The first migration of organisations makes it.
pub const DEFAULT_ORGANISATION: OrganisationId = OrganisationId::from_u128(1);
