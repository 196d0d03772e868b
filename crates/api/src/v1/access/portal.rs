//! Requests with a token of a portal link: what is open to them, and how far they see.
//!
//! Invariant: an operation is closed to portal links unless its handler takes one of these, and a handler that does has no
//! project's id at hand: it has a [`Sight`], with which queries find what belongs to the link's owner and nothing else.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use longshore_core::access::{Action, Role, portal_allows};
use longshore_core::project::EgressSettings;
use longshore_core::{ProjectId, RetrySchedule};
use longshore_store::control::{AuditEntry, PortalPass, ProjectRecord, Sight};
use serde_json::Value;

use super::{Caller, Grant, InProject, Permission, enter, version_of};
use crate::v1::control::Control;
use crate::v1::problem::Problem;

/// A request within a project, by somebody who may do `P` there, or by who has a portal link with which `P` may be done
/// to its owner's endpoints. It stands in place of [`InProject`] where portal links are let in; such an
/// operation says `x-longshore-portal` in the document.
pub(crate) struct InSight<P> {
    /// Who asks.
    pub(crate) caller: Caller,
    project: ProjectRecord,
    /// `None` for who comes with a portal link.
    role: Option<Role>,
    permission: PhantomData<P>,
}

/// A request with a portal link's token, wherever it is of.
pub(crate) struct Portal {
    /// What it opens.
    pub(crate) pass: Arc<PortalPass>,
}

/// A request that sees something of a project: what handlers with and without portal links have in common.
pub(crate) trait Seeing {
    /// What it may be answered with.
    fn sight(&self) -> Sight;

    /// The project's id, for people and programs to read.
    fn project_uid(&self) -> String;
}

impl<P> Seeing for InSight<P> {
    fn sight(&self) -> Sight {
        let id = self.project.project.id;
        match self.portal() {
            Some(pass) => Sight::owner(id, pass.owner_id.clone()),
            None => Sight::project(id),
        }
    }

    fn project_uid(&self) -> String {
        self.project.project.id.to_string()
    }
}

impl<P> Seeing for InProject<P> {
    fn sight(&self) -> Sight {
        Sight::project(self.id())
    }

    fn project_uid(&self) -> String {
        self.id().to_string()
    }
}

impl<P> InSight<P> {
    /// The portal link by which it came.
    pub(crate) fn portal(&self) -> Option<&PortalPass> {
        match &self.caller.grant {
            Grant::Portal(pass) => Some(pass),
            Grant::Project(..) | Grant::User(..) => None,
        }
    }

    /// The project of a row that is new: it is to be of the owner that the request sees.
    pub(crate) const fn project_of_new(&self) -> ProjectId {
        self.project.project.id
    }

    /// Where the project's webhooks may go.
    pub(crate) const fn egress(&self) -> &EgressSettings {
        &self.project.project.settings.egress
    }

    /// When deliveries are tried again, unless their subscription says otherwise.
    pub(crate) const fn retry_schedule(&self) -> &RetrySchedule {
        &self.project.project.settings.retry
    }

    /// A line for the audit log.
    #[expect(clippy::needless_pass_by_value, reason = "ids and names are handed over as they are at hand")]
    pub(crate) fn entry(&self, action: &'static str, resource: impl ToString, detail: Value) -> AuditEntry {
        AuditEntry {
            organisation: self.project.organisation,
            project: Some(self.project.project.id),
            action,
            resource: resource.to_string(),
            detail,
        }
    }

    /// Whether the caller may do `Q` too; whoever has a portal link has nothing else.
    pub(crate) fn may<Q: Permission>(&self) -> bool {
        self.role.is_some() && self.caller.require::<Q>(self.role).is_ok()
    }
}

/// What operations that take no portal links answer.
pub(super) fn closed() -> Problem {
    Problem::forbidden("this is not open to portal links")
}

/// Whether a portal link opens that.
pub(super) fn require<P: Permission>(pass: &PortalPass) -> Result<(), Problem> {
    match (portal_allows(P::RESOURCE, P::ACTION, pass.can_manage_endpoint), P::ACTION) {
        (true, _) => Ok(()),
        (false, Action::Read) => Err(closed()),
        (false, Action::Write) => Err(Problem::forbidden("this portal link may not change that")),
    }
}

impl<P: Permission> FromRequestParts<Control> for InSight<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Caller::identify(parts, control).await?;
        let (project, role) = enter::<P>(parts, control, &caller).await?;
        Ok(Self { caller, project, role, permission: PhantomData })
    }
}

impl FromRequestParts<Control> for Portal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Caller::identify(parts, control).await?;
        let Grant::Portal(pass) = caller.grant else {
            return Err(Problem::forbidden("this needs a token of a portal link"));
        };
        version_of(parts, control, None)?;
        Ok(Self { pass })
    }
}
