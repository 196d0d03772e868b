//! Who asks, and whether they may: found out before anything else of a request is looked at.

mod organisation;
mod permission;
mod personal;
mod portal;

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;
use longshore_core::access::{Role, Scope, scopes_allow};
use longshore_core::{Clock, OrganisationId, ProjectId, SystemClock, Timestamp, UserId};
use longshore_store::PORTAL_PREFIX;
use longshore_store::control::{Actor, ActorKind, AuditEntry, KeyOwner, PortalPass, ProjectRecord};
use serde_json::Value;

pub(crate) use organisation::InOrganisation;
pub(crate) use permission::*;
pub(crate) use personal::Personal;
pub(crate) use portal::{InSight, Portal, Seeing};

use super::control::Control;
use super::features::Guarded;
use super::problem::Problem;
use super::request::RequestId;
use super::unknown_path;
use super::version::{self, ApiVersion, VERSIONS};

/// Whoever presents a key. As the argument of a handler it is anybody but who comes with a portal link's token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As the audit log names it.
    pub(crate) actor: Actor,
    /// Whose key it is.
    pub(crate) grant: Grant,
    /// What the key is narrowed down to.
    pub(crate) scopes: Vec<Scope>,
    /// Until when the key is good.
    pub(crate) expires_at: Option<Timestamp>,
}

/// What a key opens, before its scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// One project.
    Project(ProjectId, Role),
    /// Whatever the person may, up to a role.
    User(UserId, Option<Role>),
    /// What one owner has in a project. Operations are closed to it, but for those that take an [`InSight`].
    Portal(Arc<PortalPass>),
}

/// A request within a project, by somebody who may do `P` there. The first argument of every handler of a project.
pub(crate) struct InProject<P> {
    /// The project as it is now.
    pub(crate) project: ProjectRecord,
    /// Who asks.
    pub(crate) caller: Caller,
    /// What the caller is here, scopes aside.
    pub(crate) role: Role,
    permission: PhantomData<P>,
}

/// Who asks, once it was found out.
#[derive(Clone, Debug)]
pub(crate) struct Known(pub(crate) Result<Caller, Problem>);

impl<P> InProject<P> {
    /// The project's id.
    pub(crate) const fn id(&self) -> ProjectId {
        self.project.project.id
    }

    /// A line for the audit log.
    #[expect(clippy::needless_pass_by_value, reason = "ids and names are handed over as they are at hand")]
    pub(crate) fn entry(&self, action: &'static str, resource: impl ToString, detail: Value) -> AuditEntry {
        AuditEntry {
            organisation: self.project.organisation,
            project: Some(self.id()),
            action,
            resource: resource.to_string(),
            detail,
        }
    }
}

impl Caller {
    /// Somebody with a key of the project with the id 1, for tests of what is around handlers.
    #[cfg(test)]
    pub(crate) fn of(actor: Actor) -> Self {
        let grant = Grant::Project(ProjectId::from_u128(1), Role::Owner);
        Self { actor, grant, scopes: Vec::new(), expires_at: None }
    }

    /// Whether the key's scopes include that.
    ///
    /// # Errors
    /// `403` names the scope it lacks.
    pub(crate) fn require<P: Permission>(&self, role: Option<Role>) -> Result<(), Problem> {
        let (resource, action) = (P::RESOURCE, P::ACTION);
        let Some(role) = role else { return Err(Problem::forbidden("this key has no access here")) };
        if !role.allows(resource, action) {
            let least = Role::least(resource, action);
            return Err(Problem::forbidden(format!("this needs the role `{least}`; this key has `{role}`")));
        }
        if !scopes_allow(&self.scopes, resource, action) {
            let needed = Scope { resource, action };
            return Err(Problem::forbidden(format!("this key lacks the scope `{needed}`")));
        }
        Ok(())
    }

    /// What the caller is in an organisation; `None` for nothing.
    pub(crate) async fn role_in(
        &self,
        control: &Control,
        organisation: OrganisationId,
    ) -> Result<Option<Role>, Problem> {
        match &self.grant {
            Grant::Project(..) | Grant::Portal(_) => Ok(None),
            Grant::User(user, limit) => {
                let role = control.store().role_in(*user, organisation).await?;
                Ok(role.map(|role| limit.map_or(role, |limit| limit.min(role))))
            }
        }
    }
}

