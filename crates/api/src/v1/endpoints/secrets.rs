//! Secrets that are rolled.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::endpoint::{KeyType, contract_expiration};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{RollBody, secret};
use super::view::EndpointView;
use super::{endpoint_id, found};
use crate::v1::access::{InSight, Seeing, WriteEndpoints};
use crate::v1::body::JsonBody;
use crate::v1::control::Control;
use crate::v1::problem::Problem;
use crate::v1::reply::{Envelope, Reply};
use crate::v1::version::Shape;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(expire_secret))
}

/// Roll an endpoint's secret: a new one signs at once, the old ones beside it for `expiration` hours.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/endpoints/{endpoint_id}/expire_secret",
    operation_id = "ExpireSecret",
    tag = "Endpoints",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("endpoint_id" = String, Path, description = "The endpoint's id"),
    ),
    request_body = RollBody,
    responses((status = 200, description = "The endpoint", body = Envelope<EndpointView>)),
    extensions(("x-longshore-portal" = json!(true))),
)]
async fn expire_secret(
    access: InSight<WriteEndpoints>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
    JsonBody(body): JsonBody<RollBody>,
) -> Result<impl IntoResponse, Problem> {
    let id = endpoint_id(&id)?;
    let overlap = contract_expiration(body.expiration.unwrap_or(0));
    let overlap = overlap.map_err(|error| Problem::new(http::StatusCode::BAD_REQUEST, error.to_string()))?;
    let given = body.secret.filter(|text| !text.is_empty()).map(secret).transpose()?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let project = found(change.endpoint(&access.sight(), id).await?)?.endpoint.project;
    let secret = given.unwrap_or_else(|| KeyType::Hmac.generate(change.rng()));
    if change.roll_endpoint_secret(project, id, &secret, overlap).await?.is_none() {
        return Err(Problem::not_found("endpoint"));
    }
    let detail = json!({"old_ones_sign_for_seconds": overlap.as_secs()});
    change.audit(&access.entry("endpoint.secret_rolled", id, detail)).await?;
    let stored = found(change.endpoint(&access.sight(), id).await?)?;
    change.commit().await?;
    let reply = Reply::ok("endpoint secret expired successfully", EndpointView::of(&stored));
    Ok(reply.shaped(Shape::Endpoint))
}
