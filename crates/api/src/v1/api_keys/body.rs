//! What a new key is asked to be, and what its maker may give.

use longshore_core::access::{Role, Scope, scopes_allow};
use longshore_core::{Clock, SystemClock, Timestamp};
use longshore_store::control::{KeyGrant, ListedKey};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::v1::access::Caller;
use crate::v1::body::Body;
use crate::v1::named;
use crate::v1::problem::Problem;

/// A key to be made.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewKeyBody {
    /// For people.
    #[schema(required)]
    name: Option<String>,
    /// `owner`, `admin`, `developer` or `viewer`; at most, and by default, what the maker's key may (a project's: `admin`).
    role: Option<String>,
    /// Narrows the key down: `endpoints:read`, `events:write`, …; by default the scopes of the maker's key.
    scopes: Option<Vec<String>>,
    /// From when on it is refused (RFC 3339); by default when the maker's key is.
    expires_at: Option<String>,
}

impl Body for NewKeyBody {}

impl NewKeyBody {
    /// Its name, and what is asked.
    ///
    /// # Errors
    /// `400` names the field.
    pub(crate) fn parse(self) -> Result<(String, KeyGrant), Problem> {
        let name = named::name("name", self.name)?;
        let role = self.role.filter(|text| !text.is_empty());
        let role: Option<Role> =
            role.map(|text| text.parse()).transpose().map_err(|error| Problem::invalid("role", error))?;
        let scopes: Result<Vec<Scope>, Problem> = self
            .scopes
            .unwrap_or_default()
            .iter()
            .enumerate()
            .map(|(at, text)| text.parse().map_err(|error| Problem::invalid(&format!("scopes[{at}]"), error)))
            .collect();
        let expires_at = self.expires_at.filter(|text| !text.is_empty());
        let expires_at: Option<Timestamp> = expires_at
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| Problem::invalid("expires_at", error))?;
        if expires_at.is_some_and(|end| end <= SystemClock.now()) {
            return Err(Problem::invalid("expires_at", "is past; write a time to come"));
        }
        Ok((name, KeyGrant { role, scopes: scopes?, expires_at }))
    }
}

/// What the key may be: never more than its maker's. What was not asked is the maker's own.
///
/// # Errors
/// `403` names what the maker has not.
pub(crate) fn narrowed(caller: &Caller, own: Option<Role>, asked: KeyGrant) -> Result<KeyGrant, Problem> {
    let role = asked.role.or(own);
    if let (Some(own), Some(role)) = (own, role)
        && role > own
    {
        return Err(Problem::forbidden(format!(
            "`role`: this key is `{own}` and cannot make one that is `{role}`"
        )));
    }
    let missing =
        asked.scopes.iter().find(|scope| !scopes_allow(&caller.scopes, scope.resource, scope.action));
    if let Some(scope) = missing {
        return Err(Problem::forbidden(format!("`scopes`: this key has no `{scope}` to give")));
    }
    let scopes = if asked.scopes.is_empty() { caller.scopes.clone() } else { asked.scopes };
    let expires_at = match (caller.expires_at, asked.expires_at) {
        (Some(own), Some(end)) if end > own => {
            return Err(Problem::forbidden(format!("`expires_at`: this key expires before that, at {own}")));
        }
        (own, end) => end.or(own),
    };
    Ok(KeyGrant { role, scopes, expires_at })
}

/// What the audit log says of a key.
pub(crate) fn detail(key: &ListedKey) -> Value {
    let scopes: Vec<String> = key.grant.scopes.iter().map(ToString::to_string).collect();
    json!({
        "name": key.name,
        "mask": key.mask,
        "role": key.grant.role.map(Role::as_str),
        "scopes": scopes,
        "expires_at": key.grant.expires_at.map(|at| at.to_string()),
    })
}