impl Caller {
    /// Whoever it is, with a portal link's token too: for what is around handlers, and for extractors that know of these.
    pub(crate) async fn identify(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        if let Some(Known(known)) = parts.extensions.get() {
            return known.clone();
        }
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, key) =
            header.and_then(|text| text.split_once(' ')).ok_or_else(Problem::unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthenticated());
        }
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        let (key, hash) = (key.trim(), control.hasher().hash(key.trim()));
        let caller = match key.starts_with(PORTAL_PREFIX) {
            true => Self::with_token(control, &hash, request_id).await?,
            false => Self::with_key(control, &hash, request_id).await?,
        };
        match caller.expires_at {
            Some(end) if SystemClock.now() >= end => Err(Problem::unauthenticated()),
            _ => Ok(caller),
        }
    }

    async fn with_key(
        control: &Control,
        hash: &[u8; 32],
        request_id: Option<String>,
    ) -> Result<Self, Problem> {
        let found = control.store().key_by_hash(hash).await?.ok_or_else(Problem::unauthenticated)?;
        let (kind, name, grant) = match found.owner {
            KeyOwner::Project { project, role } => {
                (ActorKind::ProjectKey, found.name, Grant::Project(project, role))
            }
            KeyOwner::User { user, email, limit } => {
                (ActorKind::PersonalKey, email, Grant::User(user, limit))
            }
        };
        let actor = Actor { kind, id: Some(found.id.as_uuid()), name, request_id };
        Ok(Self { actor, grant, scopes: found.scopes, expires_at: found.expires_at })
    }

    async fn with_token(
        control: &Control,
        hash: &[u8; 32],
        request_id: Option<String>,
    ) -> Result<Self, Problem> {
        let pass = control.store().portal_by_hash(hash).await?.ok_or_else(Problem::unauthenticated)?;
        let actor = Actor {
            kind: ActorKind::PortalLink,
            id: Some(pass.link.as_uuid()),
            name: pass.name.clone(),
            request_id,
        };
        let expires_at = pass.expires_at;
        Ok(Self { actor, grant: Grant::Portal(Arc::new(pass)), scopes: Vec::new(), expires_at })
    }
}

impl FromRequestParts<Control> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Self::identify(parts, control).await?;
        match caller.grant {
            Grant::Portal(_) => Err(portal::closed()),
            Grant::Project(..) | Grant::User(..) => Ok(caller),
        }
    }
}

impl<P: Permission> FromRequestParts<Control> for InProject<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, control).await?;
        let (project, role) = enter::<P>(parts, control, &caller).await?;
        let role = role.ok_or_else(portal::closed)?;
        Ok(Self { project, caller, role, permission: PhantomData })
    }
}

/// The project of a request, and what the caller is there: `None` for who comes with a portal link.
async fn enter<P: Permission>(
    parts: &mut Parts,
    control: &Control,
    caller: &Caller,
) -> Result<(ProjectRecord, Option<Role>), Problem> {
    let id = project_of_path(parts, control).await?;
    // A key of another project learns nothing, not even whether this one is there.
    let elsewhere = || Problem::forbidden("this key has no access to this project");
    let own = match &caller.grant {
        Grant::Project(own, _) => Some(*own),
        Grant::Portal(pass) => Some(pass.project),
        Grant::User(..) => None,
    };
    if own.is_some() && own != id {
        return Err(elsewhere());
    }
    let found = match id {
        Some(id) => control.store().project_record(id).await?,
        None => None,
    };
    let role = match (&caller.grant, &found) {
        (Grant::Portal(pass), _) => {
            portal::require::<P>(pass)?;
            None
        }
        (Grant::Project(_, role), _) => Some(*role),
        (Grant::User(..), Some(project)) => {
            Some(caller.role_in(control, project.organisation).await?.ok_or_else(elsewhere)?)
        }
        (Grant::User(..), None) => return Err(elsewhere()),
    };
    if role.is_some() {
        caller.require::<P>(role)?;
    }
    let project = found.ok_or_else(|| Problem::not_found("project"))?;
    if let Some(Guarded(feature)) = parts.extensions.get().copied() {
        let decided = control.store().project_features(project.project.id).await?;
        let decided = decided.into_iter().find(|(known, _)| *known == feature).map(|(_, is_on)| is_on);
        if !control.settings().features.is_on(feature, decided) {
            return Err(unknown_path().await);
        }
    }
    version_of(parts, control, Some(&project))?;
    Ok((project, role))
}

/// The project that the path names; `None` when it is no id.
async fn project_of_path(parts: &mut Parts, control: &Control) -> Result<Option<ProjectId>, Problem> {
    let params = RawPathParams::from_request_parts(parts, control)
        .await
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let named = params.iter().find(|(name, _)| *name == "project_id");
    Ok(named.and_then(|(_, text)| text.parse().ok()))
}

/// The version of the API that a request gets.
///
/// # Errors
/// `400`: it names one that was never published.
pub(crate) fn version_of(
    parts: &Parts,
    control: &Control,
    project: Option<&ProjectRecord>,
) -> Result<ApiVersion, Problem> {
    let named = ["longshore-version", "x-convoy-version"]
        .into_iter()
        .find_map(|name| parts.headers.get(name).map(|value| (name, value)));
    let version = match named {
        Some((name, value)) => {
            value.to_str().ok().and_then(|text| ApiVersion::parse(text.trim())).ok_or_else(|| {
                Problem::invalid(name, format!("no such version; there are {}", VERSIONS.join(", ")))
            })?
        }
        None => project
            .and_then(|project| project.api_version)
            .and_then(|date| ApiVersion::parse(&date.to_string()))
            .unwrap_or(control.default_version()),
    };
    version::note(&parts.extensions, version);
    Ok(version)
}
