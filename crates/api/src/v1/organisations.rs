//! Organisations. Only personal keys get here.

use axum::extract::State;
use longshore_core::access::Role;
use longshore_store::control::{AuditEntry, OrganisationRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{InOrganisation, Personal, ReadOrganisation, WriteOrganisation};
use super::body::{Body, JsonBody};
use super::control::Control;
use super::etag::IfMatch;
use super::named;
use super::problem::Problem;
use super::reply::{Envelope, Reply};

/// The routes of organisations.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_organisations, create_organisation))
        .routes(routes!(get_organisation, update_organisation))
}

/// An organisation.
#[derive(Serialize, ToSchema)]
pub(crate) struct OrganisationView {
    /// Its id: what `orgID` wants.
    uid: String,
    /// For people.
    name: String,
    /// What the caller is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// When it was made.
    created_at: String,
    /// When it was changed last.
    updated_at: String,
}

impl OrganisationView {
    /// An organisation as somebody of that role sees it.
    pub(crate) fn of(record: OrganisationRecord, role: Option<Role>) -> Self {
        Self {
            uid: record.id.to_string(),
            name: record.name,
            role: role.map(Role::as_str),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

/// An organisation to be created or changed.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OrganisationBody {
    /// For people; unique in the installation.
    #[schema(required)]
    name: Option<String>,
}

impl Body for OrganisationBody {}

/// List the organisations that one is in.
#[utoipa::path(
    get,
    path = "/organisations",
    operation_id = "GetOrganisations",
    tag = "Organisations",
    responses((status = 200, description = "The organisations, by name", body = Envelope<Vec<OrganisationView>>)),
)]
async fn list_organisations(
    access: Personal<ReadOrganisation>,
    State(control): State<Control>,
) -> Result<Reply<Vec<OrganisationView>>, Problem> {
    let found = control.store().organisations_of(access.user).await?;
    let views = found.into_iter().map(|(record, role)| OrganisationView::of(record, Some(role))).collect();
    Ok(Reply::ok("Organisations fetched successfully", views))
}

/// Create an organisation, of which one is the owner.
#[utoipa::path(
    post,
    path = "/organisations",
    operation_id = "CreateOrganisation",
    tag = "Organisations",
    request_body = OrganisationBody,
    responses((status = 201, description = "The organisation", body = Envelope<OrganisationView>)),
)]
async fn create_organisation(
    access: Personal<WriteOrganisation>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<OrganisationBody>,
) -> Result<Reply<OrganisationView>, Problem> {
    let name = named::name("name", body.name)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if change.organisation_named(&name).await?.is_some() {
        return Err(taken(&name));
    }
    let id = change.add_organisation(&name).await?;
    change.put_member(id, access.user, Role::Owner).await?;
    let entry = AuditEntry {
        organisation: id,
        project: None,
        action: "organisation.created",
        resource: id.to_string(),
        detail: json!({"name": name}),
    };
    change.audit(&entry).await?;
    change.commit().await?;
    let record = control.store().organisation(id).await?.ok_or_else(|| Problem::not_found("organisation"))?;
    let updated_at = record.updated_at;
    let view = OrganisationView::of(record, Some(Role::Owner));
    Ok(Reply::created("Organisation created successfully", view).tagged(updated_at))
}

/// Get an organisation.
#[utoipa::path(
    get,
    path = "/organisations/{organisation_id}",
    operation_id = "GetOrganisation",
    tag = "Organisations",
    params(("organisation_id" = String, Path, description = "The organisation's id")),
    responses((status = 200, description = "The organisation", body = Envelope<OrganisationView>)),
)]
async fn get_organisation(
    access: InOrganisation<ReadOrganisation>,
    State(control): State<Control>,
) -> Result<Reply<OrganisationView>, Problem> {
    let record = control.store().organisation(access.id).await?;
    let record = record.ok_or_else(|| Problem::not_found("organisation"))?;
    let updated_at = record.updated_at;
    let view = OrganisationView::of(record, Some(access.role));
    Ok(Reply::ok("Organisation fetched successfully", view).tagged(updated_at))
}

/// Rename an organisation.
#[utoipa::path(
    put,
    path = "/organisations/{organisation_id}",
    operation_id = "UpdateOrganisation",
    tag = "Organisations",
    params(("organisation_id" = String, Path, description = "The organisation's id")),
    request_body = OrganisationBody,
    responses((status = 202, description = "The organisation", body = Envelope<OrganisationView>)),
)]
async fn update_organisation(
    access: InOrganisation<WriteOrganisation>,
    State(control): State<Control>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<OrganisationBody>,
) -> Result<Reply<OrganisationView>, Problem> {
    let name = named::name("name", body.name)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let changed_at = change.organisation_changed_at(access.id).await?;
    if_match.check(changed_at.ok_or_else(|| Problem::not_found("organisation"))?)?;
    if change.organisation_named(&name).await?.is_some_and(|other| other != access.id) {
        return Err(taken(&name));
    }
    change.rename_organisation(access.id, &name).await?;
    change.audit(&access.entry("organisation.updated", access.id, json!({"name": name}))).await?;
    change.commit().await?;
    let record = control.store().organisation(access.id).await?;
    let record = record.ok_or_else(|| Problem::not_found("organisation"))?;
    let updated_at = record.updated_at;
    let view = OrganisationView::of(record, Some(access.role));
    Ok(Reply::accepted("Organisation updated successfully", view).tagged(updated_at))
}

fn taken(name: &str) -> Problem {
    Problem::conflict(format!("`name`: there is an organisation `{name}` already; choose another name"))
}
