//! How sources are, by the word of the processes that run them.

use axum::extract::{Path, State};
use axum::response::IntoResponse;
use longshore_core::SourceId;
use longshore_store::control::{HTTP, PageRequest, StoredSource};
use longshore_store::{SourceStatusFilter, StoredSourceStatus};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{found, source_id};
use crate::v1::access::{InProject, ReadSources};
use crate::v1::control::Control;
use crate::v1::page::{PageQuery, Params};
use crate::v1::problem::Problem;
use crate::v1::reply::{Envelope, Paged, Reply};

pub(super) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(list_source_status)).routes(routes!(get_source_status))
}

/// How a source is: its consumers together, then each.
#[derive(Serialize, ToSchema)]
pub(crate) struct SourceStatusView {
    /// The source.
    uid: String,
    /// For people.
    name: String,
    /// The broker, by the contract's name, or `http`.
    kind: String,
    /// `consuming`, `connecting`, `failing` or `stopped`: the worst of its consumers; `unknown` when no process runs it.
    state: String,
    /// Messages that wait at the broker, as far as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// Seconds for which the oldest message that is not settled has been out.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_in_flight_seconds: Option<f64>,
    /// Seconds since a message was last settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_progress_seconds: Option<f64>,
    /// The last fault, while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// Each consumer of each process.
    consumers: Vec<ConsumerView>,
}

/// How one consumer of a source is, and what it did since it began.
#[derive(Serialize, ToSchema)]
struct ConsumerView {
    /// The process.
    process_id: String,
    /// Where that runs; empty when it did not say.
    hostname: String,
    /// Which of the source's consumers in the process, from 0.
    worker: u16,
    /// Whether the process is there: of a dead one this tells what was.
    is_alive: bool,
    /// `connecting`, `consuming`, `failing` or `stopped`.
    state: String,
    /// The last fault, while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// What works but should be changed.
    warnings: Vec<String>,
    /// Messages that wait at the broker, as far as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// Seconds for which the oldest message that is not settled has been out.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_in_flight_seconds: Option<f64>,
    /// Seconds since a message was last settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_progress_seconds: Option<f64>,
    /// Messages that are not settled.
    in_flight: u64,
    /// Messages taken from the broker.
    received: u64,
    /// Events stored.
    stored: u64,
    /// Events stored and marked as duplicates.
    duplicate: u64,
    /// Messages recognised as redeliveries.
    redelivered: u64,
    /// Messages quarantined.
    quarantined: u64,
    /// Messages given back to the broker.
    returned: u64,
    /// Connections made again.
    reconnects: u64,
    /// When it said so.
    updated_at: String,
}

impl From<&StoredSourceStatus> for ConsumerView {
    fn from(stored: &StoredSourceStatus) -> Self {
        let report = &stored.status.report;
        Self {
            process_id: stored.process.to_string(),
            hostname: stored.hostname.clone(),
            worker: stored.status.worker,
            is_alive: stored.is_alive,
            state: report.state.clone(),
            last_error: report.problem.clone(),
            warnings: report.warnings.clone(),
            lag: report.lag,
            oldest_in_flight_seconds: report.oldest_in_flight.map(|age| age.as_secs_f64()),
            last_progress_seconds: report.last_progress.map(|age| age.as_secs_f64()),
            in_flight: report.in_flight,
            received: report.received,
            stored: report.stored,
            duplicate: report.duplicate,
            redelivered: report.redelivered,
            quarantined: report.quarantined,
            returned: report.returned,
            reconnects: report.reconnects,
            updated_at: stored.updated_at.to_string(),
        }
    }
}

impl SourceStatusView {
    fn new(source: &StoredSource, statuses: &[StoredSourceStatus]) -> Self {
        let own: Vec<&StoredSourceStatus> =
            statuses.iter().filter(|stored| stored.status.source == source.id).collect();
        let alive: Vec<_> =
            own.iter().filter(|stored| stored.is_alive).map(|stored| &stored.status.report).collect();
        let is_in = |state: &str| alive.iter().any(|report| report.state == state);
        let state = match source.is_disabled {
            true => "stopped",
            // It waits for requests wherever events are taken in.
            false if source.kind == HTTP => "consuming",
            false => ["failing", "connecting", "stopped", "consuming"]
                .into_iter()
                .find(|state| is_in(state))
                .unwrap_or("unknown"),
        };
        let lag = |report: &&longshore_store::SourceReport| report.lag;
        Self {
            uid: source.id.to_string(),
            name: source.name.clone(),
            kind: super::broker::contract_kind(&source.kind).to_owned(),
            state: state.to_owned(),
            // Consumers of one queue see the same lag, those of a log each see theirs.
            lag: match source.kind.as_str() {
                "kafka" => alive.iter().filter_map(lag).reduce(|sum, lag| sum.saturating_add(lag)),
                _ => alive.iter().filter_map(lag).max(),
            },
            oldest_in_flight_seconds: alive
                .iter()
                .filter_map(|report| report.oldest_in_flight)
                .max()
                .map(|age| age.as_secs_f64()),
            last_progress_seconds: alive
                .iter()
                .filter_map(|report| report.last_progress)
                .min()
                .map(|age| age.as_secs_f64()),
            last_error: alive.iter().find_map(|report| report.problem.clone()),
            consumers: own.into_iter().map(ConsumerView::from).collect(),
        }
    }
}

/// How the sources of a project are.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/sources/status",
    operation_id = "GetSourcesStatus",
    tag = "Sources",
    params(("project_id" = String, Path, description = "The project's id"), PageQuery),
    responses((status = 200, description = "A page of sources", body = Envelope<Paged<SourceStatusView>>)),
)]
async fn list_source_status(
    access: InProject<ReadSources>,
    State(control): State<Control>,
    Params(page): Params<PageQuery>,
) -> Result<impl IntoResponse, Problem> {
    let request: PageRequest = page.parse()?;
    let sources = control.store().sources_page(access.id(), &Default::default(), &request).await?;
    let statuses = statuses(&access, &control, None).await?;
    let views = sources.map(|source| SourceStatusView::new(&source, &statuses));
    Ok(Reply::ok("Sources fetched successfully", Paged::new(views, request.limit, |view| view.uid.clone())))
}

/// How a source is.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/sources/{source_id}/status",
    operation_id = "GetSourceStatus",
    tag = "Sources",
    params(
        ("project_id" = String, Path, description = "The project's id"),
        ("source_id" = String, Path, description = "The source's id"),
    ),
    responses((status = 200, description = "How it is", body = Envelope<SourceStatusView>)),
)]
async fn get_source_status(
    access: InProject<ReadSources>,
    State(control): State<Control>,
    Path((_, id)): Path<(String, String)>,
) -> Result<impl IntoResponse, Problem> {
    let source = found(&access, &control, source_id(&id)?).await?;
    let statuses = statuses(&access, &control, Some(source.id)).await?;
    Ok(Reply::ok("Source status fetched successfully", SourceStatusView::new(&source, &statuses)))
}

async fn statuses(
    access: &InProject<ReadSources>,
    control: &Control,
    source: Option<SourceId>,
) -> Result<Vec<StoredSourceStatus>, Problem> {
    let filter = SourceStatusFilter { project: Some(access.id()), source };
    Ok(control.store().source_status(filter).await?)
}
