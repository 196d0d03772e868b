//! Portal links: what a project's customer sees and does, without a key of the project.
//!
//! What it is for: links, and the tokens that open them. What it does not do: serve the portal's pages. Invariants: a link
//! is over the endpoints of one owner; whoever may not write links never sees a token of one.

mod body;
mod view;

use axum::extract::{Path, State};
use longshore_core::{EndpointId, PortalLinkId, ProjectId};
use longshore_store::control::{
    AuthType, PortalLinkDraft, PortalLinkFilter, PortalLinkRecord, PortalToken, Sight,
};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{NewPortalLinkBody, PortalLinkChangeBody};
use self::view::{PortalLinkView, PortalView, Shown};
use super::access::{InProject, InSight, Portal, ReadPortalLinks, Seeing, WritePortalLinks};
use super::body::JsonBody;
use super::control::Control;
use super::etag::IfMatch;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Done, Envelope, Paged, Reply};

/// The routes of portal links.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_portal_links, create_portal_link))
        .routes(routes!(get_portal_link, update_portal_link))
        .routes(routes!(refresh_portal_token))
        .routes(routes!(revoke_portal_link))
        .routes(routes!(get_portal))
}

/// Which links a list shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct PortalLinkQuery {
    /// Those over this owner's endpoints.
    #[serde(rename = "ownerId")]
    owner_id: Option<String>,
    /// Those with this text in their name.
    q: Option<String>,
}

fn link_id(text: &str) -> Result<PortalLinkId, Problem> {
    text.parse().map_err(|_| not_found())
}

fn not_found() -> Problem {
    Problem::not_found("portal link")
}

/// List portal links.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/portal-links",
    operation_id = "LoadPortalLinksPaged",
    tag = "Portal Links",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, PortalLinkQuery),
    responses((status = 200, description = "A page of portal links", body = Envelope<Paged<PortalLinkView>>)),
)]
async fn list_portal_links(
    access: InProject<ReadPortalLinks>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<PortalLinkQuery>,
) -> Result<Reply<Paged<PortalLinkView>>, Problem> {
    let request = page.parse()?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = PortalLinkFilter { owner_id: given(query.owner_id), text: given(query.q) };
    let links = control.store().portal_links_page(access.id(), &filter, &request).await?;
    let (project, shown) = (access.id().to_string(), shown(&access));
    let public_url = &control.settings().public_url;
    let views = links.map(|link| PortalLinkView::of(link, &project, public_url, shown));
    let paged = Paged::new(views, request.limit, |view| view.uid.clone());
    Ok(Reply::ok("Portal links fetched successfully", paged))
}

/// Create a portal link over the endpoints of an owner.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/portal-links",
    operation_id = "CreatePortalLink",
    tag = "Portal Links",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = NewPortalLinkBody,
    responses((status = 201, description = "The link, with a token", body = Envelope<PortalLinkView>)),
)]
async fn create_portal_link(
    access: InProject<WritePortalLinks>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewPortalLinkBody>,
) -> Result<Reply<PortalLinkView>, Problem> {
    let first = match body.endpoint_of_nobody() {
        Some(id) => control.store().endpoint(&access.sight(), id).await?.map(|stored| stored.endpoint),
        None => None,
    };
    let adopts = first.as_ref().is_some_and(|endpoint| endpoint.owner_id.is_none());
    // Endpoints of nobody become those of an owner of their own, so that the link is over them and no others.
    let owner = first.map(|endpoint| endpoint.owner_id.unwrap_or_else(|| endpoint.id.to_string()));
    let (draft, endpoints) = body.parse(owner)?;
    of_owner(&control, access.id(), &draft, &endpoints, adopts).await?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if adopts {
        for id in change.adopt_endpoints(access.id(), &draft.owner_id, &endpoints).await? {
            change.audit(&access.entry("endpoint.updated", id, json!({"owner_id": draft.owner_id}))).await?;
        }
    }
    let id = change.add_portal_link(access.id(), &draft, control.hasher()).await?;
    change.audit(&access.entry("portal_link.created", id, detail(&draft))).await?;
    let fresh = match draft.auth_type {
        AuthType::StaticToken => None,
        AuthType::RefreshToken => change.add_portal_token(access.id(), id, control.hasher()).await?,
    };
    if let Some(token) = &fresh {
        change.audit(&access.entry("portal_link.token_created", id, token_detail(token))).await?;
    }
    change.commit().await?;
    let link = reread(&control, access.id(), id).await?;
    let (project, updated_at) = (access.id().to_string(), link.updated_at);
    let shown = fresh.as_ref().map_or(Shown::Own, |token| Shown::Fresh(token.text.expose()));
    let view = PortalLinkView::of(link, &project, &control.settings().public_url, shown);
    Ok(Reply::created("Portal link created successfully", view).tagged(updated_at))
}

