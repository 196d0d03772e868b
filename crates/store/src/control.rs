//! What the public API reads and writes: everything that people do to a project, and who may.
//!
//! None of this is on the hot path; it runs on connections of its own ([`Profile::Control`](crate::Profile)). Invariants:
//! every change is one transaction with its line in the audit log ([`Changing`]); nothing is read or written without the
//! project it belongs to.

mod access;
mod attempts;
mod audit;
mod audit_list;
mod changing;
mod deliver_events;
mod deliveries;
mod endpoints;
mod event_types;
mod events;
mod features;
mod keys;
mod listing;
mod meta_events;
mod onboarding;
mod operations;
mod organisations;
mod page;
mod portal_access;
mod portal_links;
mod projects;
mod quarantine;
mod repeats;
mod sight;
mod sources;
mod stats;
mod subscriptions;

use longshore_core::OrganisationId;

pub use access::{KeyOwner, KeyRecord};
pub use attempts::AttemptRecord;
pub use audit::{Actor, ActorKind, AuditEntry};
pub use audit_list::{AuditFilter, AuditLine};
pub use changing::Changing;
pub use deliveries::{ClaimedRetries, DeliveryFilter, DeliveryRecord, EndpointBrief, Retries, RetriesState};
pub use endpoints::{
    BreakerRecord, Contacts, EndpointFilter, EndpointOutcomes, SecretRecord, StoredEndpoint,
};
pub use event_types::EventTypeRecord;
pub use events::{EventFilter, EventRecord, ListedEvent};
pub use keys::{KeyGrant, ListedKey, NewKey};
pub use meta_events::{LastMetaAttempt, MetaEventFilter, MetaEventRecord, Requeued};
pub use onboarding::{OnboardRow, Onboarded};
pub use operations::{
    ClaimedOperation, Operation, OperationKind, OperationProgress, OperationState, Selection,
};
pub use organisations::{MemberRecord, OrganisationRecord};
pub use page::{Direction, Page, PageRequest};
pub use portal_access::PortalPass;
pub use portal_links::{
    AuthType, OwnedEndpoint, PORTAL_TOKEN_LIFE, PortalLinkDraft, PortalLinkFilter, PortalLinkRecord,
    PortalToken,
};
pub use projects::{ProjectDraft, ProjectRecord, ProjectStatistics};
pub use quarantine::quarantine_cursor;
pub use repeats::{REPEATS_KEPT, Turn};
pub use sight::Sight;
pub use sources::{HTTP, SourceFilter, StoredSource};
pub use stats::{Figures, StatsBucket, StatsBy, StatsPoint, StatsQuestion};
pub use subscriptions::{
    FilterRecord, ListedSubscription, SourceBrief, SubscribedEndpoint, SubscriptionFilter, SubscriptionRecord,
};

/// The organisation that the projects of resource files belong to. The first migration of organisations makes it.
pub const DEFAULT_ORGANISATION: OrganisationId = OrganisationId::from_u128(1);

/// A day of the calendar: what versions of the API are named by.
pub use time::Date;

/// The day of that text, `2026-01-31`.
#[must_use]
pub fn date(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let year = parts.next()?.parse().ok()?;
    let month: u8 = parts.next()?.parse().ok()?;
    let day = parts.next()?.parse().ok()?;
    Date::from_calendar_date(year, time::Month::try_from(month).ok()?, day).ok()
}
