//! Feature flags: which there are, and what a project decides about them.

mod gate;
mod retention;

use axum::extract::{Path, State};
use longshore_core::features::{Feature, Stage};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Caller, InProject, ReadProjects, WriteProjects};
use super::body::{Body, JsonBody};
use super::control::Control;
use super::problem::Problem;
use super::reply::{Envelope, Reply};

pub(crate) use gate::{Gate, Guarded, gate, offered};

/// The routes of features, and what is there behind the flags of this module.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_features))
        .routes(routes!(list_project_features))
        .routes(routes!(set_project_feature))
        .merge(retention::routes())
}

/// A feature.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeatureView {
    /// Its name.
    name: &'static str,
    /// What it is.
    description: &'static str,
    /// `alpha` (may change or go), `beta` (will stay, may change) or `ga` (done).
    #[schema(pattern = "^(alpha|beta|ga)$")]
    stage: &'static str,
    /// Of the installation: whether its projects can have it. Of a project: whether it is on there.
    enabled: bool,
    /// Of a project: whether the installation lets it have the feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<bool>,
}

/// What a project decides about a feature.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FeatureBody {
    /// Whether it is to be on.
    enabled: bool,
}

impl Body for FeatureBody {}

fn view(feature: Feature, enabled: bool, available: Option<bool>) -> FeatureView {
    let stage = feature.stage().as_str();
    FeatureView { name: feature.as_str(), description: feature.description(), stage, enabled, available }
}

fn in_project(control: &Control, feature: Feature, decided: &[(Feature, bool)]) -> FeatureView {
    let switches = &control.settings().features;
    let decided = decided.iter().find(|(known, _)| *known == feature).map(|(_, is_enabled)| *is_enabled);
    view(feature, switches.is_on(feature, decided), Some(switches.offers(feature)))
}

/// List the features of this installation.
#[utoipa::path(
    get,
    path = "/features",
    operation_id = "GetFeatures",
    tag = "Features",
    responses((status = 200, description = "Every feature", body = Envelope<Vec<FeatureView>>)),
    extensions(("x-longshore-any-key" = json!(true))),
)]
async fn list_features(_: Caller, State(control): State<Control>) -> Reply<Vec<FeatureView>> {
    let switches = &control.settings().features;
    let all = Feature::ALL.map(|feature| view(feature, switches.offers(feature), None));
    Reply::ok("Features fetched successfully", all.into())
}

/// List the features of a project.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/features",
    operation_id = "GetProjectFeatures",
    tag = "Features",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 200, description = "Every feature", body = Envelope<Vec<FeatureView>>)),
)]
async fn list_project_features(
    access: InProject<ReadProjects>,
    State(control): State<Control>,
) -> Result<Reply<Vec<FeatureView>>, Problem> {
    let decided = control.store().project_features(access.id()).await?;
    let all = Feature::ALL.map(|feature| in_project(&control, feature, &decided));
    Ok(Reply::ok("Features fetched successfully", all.into()))
}

/// Turn a feature of a project on or off.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/features/{feature}",
    operation_id = "SetProjectFeature",
    tag = "Features",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("feature" = String, Path, description = "The feature's name"),
    ),
    request_body = FeatureBody,
    responses((status = 202, description = "The feature as it is now", body = Envelope<FeatureView>)),
)]
async fn set_project_feature(
    access: InProject<WriteProjects>,
    State(control): State<Control>,
    Path((_, name)): Path<(String, String)>,
    JsonBody(body): JsonBody<FeatureBody>,
) -> Result<Reply<FeatureView>, Problem> {
    let feature: Feature = name.parse().map_err(|_| Problem::not_found("feature"))?;
    if !control.settings().features.offers(feature) {
        return Err(Problem::conflict(format!(
            "this installation does not offer `{feature}`; whoever runs it can, by `features.enabled`"
        )));
    }
    if feature.stage() == Stage::Ga && !body.enabled {
        return Err(Problem::conflict(format!("`{feature}` is done: it is on everywhere")));
    }
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    change.decide_feature(access.id(), feature, body.enabled).await?;
    change.audit(&access.entry("feature.decided", feature, json!({"enabled": body.enabled}))).await?;
    change.commit().await?;
    let now = in_project(&control, feature, &[(feature, body.enabled)]);
    Ok(Reply::accepted("Feature updated successfully", now))
}
