//! A request of a person about himself.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::request::Parts;
use longshore_core::UserId;
use longshore_core::access::Role;

use super::{Caller, Grant, Permission, version_of};
use crate::v1::control::Control;
use crate::v1::problem::Problem;

/// A request with a personal key that may do `P`, as far as the key goes: no organisation is involved.
pub(crate) struct Personal<P> {
    /// Whose key it is.
    pub(crate) user: UserId,
    /// At most what this role may do, by the key.
    pub(crate) limit: Option<Role>,
    /// Who asks.
    pub(crate) caller: Caller,
    permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<Control> for Personal<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, control).await?;
        let Grant::User(user, limit) = caller.grant else {
            return Err(Problem::forbidden("this needs a personal key; this is the key of a project"));
        };
        caller.require::<P>(Some(limit.unwrap_or(Role::Owner)))?;
        version_of(parts, control, None)?;
        Ok(Self { user, limit, caller, permission: PhantomData })
    }
}
