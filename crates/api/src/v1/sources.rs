//! Sources: brokers that events are read from, and URLs that webhooks are received at.
//!
//! Invariants: what a source connects with is never shown; a broker is asked before a source of it is written, and
//! nobody waits for that with the configuration in hand.

mod body;
mod broker;
mod http;
pub(crate) mod redact;
mod status;

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::SourceId;
use longshore_store::control::{HTTP, SourceFilter, StoredSource};
use rand::Rng;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::body::{SourceBody, SourceView};
use super::access::{InProject, ReadSources, WriteSources};
use super::body::JsonBody;
use super::control::Control;
use super::etag::IfMatch;
use super::page::{PageQuery, Params};
use super::problem::{ErrorBody, Problem};
use super::reply::{Done, Envelope, Paged, Reply};

/// Characters of the end of a source's URL, and of which: nobody guesses 16 of 62.
const MASK_LENGTH: usize = 16;

/// The routes of sources.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .routes(routes!(list_sources, create_source))
        .routes(routes!(get_source, update_source, delete_source))
        .routes(routes!(test_function))
        .merge(status::routes())
}

/// Which sources a list shows.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SourceQuery {
    /// `http` or `pub_sub`.
    r#type: Option<String>,
    /// `github`, `shopify` or `twitter`.
    provider: Option<String>,
}

/// Whether the broker is asked.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct VerifyQuery {
    /// `false` writes the source without connecting to its broker first.
    #[param(value_type = Option<bool>)]
    verify: Option<String>,
}

impl VerifyQuery {
    fn parse(&self) -> Result<bool, Problem> {
        match self.verify.as_deref() {
            None | Some("" | "true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Problem::invalid("verify", "write `true` or `false`")),
        }
    }
}

/// The id in a path; what is none names nothing.
fn source_id(text: &str) -> Result<SourceId, Problem> {
    text.parse().map_err(|_| Problem::not_found("source"))
}

/// List sources.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/sources",
    operation_id = "LoadSourcesPaged",
    tag = "Sources",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery, SourceQuery),
    responses((status = 200, description = "A page of sources", body = Envelope<Paged<SourceView>>)),
)]
async fn list_sources(
    access: InProject<ReadSources>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
    Params(query): Params<SourceQuery>,
) -> Result<impl IntoResponse, Problem> {
    let request = page.parse()?;
    let is_http = match query.r#type.as_deref() {
        None | Some("") => None,
        Some("http") => Some(true),
        Some("pub_sub") => Some(false),
        Some(_) => return Err(Problem::invalid("type", "write `http` or `pub_sub`")),
    };
    let filter = SourceFilter { is_http, provider: query.provider.filter(|text| !text.is_empty()) };
    let found = control.store().sources_page(access.id(), &filter, &request).await?;
    let views = found.map(|source| (source.id, view(&access, &control, &source)));
    let paged = Paged::new(views, request.limit, |(id, _)| id.to_string());
    let Paged { content, pagination } = paged;
    let content: Vec<SourceView> = content.into_iter().map(|(_, view)| view).collect();
    Ok(Reply::ok("Sources fetched successfully", Paged { content, pagination }))
}

/// Create a source.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/sources",
    operation_id = "CreateSource",
    tag = "Sources",
    params(("project_id" = String, Path, description = "The project's id"), VerifyQuery),
    request_body = SourceBody,
    responses((status = 201, description = "The source", body = Envelope<SourceView>)),
)]
async fn create_source(
    access: InProject<WriteSources>,
    State(control): State<Control>,
    Params(query): Params<VerifyQuery>,
    JsonBody(body): JsonBody<SourceBody>,
) -> Result<impl IntoResponse, Problem> {
    let is_verified = query.parse()?;
    // The ids are given once the change begins.
    let wanted = body::wanted(&body, body::blank(SourceId::from_u128(0), String::new()), true)?;
    let warnings = verify(&control, &wanted, is_verified).await?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    let mut source = wanted;
    source.id = SourceId::from_u128(change.next_id());
    let letters = change.rng().sample_iter(rand::distr::Alphanumeric).take(MASK_LENGTH);
    source.mask_id = Some(letters.map(char::from).collect());
    (source.created_at, source.updated_at) = change.put_source(access.id(), &source).await?;
    change.audit(&access.entry("source.created", source.id, told(&source))).await?;
    change.commit().await?;
    let view = view(&access, &control, &source).with_warnings(warnings);
    Ok(Reply::created("Source created successfully", view).tagged(source.updated_at))
}

/// Get a source.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/sources/{source_id}",
    operation_id = "GetSource",
    tag = "Sources",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("source_id" = String, Path, description = "The source's id"),
    ),
    responses((status = 200, description = "The source", body = Envelope<SourceView>)),
)]
async fn get_source(
    access: InProject<ReadSources>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let source = found(&access, &control, source_id(&id)?).await?;
    let reply = Reply::ok("Source fetched successfully", view(&access, &control, &source));
    Ok(reply.tagged(source.updated_at))
}

