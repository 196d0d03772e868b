//! Projects: listed, created with their first key, changed, deleted.

mod config;
mod meta;
mod settings;
mod view;

use axum::extract::State;
use longshore_core::ProjectId;
use longshore_core::access::Role;
use longshore_core::project::{ProjectCredentials, ProjectSettings};
use longshore_store::control::{KeyGrant, ProjectDraft, ProjectRecord};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::config::ProjectConfig;
use self::view::{CreatedProjectView, ProjectView};
use super::access::{InOrganisation, InProject, ReadProjects, WriteProjects};
use super::api_keys::body::{detail, narrowed};
use super::api_keys::view::FirstKeyView;
use super::body::{Body, JsonBody};
use super::control::Control;
use super::etag::IfMatch;
use super::named;
use super::problem::Problem;
use super::reply::{Done, Envelope, Reply};

/// The routes of projects.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_projects, create_project)).routes(routes!(
        get_project,
        update_project,
        delete_project
    ))
}

/// Which organisation is meant.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the organisation is read where it is checked who asks")]
pub(crate) struct OrganisationQuery {
    /// The organisation's id.
    #[param(rename = "orgID")]
    organisation: String,
}

/// A project to be created.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewProjectBody {
    /// For people; unique in the organisation.
    #[schema(required)]
    name: Option<String>,
    /// `outgoing` (it sends webhooks, the default) or `incoming` (it receives them).
    r#type: Option<String>,
    /// A picture for people.
    logo_url: Option<String>,
    /// What its deliveries share; what is absent takes the default.
    config: Option<ProjectConfig>,
}

/// A project to be changed.
#[derive(Deserialize, ToSchema)]
pub(crate) struct ProjectBody {
    /// For people; unique in the organisation. Absent: as it is.
    name: Option<String>,
    /// A picture for people. Absent: as it is.
    logo_url: Option<String>,
    /// What its deliveries share; what is absent stays as it is.
    config: Option<ProjectConfig>,
}

impl Body for NewProjectBody {}
impl Body for ProjectBody {}

/// List the projects of an organisation.
#[utoipa::path(
    get,
    path = "/projects",
    operation_id = "GetProjects",
    tag = "Projects",
    params(OrganisationQuery),
    responses((status = 200, description = "The projects, by name", body = Envelope<Vec<ProjectView>>)),
)]
async fn get_projects(
    access: InOrganisation<ReadProjects>,
    State(control): State<Control>,
) -> Result<Reply<Vec<ProjectView>>, Problem> {
    let records = control.store().projects_of(access.id).await?;
    let views = records.into_iter().map(|record| ProjectView::of(record, None, shows_secrets(access.role)));
    Ok(Reply::ok("Projects fetched successfully", views.collect()))
}

/// Create a project and its first key.
#[utoipa::path(
    post,
    path = "/projects",
    operation_id = "CreateProject",
    tag = "Projects",
    params(OrganisationQuery),
    request_body = NewProjectBody,
    responses((status = 201, description = "The project, and its key: shown this once", body = Envelope<CreatedProjectView>)),
)]
async fn create_project(
    access: InOrganisation<WriteProjects>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<NewProjectBody>,
) -> Result<Reply<CreatedProjectView>, Problem> {
    let name = named::name("name", body.name)?;
    let kind = match body.r#type.as_deref() {
        None | Some("" | "outgoing") => "outgoing",
        Some("incoming") => "incoming",
        Some(_) => return Err(Problem::invalid("type", "write `outgoing` or `incoming`")),
    };
    let asked = KeyGrant { role: Some(Role::Admin), scopes: Vec::new(), expires_at: None };
    let grant = narrowed(&access.caller, Some(access.role), asked)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if change.project_named(access.id, &name).await?.is_some() {
        return Err(taken(&name));
    }
    let mut draft = ProjectDraft {
        name,
        logo_url: body.logo_url.unwrap_or_default(),
        settings: ProjectSettings::default(),
        credentials: ProjectCredentials::default(),
        contract_settings: json!({}),
    };
    if let Some(config) = body.config {
        config.apply(&mut draft, change.rng())?;
    }
    let id = change.add_project(access.id, kind, super::version::newest_version(), &draft).await?;
    let key = format!("{}'s default key", draft.name);
    let made = change.add_project_key(id, &key, grant, control.hasher()).await?;
    let mut entry = access.entry("project.created", id, json!({"name": draft.name, "type": kind}));
    entry.project = Some(id);
    change.audit(&entry).await?;
    let mut entry = access.entry("api_key.created", made.listed.id, detail(&made.listed));
    entry.project = Some(id);
    change.audit(&entry).await?;
    change.commit().await?;
    let record = control.store().project_record(id).await?.ok_or_else(|| Problem::not_found("project"))?;
    let updated_at = record.updated_at;
    let view = CreatedProjectView {
        api_key: FirstKeyView::of(made, id),
        project: ProjectView::of(record, None, true),
    };
    Ok(Reply::created("Project created successfully", view).tagged(updated_at))
}

