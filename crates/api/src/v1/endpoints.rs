//! Endpoints: where webhooks go, and how.
//!
//! Invariants: a URL is checked as it will be when it is sent to; what an endpoint authenticates with is never shown; an
//! endpoint that is switched on again begins with a breaker that has seen nothing.

pub(crate) mod authentication;
pub(crate) mod body;
mod probe;
mod secrets;
mod status;
pub(crate) mod view;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::endpoint::{Endpoint, KeyType};
use longshore_core::{EndpointId, EndpointStatus, ProjectId, Timestamp};
use longshore_store::control::{Changing, Contacts, EndpointFilter, StoredEndpoint};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{EndpointBody, NewEndpoint};
use self::view::EndpointView;
use super::access::{InSight, ReadEndpoints, Seeing, WriteEndpoints};
use super::body::JsonBody;
use super::control::Control;
use super::etag::IfMatch;
use super::page::{PageQuery, Params};
use super::problem::Problem;
use super::reply::{Done, Envelope, Paged, Reply};
use super::version::Shape;

/// The routes of endpoints.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_endpoints, create_endpoint))
        .routes(routes!(get_endpoint, update_endpoint, delete_endpoint))
        .merge(status::routes())
        .merge(secrets::routes())
        .merge(probe::routes())
}

/// Which endpoints a list shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EndpointQuery {
    /// A part of the name, in whatever case.
    q: Option<String>,
    /// Of this owner.
    #[serde(rename = "ownerId", alias = "owner_id")]
    owner_id: Option<String>,
}

/// The id in a path; what is none names nothing.
pub(crate) fn endpoint_id(text: &str) -> Result<EndpointId, Problem> {
    text.parse().map_err(|_| Problem::not_found("endpoint"))
}

