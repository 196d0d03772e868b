//! A request within an organisation: only the keys of its members get there.

use std::marker::PhantomData;

use axum::extract::{FromRequestParts, Query, RawPathParams};
use http::StatusCode;
use http::request::Parts;
use longshore_core::OrganisationId;
use longshore_core::access::Role;
use longshore_store::control::AuditEntry;
use serde::Deserialize;
use serde_json::Value;

use super::{Caller, Grant, Permission, version_of};
use crate::v1::control::Control;
use crate::v1::problem::Problem;

/// A request within an organisation, by a member who may do `P` there. The organisation is named by the path, or by the
/// parameter `orgID`.
pub(crate) struct InOrganisation<P> {
    /// Which; it exists, for somebody is in it.
    pub(crate) id: OrganisationId,
    /// Who asks.
    pub(crate) caller: Caller,
    /// What the caller is here, scopes aside.
    pub(crate) role: Role,
    permission: PhantomData<P>,
}

impl<P> InOrganisation<P> {
    /// A line for the audit log.
    #[expect(clippy::needless_pass_by_value, reason = "ids and names are handed over as they are at hand")]
    pub(crate) fn entry(&self, action: &'static str, resource: impl ToString, detail: Value) -> AuditEntry {
        AuditEntry { organisation: self.id, project: None, action, resource: resource.to_string(), detail }
    }
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "orgID")]
    organisation: Option<String>,
}

impl<P: Permission> FromRequestParts<Control> for InOrganisation<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, control).await?;
        let Grant::User(_, limit) = caller.grant else {
            return Err(Problem::forbidden("this needs a personal key; this is the key of a project"));
        };
        // Before anything that the request names: what the key could do anywhere.
        caller.require::<P>(Some(limit.unwrap_or(Role::Owner)))?;
        let named = named(parts, control).await?;
        let missing = || Problem::invalid("orgID", "is missing: name the organisation");
        let id: Option<OrganisationId> = named.ok_or_else(missing)?.parse().ok();
        let role = match id {
            Some(id) => caller.role_in(control, id).await?.map(|role| (id, role)),
            None => None,
        };
        let elsewhere = || Problem::forbidden("this key has no access to this organisation");
        let (id, role) = role.ok_or_else(elsewhere)?;
        caller.require::<P>(Some(role))?;
        version_of(parts, control, None)?;
        Ok(Self { id, caller, role, permission: PhantomData })
    }
}

async fn named(parts: &mut Parts, control: &Control) -> Result<Option<String>, Problem> {
    let params = RawPathParams::from_request_parts(parts, control)
        .await
        .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    if let Some((_, text)) = params.iter().find(|(name, _)| *name == "organisation_id") {
        return Ok(Some(text.to_owned()));
    }
    let Query(query) = Query::<Named>::try_from_uri(&parts.uri).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the query: {}", error.body_text()))
    })?;
    Ok(query.organisation.filter(|text| !text.is_empty()))
}