/// Update a source: what is left out stays as it is.
#[utoipa::path(
    put,
    path = "/projects/{project_id}/sources/{source_id}",
    operation_id = "UpdateSource",
    tag = "Sources",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("source_id" = String, Path, description = "The source's id"),
        VerifyQuery,
    ),
    request_body = SourceBody,
    responses((status = 202, description = "The source", body = Envelope<SourceView>)),
)]
async fn update_source(
    access: InProject<WriteSources>,
    State(control): State<Control>,
    if_match: IfMatch,
    Path((_, id)): Path<(String, String)>,
    Params(query): Params<VerifyQuery>,
    JsonBody(body): JsonBody<SourceBody>,
) -> Result<impl IntoResponse, Problem> {
    let is_verified = query.parse()?;
    let id = source_id(&id)?;
    let stored = found(&access, &control, id).await?;
    if_match.check(stored.updated_at)?;
    let read_at = stored.updated_at;
    let before = (stored.kind.clone(), stored.config.clone());
    let mut source = body::wanted(&body, stored, false)?;
    // What is connected to already need not be asked again.
    let is_other = (&source.kind, &source.config) != (&before.0, &before.1);
    let warnings = verify(&control, &source, is_verified && is_other).await?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    match change.source_changed_at(access.id(), id).await? {
        None => return Err(Problem::not_found("source")),
        Some(at) if at != read_at => {
            return Err(Problem::conflict(
                "somebody else changed this source meanwhile; send the request again",
            ));
        }
        Some(_) => {}
    }
    (source.created_at, source.updated_at) = change.put_source(access.id(), &source).await?;
    change.audit(&access.entry("source.updated", id, told(&source))).await?;
    change.commit().await?;
    let view = view(&access, &control, &source).with_warnings(warnings);
    Ok(Reply::accepted("Source updated successfully", view).tagged(source.updated_at))
}

/// Delete a source. Its events stay.
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/sources/{source_id}",
    operation_id = "DeleteSource",
    tag = "Sources",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("source_id" = String, Path, description = "The source's id"),
    ),
    responses((status = 200, description = "It is gone", body = Done)),
)]
async fn delete_source(
    access: InProject<WriteSources>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let id = source_id(&id)?;
    let mut change = control.store().change(access.caller.actor.clone()).await?;
    if !change.delete_source(access.id(), id).await? {
        return Err(Problem::not_found("source"));
    }
    change.audit(&access.entry("source.deleted", id, json!({}))).await?;
    change.commit().await?;
    Ok(Reply::ok("Source deleted successfully", None::<()>))
}

/// Test a function of a source: there are none in this version.
#[utoipa::path(
    post,
    path = "/projects/{project_id}/sources/test_function",
    operation_id = "TestSourceFunction",
    tag = "Sources",
    params(("project_id" = String, Path, description = "The project's id")),
    responses((status = 501, description = "Functions are not part of this version", body = ErrorBody)),
)]
async fn test_function(_: InProject<WriteSources>) -> Problem {
    Problem::not_implemented("functions")
}

fn view<P>(access: &InProject<P>, control: &Control, source: &StoredSource) -> SourceView {
    SourceView::new(access.id(), source, &control.settings().public_url)
}

/// What the audit log is told of a source.
fn told(source: &StoredSource) -> Value {
    json!({"name": source.name, "kind": source.kind, "workers": source.workers, "is_disabled": source.is_disabled})
}

async fn found<P>(access: &InProject<P>, control: &Control, id: SourceId) -> Result<StoredSource, Problem> {
    control.store().source(access.id(), id).await?.ok_or_else(|| Problem::not_found("source"))
}

/// Whether a broker's settings can work, and when wanted whether they do. Returns what should be changed.
async fn verify(control: &Control, source: &StoredSource, is_asked: bool) -> Result<Vec<String>, Problem> {
    if source.kind == HTTP {
        return Ok(Vec::new());
    }
    let settings: Value = serde_json::from_str(source.config.expose())
        .map_err(|_| Problem::invalid("pub_sub", "is not JSON"))?;
    let field = format!("pub_sub.{}", broker::contract_kind(&source.kind));
    let brokers = control.brokers();
    brokers.parse(&source.kind, &settings).map_err(|problem| Problem::invalid(&field, problem))?;
    if !is_asked || source.is_disabled {
        return Ok(Vec::new());
    }
    brokers.check(&source.kind, &settings).await.map_err(|problem| {
        let message = format!(
            "the broker does not take it: {problem} (`?verify=false` writes the source all the same)"
        );
        Problem::invalid(&field, message)
    })
}
