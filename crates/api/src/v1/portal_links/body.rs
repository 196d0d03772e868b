//! What a portal link is asked to be.

use longshore_core::EndpointId;
use longshore_store::control::{AuthType, PortalLinkDraft};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::v1::body::Body;
use crate::v1::named;
use crate::v1::problem::Problem;

/// Endpoints that a request may name.
const MOST_ENDPOINTS: usize = 1_000;

/// A portal link to be made.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewPortalLinkBody {
    /// For people.
    #[schema(required)]
    name: Option<String>,
    /// It is over all endpoints with this owner, those to come too. Clients of older versions leave it out and name
    /// `endpoints`, which then must have one owner; where none has one, they get one of their own.
    #[schema(required)]
    owner_id: Option<String>,
    /// `static_token` (the default): a token for as long as there is the link; `refresh_token`: short-lived ones.
    #[schema(value_type = Option<AuthTypeName>)]
    auth_type: Option<String>,
    /// Whether these endpoints may be changed with it; `false` by default.
    can_manage_endpoint: Option<bool>,
    /// Deprecated. Each must be an endpoint of the owner; it narrows nothing down.
    endpoints: Option<Vec<String>>,
}

/// What to change of a portal link; what is absent stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct PortalLinkChangeBody {
    /// For people.
    name: Option<String>,
    /// Another owner: tokens that were given out are no longer good.
    owner_id: Option<String>,
    /// `static_token` or `refresh_token`.
    #[schema(value_type = Option<AuthTypeName>)]
    auth_type: Option<String>,
    /// Whether its endpoints may be changed with it.
    can_manage_endpoint: Option<bool>,
    /// Deprecated. Each must be an endpoint of the owner; it narrows nothing down.
    endpoints: Option<Vec<String>>,
}

/// Which tokens a link takes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it documents the words; they are parsed with the name of their field at hand")]
pub(crate) enum AuthTypeName {
    #[schema(rename = "static_token")]
    StaticToken,
    #[schema(rename = "refresh_token")]
    RefreshToken,
    /// The default, or what it was.
    #[schema(rename = "")]
    Unchanged,
}

impl Body for NewPortalLinkBody {}
impl Body for PortalLinkChangeBody {}

impl NewPortalLinkBody {
    /// The first endpoint of a link that names no owner, as clients older than the contract's newest version write it.
    pub(super) fn endpoint_of_nobody(&self) -> Option<EndpointId> {
        let has_owner = self.owner_id.as_ref().is_some_and(|owner| !owner.is_empty());
        let first = self.endpoints.as_ref().and_then(|endpoints| endpoints.first())?;
        if has_owner { None } else { first.parse().ok() }
    }

    /// The link, and the endpoints that are to be of its owner; `owner` counts where none is named.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn parse(self, owner: Option<String>) -> Result<(PortalLinkDraft, Vec<EndpointId>), Problem> {
        let draft = PortalLinkDraft {
            name: named::name("name", self.name)?,
            owner_id: named::name("owner_id", self.owner_id.filter(|text| !text.is_empty()).or(owner))?,
            auth_type: auth_type(self.auth_type)?.unwrap_or(AuthType::StaticToken),
            can_manage_endpoint: self.can_manage_endpoint.unwrap_or_default(),
        };
        Ok((draft, endpoints(self.endpoints)?))
    }
}

/// What to change, checked.
#[derive(Debug)]
pub(super) struct PortalLinkChange {
    name: Option<String>,
    owner_id: Option<String>,
    auth_type: Option<AuthType>,
    can_manage_endpoint: Option<bool>,
    pub(super) endpoints: Vec<EndpointId>,
}

impl PortalLinkChangeBody {
    /// What to change.
    ///
    /// # Errors
    /// `400` names the field.
    pub(super) fn parse(self) -> Result<PortalLinkChange, Problem> {
        let given = |field: &str, text: Option<String>| match text {
            None => Ok(None),
            some => named::name(field, some).map(Some),
        };
        Ok(PortalLinkChange {
            name: given("name", self.name)?,
            owner_id: given("owner_id", self.owner_id.filter(|text| !text.is_empty()))?,
            auth_type: auth_type(self.auth_type)?,
            can_manage_endpoint: self.can_manage_endpoint,
            endpoints: endpoints(self.endpoints)?,
        })
    }
}

impl PortalLinkChange {
    /// The link as it is to be.
    pub(super) fn over(self, before: &PortalLinkDraft) -> PortalLinkDraft {
        PortalLinkDraft {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            owner_id: self.owner_id.unwrap_or_else(|| before.owner_id.clone()),
            auth_type: self.auth_type.unwrap_or(before.auth_type),
            can_manage_endpoint: self.can_manage_endpoint.unwrap_or(before.can_manage_endpoint),
        }
    }
}

fn auth_type(given: Option<String>) -> Result<Option<AuthType>, Problem> {
    let given = given.filter(|text| !text.is_empty());
    let known = |text: String| {
        AuthType::of(&text)
            .ok_or_else(|| Problem::invalid("auth_type", "write `static_token` or `refresh_token`"))
    };
    given.map(known).transpose()
}

fn endpoints(given: Option<Vec<String>>) -> Result<Vec<EndpointId>, Problem> {
    let given = given.unwrap_or_default();
    if given.len() > MOST_ENDPOINTS {
        return Err(Problem::invalid("endpoints", format!("name at most {MOST_ENDPOINTS}")));
    }
    let parsed = given.iter().enumerate().map(|(at, text)| {
        text.parse().map_err(|_| Problem::invalid(&format!("endpoints[{at}]"), "is no endpoint's id"))
    });
    parsed.collect()
}
