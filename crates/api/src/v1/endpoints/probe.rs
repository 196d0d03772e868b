//! Client credentials that are tried before an endpoint has them.

use axum::extract::State;
use axum::response::IntoResponse;
use longshore_core::{Clock, SystemClock};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::TokenTestBody;
use super::view::TokenTestView;
use crate::v1::access::{InProject, WriteEndpoints};
use crate::v1::body::JsonBody;
use crate::v1::control::Control;
use crate::v1::problem::Problem;
use crate::v1::reply::{Envelope, Reply};

/// What is shown of a token.
const SHOWN: usize = 4;

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(test_oauth2))
}

/// Try client credentials: a token is asked for once, as a delivery would.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/endpoints/oauth2/test",
    operation_id = "TestOAuth2Connection",
    tag = "Endpoints",
    params(("project_id" = String, Path, description = "The project's id")),
    request_body = TokenTestBody,
    responses((status = 200, description = "Whether it works", body = Envelope<TokenTestView>)),
)]
async fn test_oauth2(
    access: InProject<WriteEndpoints>,
    State(control): State<Control>,
    JsonBody(body): JsonBody<TokenTestBody>,
) -> Result<impl IntoResponse, Problem> {
    let egress = control.egress();
    let project = &access.project.project;
    let read_url = |field: &str, text: &str| {
        egress.url(text, &project.settings.egress).map_err(|problem| Problem::invalid(field, problem))
    };
    let asked = body.oauth2.ok_or_else(|| Problem::invalid("oauth2", "is missing"))?;
    let settings = asked.parse("oauth2", None, egress, read_url)?;
    let view = match egress.token(project, &settings).await {
        Ok(token) => {
            let shown: String = token.access_token.expose().chars().take(SHOWN).collect();
            TokenTestView {
                success: true,
                access_token: Some(format!("{shown}…")),
                token_type: Some(token.token_type),
                expires_at: Some(SystemClock.now().after(token.life).to_string()),
                message: "the token endpoint gave a token".to_owned(),
                error: None,
            }
        }
        Err(problem) => TokenTestView {
            message: "the token endpoint gave no token".to_owned(),
            error: Some(problem),
            ..TokenTestView::default()
        },
    };
    Ok(Reply::ok("OAuth2 connection tested", view))
}