/// List endpoints.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/endpoints",
    operation_id = "GetEndpoints",
    tag = "Endpoints",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, EndpointQuery),
    responses((status = 200, description = "A page of endpoints", body = Envelope<Paged<EndpointView>>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn list_endpoints(
    access: InSight<ReadEndpoints>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<EndpointQuery>,
) -> Result<impl IntoResponse, Problem> {
    let request = page.parse()?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = EndpointFilter { name: given(query.q), owner: given(query.owner_id) };
    let found = control.store().endpoints_page(&access.sight(), &filter, &request).await?;
    let views = found.map(|stored| EndpointView::of(&shown_to(&access, stored)));
    let page = Paged::new(views, request.limit, |view| view.uid.clone());
    Ok(Reply::ok("Endpoints fetched successfully", page).shaped(Shape::Endpoint))
}

/// Create an endpoint.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/endpoints",
    operation_id = "CreateEndpoint",
    tag = "Endpoints",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = EndpointBody,
    responses((status = 201, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn create_endpoint(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    JsonBody(NewEndpoint(body)): JsonBody<NewEndpoint>,
) -> Result<impl IntoResponse, Problem> {
    let draft = draft(&access, &control, body)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let stored = create(&access, &mut change, draft).await?;
    change.commit().await?;
    let view = EndpointView::of(&stored);
    Ok(Reply::created("Endpoint created successfully", view)
        .tagged(stored.updated_at)
        .shaped(Shape::Endpoint))
}

/// A new endpoint that has been checked, and its secret when one was sent.
pub(crate) struct Draft {
    stored: StoredEndpoint,
    secret: Option<longshore_core::Secret<String>>,
}

/// Reads a new endpoint; nothing is written.
pub(crate) fn draft<P>(
    access: &InSight<P>,
    control: &Control,
    mut body: EndpointBody,
) -> Result<Draft, Problem> {
    let missing = |field: &str| Problem::invalid(field, "is missing");
    if body.name.is_none() {
        return Err(missing("name"));
    }
    let url = body.url.take().ok_or_else(|| missing("url"))?;
    let url = control.egress().url(&url, access.egress());
    let url = url.map_err(|problem| Problem::invalid("url", problem))?;
    let secret = body.secret.take().filter(|text| !text.is_empty()).map(body::secret).transpose()?;
    let is_disabled = body.is_disabled == Some(true);
    let mut stored = blank(access.project_of_new(), url);
    apply(access, control, body, &mut stored)?;
    if is_disabled {
        stored.endpoint.status = EndpointStatus::Inactive;
    }
    Ok(Draft { stored, secret })
}

/// Writes a new endpoint as a part of a change, with its line in the audit log.
pub(crate) async fn create<P>(
    access: &InSight<P>,
    change: &mut Changing,
    draft: Draft,
) -> Result<StoredEndpoint, Problem> {
    let Draft { mut stored, secret } = draft;
    let (project, id) = (stored.endpoint.project, EndpointId::from_u128(change.next_id()));
    stored.endpoint.id = id;
    let secret = secret.unwrap_or_else(|| KeyType::Hmac.generate(change.rng()));
    change.put_endpoint(&stored).await?;
    change.replace_endpoint_secret(project, id, &secret).await?;
    change.audit(&access.entry("endpoint.created", id, told(&stored))).await?;
    found(change.endpoint(&access.sight(), id).await?)
}

/// Get an endpoint.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/endpoints/{endpoint_id}",
    operation_id = "GetEndpoint",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    responses((status = 200, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn get_endpoint(
    access: InSight<ReadEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let stored = found(control.store().endpoint(&access.sight(), endpoint_id(&id)?).await?)?;
    let stored = shown_to(&access, stored);
    let view = EndpointView::of(&stored);
    Ok(Reply::ok("Endpoint fetched successfully", view).tagged(stored.updated_at).shaped(Shape::Endpoint))
}

/// Update an endpoint: what is left out stays as it is.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/endpoints/{endpoint_id}",
    operation_id = "UpdateEndpoint",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    request_body = EndpointBody,
    responses((status = 202, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn update_endpoint(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    if_match: IfMatch,
    Path((_, id)): Path<(String, String)>,
    JsonBody(mut body): JsonBody<EndpointBody>,
) -> Result<impl IntoResponse, Problem> {
    let id = endpoint_id(&id)?;
    let secret = body.secret.take().filter(|text| !text.is_empty()).map(body::secret).transpose()?;
    let is_disabled = body.is_disabled;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let mut stored = found(change.endpoint(&access.sight(), id).await?)?;
    if_match.check(stored.updated_at)?;
    let project = stored.endpoint.project;
    apply(&access, &control, body, &mut stored)?;
    let status = match (is_disabled, stored.endpoint.status) {
        (Some(true), _) => Some(EndpointStatus::Inactive),
        (Some(false), EndpointStatus::Inactive) => Some(EndpointStatus::Active),
        _ => None,
    };
    if let Some(status) = status {
        change.set_endpoint_status(project, id, status).await?;
    }
    if let Some(secret) = &secret {
        change.replace_endpoint_secret(project, id, secret).await?;
    }
    change.put_endpoint(&stored).await?;
    change.audit(&access.entry("endpoint.updated", id, told(&stored))).await?;
    let stored = found(change.endpoint(&access.sight(), id).await?)?;
    change.commit().await?;
    let view = EndpointView::of(&stored);
    Ok(Reply::accepted("Endpoint updated successfully", view)
        .tagged(stored.updated_at)
        .shaped(Shape::Endpoint))
}

/// Delete an endpoint with its subscriptions. Its deliveries stay on record; those that wait are discarded.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/endpoints/{endpoint_id}",
    operation_id = "DeleteEndpoint",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    responses((status = 200, description = "It is gone", body = Done)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn delete_endpoint(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = endpoint_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let stored = found(change.endpoint(&access.sight(), id).await?)?;
    change.delete_endpoint(stored.endpoint.project, id).await?;
    change.audit(&access.entry("endpoint.deleted", id, json!({}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Endpoint deleted successfully", None::<()>))
}

/// An endpoint of which no more is known than where it is.
fn blank(project: ProjectId, url: Url) -> StoredEndpoint {
    StoredEndpoint {
        endpoint: Endpoint::new(EndpointId::from_u128(0), project, url),
        description: String::new(),
        contacts: Contacts::default(),
        secrets: Vec::new(),
        breaker: None,
        deliveries: 0,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    }
}

/// Writes a body over an endpoint, with what the project allows.
fn apply<P>(
    access: &InSight<P>,
    control: &Control,
    body: EndpointBody,
    stored: &mut StoredEndpoint,
) -> Result<(), Problem> {
    let egress = control.egress();
    let read_url = |field: &str, text: &str| {
        egress.url(text, access.egress()).map_err(|problem| Problem::invalid(field, problem))
    };
    body.apply(stored, egress, read_url)?;
    keep_owner(access, stored)
}

/// A portal link's holder makes endpoints of its owner, and gives none away.
fn keep_owner<P>(access: &InSight<P>, stored: &mut StoredEndpoint) -> Result<(), Problem> {
    let Some(pass) = access.portal() else { return Ok(()) };
    match &stored.endpoint.owner_id {
        Some(owner) if *owner == pass.owner_id => Ok(()),
        None if stored.endpoint.id.as_u128() == 0 => {
            stored.endpoint.owner_id = Some(pass.owner_id.clone());
            Ok(())
        }
        _ => Err(Problem::invalid("owner_id", format!("with this portal link it is `{}`", pass.owner_id))),
    }
}

/// Who only looks by a portal link is not shown what could be used: secrets, and where people's messages go.
fn shown_to<P>(access: &InSight<P>, stored: StoredEndpoint) -> StoredEndpoint {
    match access.portal() {
        Some(pass) if !pass.can_manage_endpoint => {
            StoredEndpoint { secrets: Vec::new(), contacts: Contacts::default(), ..stored }
        }
        _ => stored,
    }
}

/// What the audit log is told of an endpoint.
fn told(stored: &StoredEndpoint) -> Value {
    let endpoint = &stored.endpoint;
    json!({"name": endpoint.name, "url": endpoint.url, "owner_id": endpoint.owner_id})
}

fn found(stored: Option<StoredEndpoint>) -> Result<StoredEndpoint, Problem> {
    stored.ok_or_else(|| Problem::not_found("endpoint"))
}
