//! Portal links as they are shown.

use longshore_store::control::{AuthType, OwnedEndpoint, PortalLinkRecord, PortalPass};
use serde::Serialize;
use url::form_urlencoded::Serializer;
use utoipa::ToSchema;

/// A portal link.
#[derive(Serialize, ToSchema)]
pub(crate) struct PortalLinkView {
    /// Its id.
    pub(super) uid: String,
    /// For people.
    name: String,
    /// Whose it is.
    project_id: String,
    /// It is over the endpoints with this owner.
    owner_id: String,
    /// `static_token` or `refresh_token`.
    auth_type: &'static str,
    /// Whether these endpoints may be changed with it.
    can_manage_endpoint: bool,
    /// The first hundred endpoints of the owner, by their ids.
    endpoints: Vec<String>,
    /// How many endpoints the owner has.
    endpoint_count: u64,
    /// The same endpoints, without their secrets.
    endpoints_metadata: Vec<PortalEndpointView>,
    /// Its own token; absent for those who may not write portal links, and where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// A short-lived token: it is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_key: Option<String>,
    /// Where its holder goes; absent for those who may not write portal links. Without an `auth_key` to show, the URL of a
    /// `refresh_token` link wants `&auth_token=` and a fresh token behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

/// An endpoint of a link's owner, without its secrets.
#[derive(Serialize, ToSchema)]
pub(crate) struct PortalEndpointView {
    /// Its id.
    uid: String,
    /// Whose it is.
    project_id: String,
    /// The link's owner.
    owner_id: String,
    /// For people.
    name: String,
    /// Where it is.
    url: String,
    /// `active`, `paused` or `inactive`.
    status: String,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

/// What a portal link's token opens.
#[derive(Serialize, ToSchema)]
pub(crate) struct PortalView {
    /// The link.
    portal_link_id: String,
    /// Its name.
    name: String,
    /// The project.
    project_id: String,
    /// Whose endpoints they are.
    owner_id: String,
    /// Whether these may be changed.
    can_manage_endpoint: bool,
    /// From when on the token is refused; absent for as long as there is the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// What of a link's tokens an answer shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'t> {
    /// Nothing: who asks may not give the link out.
    Nothing,
    /// Its own token.
    Own,
    /// Its own, and one that was just made.
    Fresh(&'t str),
}

impl PortalLinkView {
    /// A link of a project of that id, of an installation that people reach there.
    pub(super) fn of(link: PortalLinkRecord, project: &str, public_url: &str, shown: Shown<'_>) -> Self {
        let shows = !matches!(shown, Shown::Nothing);
        let auth_key = match shown {
            Shown::Fresh(text) => Some(text.to_owned()),
            Shown::Nothing | Shown::Own => None,
        };
        let token = link.token.filter(|_| shows).map(|token| token.expose().clone());
        let url = shows.then(|| {
            let start = format!("{public_url}/portal?");
            let end = start.len();
            let mut query = Serializer::for_suffix(start, end);
            match (link.draft.auth_type, &token, &auth_key) {
                (AuthType::StaticToken, Some(token), _) => query.append_pair("token", token),
                (_, _, Some(key)) => {
                    query.append_pair("owner_id", &link.draft.owner_id).append_pair("auth_token", key)
                }
                _ => query.append_pair("owner_id", &link.draft.owner_id),
            };
            query.finish()
        });
        let owner_id = link.draft.owner_id;
        let endpoints_metadata: Vec<PortalEndpointView> = link
            .endpoints
            .into_iter()
            .map(|endpoint| PortalEndpointView::of(endpoint, project, &owner_id))
            .collect();
        Self {
            uid: link.id.to_string(),
            name: link.draft.name,
            project_id: project.to_owned(),
            auth_type: link.draft.auth_type.as_str(),
            can_manage_endpoint: link.draft.can_manage_endpoint,
            endpoints: endpoints_metadata.iter().map(|endpoint| endpoint.uid.clone()).collect(),
            endpoint_count: link.endpoint_count,
            endpoints_metadata,
            token,
            auth_key,
            url,
            created_at: link.created_at.to_string(),
            updated_at: link.updated_at.to_string(),
            owner_id,
        }
    }
}

impl PortalEndpointView {
    fn of(endpoint: OwnedEndpoint, project: &str, owner_id: &str) -> Self {
        Self {
            uid: endpoint.id.to_string(),
            project_id: project.to_owned(),
            owner_id: owner_id.to_owned(),
            name: endpoint.name,
            url: endpoint.url,
            status: endpoint.status,
            created_at: endpoint.created_at.to_string(),
            updated_at: endpoint.updated_at.to_string(),
        }
    }
}

impl PortalView {
    /// What that pass opens.
    pub(super) fn of(pass: &PortalPass) -> Self {
        Self {
            portal_link_id: pass.link.to_string(),
            name: pass.name.clone(),
            project_id: pass.project.to_string(),
            owner_id: pass.owner_id.clone(),
            can_manage_endpoint: pass.can_manage_endpoint,
            expires_at: pass.expires_at.map(|at| at.to_string()),
        }
    }
}
