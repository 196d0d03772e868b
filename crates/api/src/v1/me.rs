//! A person's own: who he is, and his keys.

use axum::extract::{Path, State};
use longshore_core::access::Role;
use longshore_core::{ApiKeyId, UserId};
use longshore_store::control::{AuditEntry, Changing};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Personal, ReadApiKeys, ReadOrganisation, WriteApiKeys};
use super::api_keys::body::{self, NewKeyBody};
use super::api_keys::view::{CreatedKeyView, KeyView};
use super::body::JsonBody;
use super::control::Control;
use super::organisations::OrganisationView;
use super::problem::Problem;
use super::reply::{Done, Envelope, Reply};

/// The routes of a person's own.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(get_me))
        .routes(routes!(list_personal_keys, create_personal_key))
        .routes(routes!(revoke_personal_key))
}

/// Whoever asks.
#[derive(Serialize, ToSchema)]
pub(crate) struct MeView {
    /// The person's id.
    uid: String,
    /// The person's address.
    email: String,
    /// What the key may do at most; absent for whatever the person may.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_role: Option<&'static str>,
    /// What the key is narrowed down to; none for all.
    key_scopes: Vec<String>,
    /// The organisations that the person is in.
    organisations: Vec<OrganisationView>,
}

/// Whose personal key this is, and what it opens.
#[utoipa::path(
    get,
    path = "/me",
    operation_id = "GetMe",
    tag = "Me",
    responses((status = 200, description = "Whoever asks", body = Envelope<MeView>)),
)]
async fn get_me(
    access: Personal<ReadOrganisation>,
    State(control): State<Control>,
) -> Result<Reply<MeView>, Problem> {
    let organisations = control.store().organisations_of(access.user).await?;
    let view = MeView {
        uid: access.user.to_string(),
        email: access.caller.actor.name,
        key_role: access.limit.map(Role::as_str),
        key_scopes: access.caller.scopes.iter().map(ToString::to_string).collect(),
        organisations: organisations
            .into_iter()
            .map(|(record, role)| OrganisationView::of(record, Some(role)))
            .collect(),
    };
    Ok(Reply::ok("User fetched successfully", view))
}

/// List one's personal keys, without their texts.
#[utoipa::path(
    get,
    path = "/me/api-keys",
    operation_id = "GetPersonalApiKeys",
    tag = "Me",
    responses((status = 200, description = "The keys, newest first", body = Envelope<Vec<KeyView>>)),
)]
async fn list_personal_keys(
    access: Personal<ReadApiKeys>,
    State(control): State<Control>,
) -> Result<Reply<Vec<KeyView>>, Problem> {
    let keys = control.store().personal_keys(access.user).await?;
    let views = keys.into_iter().map(|key| KeyView::of(key, "personal")).collect();
    Ok(Reply::ok("API keys fetched successfully", views))
}

/// Make a personal key. Its text is in the answer, and never again.
#[utoipa::path(
    post,
    path = "/me/api-keys",
    operation_id = "CreatePersonalApiKey",
    tag = "Me",
    request_body = NewKeyBody,
    responses((status = 201, description = "The key", body = Envelope<CreatedKeyView>)),
)]
async fn create_personal_key(
    access: Personal<WriteApiKeys>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewKeyBody>,
) -> Result<Reply<CreatedKeyView>, Problem> {
    let (name, asked) = body.parse()?;
    let grant = body::narrowed(&access.caller, access.limit, asked)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let made = change.add_personal_key(access.user, &name, grant, control.hasher()).await?;
    let detail = body::detail(&made.listed);
    audit(&control, &mut change, access.user, "personal_key.created", made.listed.id, &detail).await?;
    change.commit().await?;
    Ok(Reply::created("API key created successfully", CreatedKeyView::of(made, "personal")))
}

/// Revoke a personal key: it is refused within a second.
#[utoipa::path(
    delete,
    path = "/me/api-keys/{key_id}",
    operation_id = "RevokePersonalApiKey",
    tag = "Me",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, description = "It is revoked", body = Done)),
)]
async fn revoke_personal_key(
    access: Personal<WriteApiKeys>,
    State(control): State<Control>,
    Path(id): Path<String>,
) -> Result<Reply<()>, Problem> {
    let id: ApiKeyId = id.parse().map_err(|_| Problem::not_found("API key"))?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let gone = change.delete_personal_key(access.user, id).await?;
    let name = gone.ok_or_else(|| Problem::not_found("API key"))?;
    audit(&control, &mut change, access.user, "personal_key.revoked", id, &json!({"name": name})).await?;
    change.commit().await?;
    Ok(Reply::ok("API key revoked successfully", ()))
}

/// A personal key opens every organisation that its person is in: each of them is told.
async fn audit(
    control: &Control,
    change: &mut Changing,
    user: UserId,
    action: &'static str,
    id: ApiKeyId,
    detail: &Value,
) -> Result<(), Problem> {
    for (organisation, _) in control.store().organisations_of(user).await? {
        let (organisation, resource) = (organisation.id, id.to_string());
        let detail = detail.clone();
        change.audit(&AuditEntry { organisation, project: None, action, resource, detail }).await?;
    }
    Ok(())
}
