//! Keys of projects: listed without their texts, made, revoked. A text is shown once, when its key is made.

pub(crate) mod body;
pub(crate) mod view;

use axum::extract::{Path, State};
use longshore_core::ApiKeyId;
use longshore_core::access::Role;
use longshore_store::control::KeyGrant;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::NewKeyBody;
use self::view::{CreatedKeyView, KeyView};
use super::access::{InProject, ReadApiKeys, WriteApiKeys};
use super::body::JsonBody;
use super::control::Control;
use super::problem::Problem;
use super::reply::{Done, Envelope, Reply};

/// The routes of keys of projects.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(list_api_keys, create_api_key)).routes(routes!(revoke_api_key))
}

/// List the keys of a project, without their texts.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/api-keys",
    operation_id = "GetApiKeys",
    tag = "API Keys",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "The keys, newest first", body = Envelope<Vec<KeyView>>)),
)]
async fn list_api_keys(
    access: InProject<ReadApiKeys>,
    State(control): State<Control>,
) -> Result<Reply<Vec<KeyView>>, Problem> {
    let keys = control.store().project_keys(access.id()).await?;
    let views = keys.into_iter().map(|key| KeyView::of(key, "project")).collect();
    Ok(Reply::ok("API keys fetched successfully", views))
}

/// Make a key of a project. Its text is in the answer, and never again.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/api-keys",
    operation_id = "CreateApiKey",
    tag = "API Keys",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = NewKeyBody,
    responses((status = 201, description = "The key", body = Envelope<CreatedKeyView>)),
)]
async fn create_api_key(
    access: InProject<WriteApiKeys>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Result<Reply<CreatedKeyView>, Problem> {
    let (name, asked) = body.parse()?;
    let role = asked.role.unwrap_or(Role::Admin.min(access.role));
    let grant = body::narrowed(&access.caller, Some(access.role), KeyGrant { role: Some(role), ..asked })?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let made = change.add_project_key(access.id(), &name, grant, control.hasher()).await?;
    let detail = body::detail(&made.listed);
    change.audit(&access.entry("api_key.created", made.listed.id, detail)).await?;
    change.commit().await?;
    Ok(Reply::created("API key created successfully", CreatedKeyView::of(made, "project")))
}

/// Revoke a key of a project: it is refused within a second.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/api-keys/{key_id}",
    operation_id = "RevokeApiKey",
    tag = "API Keys",
    params(("project_id" = String, Path, description = "The project's id"), ("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "It is revoked", body = Done)),
)]
async fn revoke_api_key(
    access: InProject<WriteApiKeys>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<Reply<()>, Problem> {
    let id: ApiKeyId = id.parse().map_err(|_| Problem::not_found("API key"))?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let gone = change.delete_project_key(access.id(), id).await?;
    let (_, name) = gone.ok_or_else(|| Problem::not_found("API key"))?;
    change.audit(&access.entry("api_key.revoked", id, json!({"name": name}))).await?;
    change.commit().await?;
    Ok(Reply::ok("API key revoked successfully", ()))
}
