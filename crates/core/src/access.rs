//! Who may do what: roles, scopes and what they allow. Pure rules; who somebody is, is found out elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What somebody is in an organisation, or what a key may be used as. Each role may do what those below it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at everything but keys, members and the audit log.
    Viewer,
    /// Works with what a project holds: endpoints, subscriptions, sources, events.
    Developer,
    /// Runs projects: settings, keys, members, the audit log.
    Admin,
    /// Owns the organisation.
    Owner,
}

/// What there is to look at and to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The organisation itself.
    Organisation,
    /// Who is in it.
    Members,
    /// What was changed by whom.
    AuditLog,
    /// Projects and their settings.
    Projects,
    /// Keys of projects.
    ApiKeys,
    /// Endpoints.
    Endpoints,
    /// Subscriptions and their filters.
    Subscriptions,
    /// Sources.
    Sources,
    /// Events.
    Events,
    /// Deliveries and attempts.
    Deliveries,
    /// Event types.
    EventTypes,
    /// Meta events.
    MetaEvents,
    /// Portal links.
    PortalLinks,
    /// Quarantined messages.
    Quarantine,
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Looked at.
    Read,
    /// Created, changed, deleted, sent again.
    Write,
}

/// What a key is narrowed down to: `endpoints:read`, `events:write`, …; writing includes reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Of this.
    pub resource: Resource,
    /// This.
    pub action: Action,
}

/// A word that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}; {expected}")]
pub struct UnknownWord {
    text: String,
    what: &'static str,
    expected: &'static str,
}

impl Role {
    /// The word used on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether the role may do that.
    #[must_use]
    pub fn allows(self, resource: Resource, action: Action) -> bool {
        self >= Self::least(resource, action)
    }

    /// The lowest role that may do that.
    #[must_use]
    pub const fn least(resource: Resource, action: Action) -> Self {
        use Resource as R;
        match (resource, action) {
            (R::Organisation, Action::Write) => Self::Owner,
            (R::Members | R::AuditLog | R::ApiKeys, _) | (R::Projects, Action::Write) => Self::Admin,
            (R::Organisation | R::Projects, Action::Read) => Self::Viewer,
            (
                R::Endpoints
                | R::Subscriptions
                | R::Sources
                | R::Events
                | R::Deliveries
                | R::EventTypes
                | R::MetaEvents
                | R::PortalLinks
                | R::Quarantine,
                action,
            ) => match action {
                Action::Read => Self::Viewer,
                Action::Write => Self::Developer,
            },
        }
    }
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Organisation,
        Self::Members,
        Self::AuditLog,
        Self::Projects,
        Self::ApiKeys,
        Self::Endpoints,
        Self::Subscriptions,
        Self::Sources,
        Self::Events,
        Self::Deliveries,
        Self::EventTypes,
        Self::MetaEvents,
        Self::PortalLinks,
        Self::Quarantine,
    ];

    /// The word used in scopes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Organisation => "organisation",
            Self::Members => "members",
            Self::AuditLog => "audit_log",
            Self::Projects => "projects",
            Self::ApiKeys => "api_keys",
            Self::Endpoints => "endpoints",
            Self::Subscriptions => "subscriptions",
            Self::Sources => "sources",
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::EventTypes => "event_types",
            Self::MetaEvents => "meta_events",
            Self::PortalLinks => "portal_links",
            Self::Quarantine => "quarantine",
        }
    }
}

impl Action {
    /// The word used in scopes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Scope {
    /// Whether the scope includes that.
    #[must_use]
    pub fn allows(self, resource: Resource, action: Action) -> bool {
        self.resource == resource && (self.action == Action::Write || action == Action::Read)
    }
}

/// Whether scopes allow that; none at all narrow nothing down.
#[must_use]
pub fn scopes_allow(scopes: &[Scope], resource: Resource, action: Action) -> bool {
    scopes.is_empty() || scopes.iter().any(|scope| scope.allows(resource, action))
}

/// Whether a portal link opens that, as far as the endpoints of its owner go.
#[must_use]
pub const fn portal_allows(resource: Resource, action: Action, can_manage_endpoint: bool) -> bool {
    use Resource as R;
    match (resource, action) {
        (R::Endpoints | R::Subscriptions | R::Events | R::Deliveries | R::PortalLinks, Action::Read) => true,
        (R::Endpoints, Action::Write) => can_manage_endpoint,
        _ => false,
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource.as_str(), self.action.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let known = [Self::Viewer, Self::Developer, Self::Admin, Self::Owner];
        known.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownWord {
            text: text.chars().take(64).collect(),
            what: "role",
            expected: "write `owner`, `admin`, `developer` or `viewer`",
        })
    }
}

impl FromStr for Scope {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let found = text.split_once(':').and_then(|(resource, action)| {
            let resource = Resource::ALL.into_iter().find(|known| known.as_str() == resource)?;
            let action = [Action::Read, Action::Write].into_iter().find(|known| known.as_str() == action)?;
            Some(Self { resource, action })
        });
        found.ok_or_else(|| UnknownWord {
            text: text.chars().take(64).collect(),
            what: "scope",
            expected: "write a resource and `read` or `write`, e.g. `endpoints:read` or `events:write`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_one_below_may() {
        let cases = [
            (Resource::Endpoints, Action::Read, Role::Viewer),
            (Resource::Endpoints, Action::Write, Role::Developer),
            (Resource::Projects, Action::Read, Role::Viewer),
            (Resource::Projects, Action::Write, Role::Admin),
            (Resource::ApiKeys, Action::Read, Role::Admin),
            (Resource::AuditLog, Action::Read, Role::Admin),
            (Resource::Organisation, Action::Write, Role::Owner),
        ];
        for (resource, action, least) in cases {
            for role in [Role::Viewer, Role::Developer, Role::Admin, Role::Owner] {
                assert_eq!(role.allows(resource, action), role >= least, "{role} {resource:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_portal_link_opens_little_and_changes_endpoints_alone() {
        let opened = |action: Action, can_manage: bool| -> Vec<Resource> {
            let all = Resource::ALL.into_iter();
            all.filter(|resource| portal_allows(*resource, action, can_manage)).collect()
        };
        let read = [
            Resource::Endpoints,
            Resource::Subscriptions,
            Resource::Events,
            Resource::Deliveries,
            Resource::PortalLinks,
        ];

        assert_eq!(opened(Action::Read, false), read);
        assert_eq!(opened(Action::Read, true), read);
        assert_eq!(opened(Action::Write, false), []);
        assert_eq!(opened(Action::Write, true), [Resource::Endpoints]);
    }

    #[test]
    fn scopes_narrow_down_and_read_back() {
        let scopes: Vec<Scope> = vec!["endpoints:read".parse().unwrap(), "events:write".parse().unwrap()];

        assert!(scopes_allow(&scopes, Resource::Endpoints, Action::Read));
        assert!(!scopes_allow(&scopes, Resource::Endpoints, Action::Write));
        assert!(scopes_allow(&scopes, Resource::Events, Action::Read));
        assert!(!scopes_allow(&scopes, Resource::Sources, Action::Read));
        assert!(scopes_allow(&[], Resource::Sources, Action::Write));
        assert_eq!(scopes[1].to_string(), "events:write");
        assert!("events".parse::<Scope>().is_err());
        assert!("root".parse::<Role>().is_err());
    }
}
