//! What an operation needs, as a type: it stands in the signature of its handler.

use longshore_core::access::{Action, Resource};

/// What an operation needs.
pub(crate) trait Permission: Send + Sync + 'static {
    /// What it is about.
    const RESOURCE: Resource;
    /// What it does with it.
    const ACTION: Action;
}

macro_rules! permissions {
    ($($read:ident, $write:ident => $resource:ident),+ $(,)?) => {$(
        /// To look at it.
        pub(crate) struct $read;
        /// To change it.
        pub(crate) struct $write;

        impl Permission for $read {
            const RESOURCE: Resource = Resource::$resource;
            const ACTION: Action = Action::Read;
        }

        impl Permission for $write {
            const RESOURCE: Resource = Resource::$resource;
            const ACTION: Action = Action::Write;
        }
    )+};
}

permissions! {
    ReadOrganisation, WriteOrganisation => Organisation,
    ReadMembers, WriteMembers => Members,
    ReadProjects, WriteProjects => Projects,
    ReadApiKeys, WriteApiKeys => ApiKeys,
    ReadEndpoints, WriteEndpoints => Endpoints,
    ReadSources, WriteSources => Sources,
    ReadPortalLinks, WritePortalLinks => PortalLinks,
    ReadEvents, WriteEvents => Events,
    ReadDeliveries, WriteDeliveries => Deliveries,
    ReadQuarantine, WriteQuarantine => Quarantine,
    ReadSubscriptions, WriteSubscriptions => Subscriptions,
    ReadEventTypes, WriteEventTypes => EventTypes,
    ReadMetaEvents, WriteMetaEvents => MetaEvents,
}

/// To look at the audit log; nobody changes it.
pub(crate) struct ReadAuditLog;

impl Permission for ReadAuditLog {
    const RESOURCE: Resource = Resource::AuditLog;
    const ACTION: Action = Action::Read;
}