/// Retrieve a portal link; its own holder may, too.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/portal-links/{portal_link_id}",
    operation_id = "GetPortalLink",
    tag = "Portal Links",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("portal_link_id" = String, Path, description = "The link's id"),
    ),
    responses((status = 200, description = "The link", body = Envelope<PortalLinkView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_portal_link(
    access: InSight<ReadPortalLinks>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<PortalLinkView>, Problem> {
    let id = link_id(&id)?;
    // Another link of the same owner is nothing of this one's holder.
    if access.portal().is_some_and(|pass| pass.link != id) {
        return Err(not_found());
    }
    let link = control.store().portal_link(&access.sight(), id).await?.ok_or_else(not_found)?;
    let shown = if access.may::<WritePortalLinks>() { Shown::Own } else { Shown::Nothing };
    let updated_at = link.updated_at;
    let view = PortalLinkView::of(link, &access.project_uid(), &control.settings().public_url, shown);
    Ok(Reply::ok("Portal link fetched successfully", view).tagged(updated_at))
}

/// Update a portal link. What is absent stays.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/portal-links/{portal_link_id}",
    operation_id = "UpdatePortalLink",
    tag = "Portal Links",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("portal_link_id" = String, Path, description = "The link's id"),
    ),
    request_body = PortalLinkChangeBody,
    responses((status = 202, description = "The link as it is now", body = Envelope<PortalLinkView>)),
)]
async fn update_portal_link(
    access: InProject<WritePortalLinks>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<PortalLinkChangeBody>,
) -> Result<Reply<PortalLinkView>, Problem> {
    let (id, mut asked) = (link_id(&id)?, body.parse()?);
    let endpoints = std::mem::take(&mut asked.endpoints);
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let (before, updated_at) = change.portal_link_draft(access.id(), id).await?.ok_or_else(not_found)?;
    if_match.check(updated_at)?;
    let draft = asked.over(&before);
    of_owner(&control, access.id(), &draft, &endpoints, false).await?;
    change.update_portal_link(access.id(), id, &before, &draft, control.hasher()).await?;
    change.audit(&access.entry("portal_link.updated", id, detail(&draft))).await?;
    change.commit().await?;
    let link = reread(&control, access.id(), id).await?;
    let (project, updated_at) = (access.id().to_string(), link.updated_at);
    let view = PortalLinkView::of(link, &project, &control.settings().public_url, Shown::Own);
    Ok(Reply::accepted("Portal link updated successfully", view).tagged(updated_at))
}

/// Make a short-lived token of a portal link: good for an hour, shown this once.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/portal-links/{portal_link_id}/refresh_token",
    operation_id = "RefreshPortalLinkAuthToken",
    tag = "Portal Links",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("portal_link_id" = String, Path, description = "The link's id"),
    ),
    responses((status = 200, description = "The token itself", body = Envelope<String>)),
    extensions(("x-longshore-writes" = json!(true))),
)]
async fn refresh_portal_token(
    access: InProject<WritePortalLinks>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<String>, Problem> {
    let id = link_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let token = change.add_portal_token(access.id(), id, control.hasher()).await?.ok_or_else(not_found)?;
    change.audit(&access.entry("portal_link.token_created", id, token_detail(&token))).await?;
    change.commit().await?;
    Ok(Reply::ok("Portal link auth token refreshed successfully", token.text.expose().to_owned()))
}

/// Revoke a portal link: it is gone, and every token of it is refused.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/portal-links/{portal_link_id}/revoke",
    operation_id = "RevokePortalLink",
    tag = "Portal Links",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("portal_link_id" = String, Path, description = "The link's id"),
    ),
    responses((status = 200, description = "It is revoked", body = Done)),
)]
async fn revoke_portal_link(
    access: InProject<WritePortalLinks>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<()>, Problem> {
    let id = link_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let name = change.delete_portal_link(access.id(), id).await?.ok_or_else(not_found)?;
    change.audit(&access.entry("portal_link.revoked", id, json!({"name": name}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Portal link revoked successfully", ()))
}

/// What the token of a portal link opens: for pages that know nothing but the token.
#[utoipa::path(
    get,
    path = "/portal",
    operation_id = "GetPortal",
    tag = "Portal Links",
    responses((status = 200, description = "What it opens", body = Envelope<PortalView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_portal(access: Portal) -> Reply<PortalView> {
    Reply::ok("Portal fetched successfully", PortalView::of(&access.pass))
}

/// A link that was just written.
async fn reread(
    control: &Control,
    project: ProjectId,
    id: PortalLinkId,
) -> Result<PortalLinkRecord, Problem> {
    control.store().portal_link(&Sight::project(project), id).await?.ok_or_else(not_found)
}

/// Whether whoever looks may give the link out.
fn shown(access: &InProject<ReadPortalLinks>) -> Shown<'static> {
    match access.caller.require::<WritePortalLinks>(Some(access.role)) {
        Ok(()) => Shown::Own,
        Err(_) => Shown::Nothing,
    }
}

/// Whether the endpoints that a request names are of its owner, or of nobody where that will do: a link is over these, so
/// others would be left out unsaid.
async fn of_owner(
    control: &Control,
    project: ProjectId,
    draft: &PortalLinkDraft,
    endpoints: &[EndpointId],
    or_nobodys: bool,
) -> Result<(), Problem> {
    if endpoints.is_empty() {
        return Ok(());
    }
    let others = control.store().not_of_owner(project, &draft.owner_id, endpoints, or_nobodys).await?;
    match others.first() {
        None => Ok(()),
        Some(id) => Err(Problem::invalid(
            "endpoints",
            format!("{id} is no endpoint of the owner `{}`; give it that `owner_id` first", draft.owner_id),
        )),
    }
}

/// What the audit log says of a link.
fn detail(draft: &PortalLinkDraft) -> Value {
    json!({
        "name": draft.name,
        "owner_id": draft.owner_id,
        "auth_type": draft.auth_type.as_str(),
        "can_manage_endpoint": draft.can_manage_endpoint,
    })
}

fn token_detail(token: &PortalToken) -> Value {
    json!({"mask": token.text.mask(), "expires_at": token.expires_at.to_string()})
}