/// Get a project.
#[utoipa::path(
    get,
    path = "/projects/{project_id}",
    operation_id = "GetProject",
    tag = "Projects",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "The project", body = Envelope<ProjectView>)),
)]
async fn get_project(
    access: InProject<ReadProjects>,
    State(control): State<Control>,
) -> Result<Reply<ProjectView>, Problem> {
    let statistics = control.store().project_statistics(access.id()).await?;
    let shows = shows_secrets(access.role);
    let updated_at = access.project.updated_at;
    let view = ProjectView::of(access.project, Some(statistics), shows);
    Ok(Reply::ok("Project fetched successfully", view).tagged(updated_at))
}

/// Change a project.
#[utoipa::path(
    put,
    path = "/projects/{project_id}",
    operation_id = "UpdateProject",
    tag = "Projects",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = ProjectBody,
    responses((status = 202, description = "The project", body = Envelope<ProjectView>)),
)]
async fn update_project(
    access: InProject<WriteProjects>,
    State(control): State<Control>,
    if_match: IfMatch,
    JsonBody(body): JsonBody<ProjectBody>,
) -> Result<Reply<ProjectView>, Problem> {
    let name = body.name.filter(|text| !text.is_empty());
    let name = name.map(|text| named::name("name", Some(text))).transpose()?;
    let (id, organisation) = (access.id(), access.project.organisation);
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let before = change.project(id).await?.ok_or_else(|| Problem::not_found("project"))?;
    if_match.check(before.updated_at)?;
    let mut draft = draft_of(&before);
    if let Some(name) = name {
        if is_taken(change.project_named(organisation, &name).await?, id) {
            return Err(taken(&name));
        }
        draft.name = name;
    }
    draft.logo_url = body.logo_url.unwrap_or(draft.logo_url);
    if let Some(config) = body.config {
        config.changed_from(&before).apply(&mut draft, change.rng())?;
    }
    change.put_project(id, &draft).await?;
    let detail = json!({"name": draft.name, "changed": changed(&before, &draft)});
    change.audit(&access.entry("project.updated", id, detail)).await?;
    change.commit().await?;
    let record = control.store().project_record(id).await?.ok_or_else(|| Problem::not_found("project"))?;
    let updated_at = record.updated_at;
    Ok(Reply::accepted("Project updated successfully", ProjectView::of(record, None, true))
        .tagged(updated_at))
}

/// Delete a project with its endpoints, subscriptions, sources and keys. What it took in goes when it is old enough.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}",
    operation_id = "DeleteProject",
    tag = "Projects",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "It is gone", body = Done)),
)]
async fn delete_project(
    access: InProject<WriteProjects>,
    State(control): State<Control>,
) -> Result<Reply<()>, Problem> {
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    change.delete_project(access.id()).await?;
    let detail = json!({"name": access.project.project.name});
    change.audit(&access.entry("project.deleted", access.id(), detail)).await?;
    change.commit().await?;
    Ok(Reply::ok("Project deleted successfully", ()))
}

/// Who may change a project sees its secrets, as the contract shows them.
fn shows_secrets(role: Role) -> bool {
    role >= Role::Admin
}

fn draft_of(record: &ProjectRecord) -> ProjectDraft {
    ProjectDraft {
        name: record.project.name.clone(),
        logo_url: record.logo_url.clone(),
        settings: record.project.settings.clone(),
        credentials: record.project.credentials.clone(),
        contract_settings: record.contract_settings.clone(),
    }
}

/// What of a project differs, without the values: some are secret.
fn changed(before: &ProjectRecord, draft: &ProjectDraft) -> Vec<&'static str> {
    let differs = [
        ("name", before.project.name != draft.name),
        ("logo_url", before.logo_url != draft.logo_url),
        ("settings", before.project.settings != draft.settings),
        ("credentials", before.project.credentials != draft.credentials),
        ("contract_settings", before.contract_settings != draft.contract_settings),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn is_taken(found: Option<ProjectId>, own: ProjectId) -> bool {
    found.is_some_and(|other| other != own)
}

fn taken(name: &str) -> Problem {
    Problem::conflict(format!("`name`: the organisation has a project `{name}` already; choose another name"))
}
