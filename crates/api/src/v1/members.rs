//! Who is in an organisation, and as what. Invariants: an organisation keeps an owner; nobody gives or takes a role above
//! his own.

use axum::extract::{Path, State};
use longshore_core::UserId;
use longshore_core::access::Role;
use longshore_store::control::{Changing, MemberRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{InOrganisation, ReadMembers, WriteMembers};
use super::body::{Body, JsonBody};
use super::control::Control;
use super::named;
use super::problem::Problem;
use super::reply::{Done, Envelope, Reply};

/// The routes of members.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_members, add_member))
        .routes(routes!(update_member, remove_member))
}

/// Somebody in an organisation.
#[derive(Serialize, ToSchema)]
pub(crate) struct MemberView {
    /// The person's id.
    uid: String,
    /// The person's address.
    email: String,
    /// The person's name; empty for none.
    name: String,
    /// `owner`, `admin`, `developer` or `viewer`.
    role: &'static str,
    /// Since when.
    created_at: String,
    /// When the role was changed last.
    updated_at: String,
}

impl From<MemberRecord> for MemberView {
    fn from(record: MemberRecord) -> Self {
        Self {
            uid: record.user.to_string(),
            email: record.email,
            name: record.name,
            role: record.role.as_str(),
            created_at: record.created_at.to_string(),
            updated_at: record.updated_at.to_string(),
        }
    }
}

/// Somebody to be added.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewMemberBody {
    /// The person's address.
    #[schema(required)]
    email: Option<String>,
    /// `owner`, `admin`, `developer` or `viewer`; at most one's own.
    #[schema(required)]
    role: Option<String>,
}

/// Another role.
#[derive(Deserialize, ToSchema)]
pub(crate) struct MemberBody {
    /// `owner`, `admin`, `developer` or `viewer`; at most one's own.
    #[schema(required)]
    role: Option<String>,
}

impl Body for NewMemberBody {}
impl Body for MemberBody {}

/// List who is in an organisation.
#[utoipa::path(
    get,
    path = "/organisations/{organisation_id}/members",
    operation_id = "GetMembers",
    tag = "Organisations",
    params(("organisation_id" = String, Path, description = "The organisation's id")),
    responses((status = 200, description = "The members, by address", body = Envelope<Vec<MemberView>>)),
)]
async fn list_members(
    access: InOrganisation<ReadMembers>,
    State(control): State<Control>,
) -> Result<Reply<Vec<MemberView>>, Problem> {
    let members = control.store().members(access.id).await?;
    Ok(Reply::ok("Members fetched successfully", members.into_iter().map(Into::into).collect()))
}

/// Add somebody to an organisation.
#[utoipa::path(
    post,
    path = "/organisations/{organisation_id}/members",
    operation_id = "AddMember",
    tag = "Organisations",
    params(("organisation_id" = String, Path, description = "The organisation's id")),
    request_body = NewMemberBody,
    responses((status = 201, description = "The member", body = Envelope<MemberView>)),
)]
async fn add_member(
    access: InOrganisation<WriteMembers>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewMemberBody>,
) -> Result<Reply<MemberView>, Problem> {
    let email = named::email("email", body.email)?;
    let role = role(body.role)?;
    not_above(access.role, role)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let user = change.user(&email).await?;
    if change.member_role(access.id, user).await?.is_some() {
        return Err(Problem::conflict(format!(
            "`email`: {email} is a member already; change the role instead"
        )));
    }
    change.put_member(access.id, user, role).await?;
    let detail = json!({"email": email, "role": role});
    change.audit(&access.entry("member.added", user, detail)).await?;
    change.commit().await?;
    Ok(Reply::created("Member added successfully", shown(&access, &control, user).await?))
}

/// Give a member another role.
#[utoipa::path(
    put,
    path = "/organisations/{organisation_id}/members/{user_id}",
    operation_id = "UpdateMember",
    tag = "Organisations",
    params(
        ("organisation_id" = String, Path, description = "The organisation's id"),
        ("user_id" = String, Path, description = "The person's id"),
    ),
    request_body = MemberBody,
    responses((status = 202, description = "The member", body = Envelope<MemberView>)),
)]
async fn update_member(
    access: InOrganisation<WriteMembers>,
    State(control): State<Control>,
    Path((_, user)): Path<(String, String)>,
    JsonBody(body): JsonBody<MemberBody>,
) -> Result<Reply<MemberView>, Problem> {
    let role = role(body.role)?;
    not_above(access.role, role)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let (user, before) = member(&access, &mut change, &user).await?;
    if role != Role::Owner {
        keep_an_owner(&access, &mut change, before).await?;
    }
    change.put_member(access.id, user, role).await?;
    let detail = json!({"role": role, "before": before});
    change.audit(&access.entry("member.updated", user, detail)).await?;
    change.commit().await?;
    Ok(Reply::accepted("Member updated successfully", shown(&access, &control, user).await?))
}

/// Remove a member: the person's keys open nothing of the organisation from then on.
#[utoipa::path(
    delete,
    path = "/organisations/{organisation_id}/members/{user_id}",
    operation_id = "RemoveMember",
    tag = "Organisations",
    params(
        ("organisation_id" = String, Path, description = "The organisation's id"),
        ("user_id" = String, Path, description = "The person's id"),
    ),
    responses((status = 200, description = "The member is gone", body = Done)),
)]
async fn remove_member(
    access: InOrganisation<WriteMembers>,
    State(control): State<Control>,
    Path((_, user)): Path<(String, String)>,
) -> Result<Reply<()>, Problem> {
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let (user, before) = member(&access, &mut change, &user).await?;
    keep_an_owner(&access, &mut change, before).await?;
    change.remove_member(access.id, user).await?;
    change.audit(&access.entry("member.removed", user, json!({"role": before}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Member removed successfully", ()))
}

fn role(given: Option<String>) -> Result<Role, Problem> {
    let text = given.ok_or_else(|| Problem::invalid("role", "is missing"))?;
    text.parse().map_err(|error| Problem::invalid("role", error))
}

fn not_above(own: Role, role: Role) -> Result<(), Problem> {
    if role > own {
        return Err(Problem::forbidden(format!(
            "`role`: you are `{own}` here, and cannot make others `{role}`"
        )));
    }
    Ok(())
}

/// The member of that id, whom the caller may touch.
async fn member<P>(
    access: &InOrganisation<P>,
    change: &mut Changing,
    user: &str,
) -> Result<(UserId, Role), Problem> {
    let user: UserId = user.parse().map_err(|_| Problem::not_found("member"))?;
    let role = change.member_role(access.id, user).await?.ok_or_else(|| Problem::not_found("member"))?;
    if role > access.role {
        let own = access.role;
        return Err(Problem::forbidden(format!("you are `{own}` here; this member is `{role}`")));
    }
    Ok((user, role))
}

async fn keep_an_owner<P>(
    access: &InOrganisation<P>,
    change: &mut Changing,
    before: Role,
) -> Result<(), Problem> {
    if before == Role::Owner && change.owners(access.id).await? <= 1 {
        return Err(Problem::conflict(
            "this is the organisation's last owner; make somebody else owner first",
        ));
    }
    Ok(())
}

async fn shown<P>(
    access: &InOrganisation<P>,
    control: &Control,
    user: UserId,
) -> Result<MemberView, Problem> {
    let members = control.store().members(access.id).await?;
    let found = members.into_iter().find(|member| member.user == user);
    found.map(Into::into).ok_or_else(|| Problem::not_found("member"))
}
