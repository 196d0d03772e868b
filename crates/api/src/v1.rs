//! The public API, version 1: the contract that existing clients speak, and what goes beyond it.
//!
//! What it is for: everything that people do to their projects, as HTTP requests under `/api/v1`. What it does not do:
//! take events in (the data plane does), or touch the hot path: it has connections of its own. Invariants: nothing of a
//! request is looked at before it is known who asks and that they may (`access::InProject`); every answer is
//! in the contract's envelope; every operation is in the document that is served.

pub(crate) mod access;
mod api_keys;
mod attempts;
mod audit_log;
pub(crate) mod body;
mod brokers;
mod control;
mod deliveries;
pub(crate) mod document;
mod egress;
pub(crate) mod endpoints;
pub(crate) mod etag;
mod event_types;
mod events;
mod features;
pub(crate) mod filters;
mod ingest;
mod limits;
mod me;
mod members;
mod meta_events;
pub(crate) mod named;
mod onboarding;
mod organisations;
pub(crate) mod page;
mod portal_links;
pub(crate) mod problem;
mod projects;
mod published;
mod quarantine;
mod reference;
mod repeats;
pub(crate) mod reply;
pub(crate) mod request;
mod sources;
mod stats;
mod subscriptions;
pub(crate) mod version;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use http::StatusCode;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use brokers::{Answering, Brokers, ReplayOutcome, ReplayedEvents, Replays};
pub use control::{Control, ControlSettings};
pub use deliveries::advance_retries;
pub use egress::{Egress, FetchedToken};
pub use problem::Problem;
pub use quarantine::advance_operations;
pub use version::NEWEST;
pub use version::newest_version;

/// The largest body of a request.
const LARGEST_BODY: usize = 5 * 1024 * 1024;

/// The routes of the public API.
pub struct ControlRoutes {
    /// To be merged into the listener's router; it has no fallback.
    pub router: Router,
    /// What of them this installation offers, as OpenAPI 3.1.
    pub document: OpenApi,
}

/// Every route under `/api/v1`, but those that take events in.
pub fn control_routes(control: Control) -> ControlRoutes {
    let (own, document) = nested(own_paths()).split_for_parts();
    let (shared, more) = nested(shared_paths()).split_for_parts();
    let document = document::complete(document.merge_from(more));
    let gate = features::Gate::new(control.clone(), &document);
    let document = features::offered(document, &control.settings().features);
    control.publish(published::Published::of(&document));
    // The last one is the first that a request meets.
    let router = own
        .merge(published::pages())
        .method_not_allowed_fallback(wrong_method)
        .merge(shared)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(version::answer))
        .layer(from_fn_with_state(control.clone(), repeats::repeat))
        .layer(from_fn_with_state(gate, features::gate))
        .layer(from_fn_with_state(control.clone(), limits::limit))
        .layer(from_fn_with_state(control.clone(), request::frame))
        .with_state(control);
    ControlRoutes { router, document }
}

/// The whole document: what no installation offers by itself is in it too, marked with its feature.
#[must_use]
pub fn api_document() -> OpenApi {
    document::complete(nested(own_paths()).merge(nested(shared_paths())).into_openapi())
}

/// Paths that nobody else serves.
fn own_paths() -> OpenApiRouter<Control> {
    OpenApiRouter::new()
        .merge(projects::routes())
        .merge(features::routes())
        .merge(published::routes())
        .merge(endpoints::routes())
        .merge(sources::routes())
        .merge(subscriptions::routes())
        .merge(event_types::routes())
        .merge(quarantine::routes())
        .merge(portal_links::routes())
        .merge(onboarding::routes())
        .merge(events::routes())
        .merge(deliveries::routes())
        .merge(attempts::routes())
        .merge(api_keys::routes())
        .merge(organisations::routes())
        .merge(members::routes())
        .merge(me::routes())
        .merge(audit_log::routes())
        .merge(meta_events::routes())
        .merge(stats::routes())
}

/// Paths of which the data plane answers other methods: it has the fallback for those that nobody takes.
fn shared_paths() -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(ingest::IngestPaths::openapi()).merge(events::shared_routes())
}

fn nested(routes: OpenApiRouter<Control>) -> OpenApiRouter<Control> {
    OpenApiRouter::with_openapi(document::Base::openapi()).nest("/api/v1", routes)
}

/// Gives every answer of routes that are not the API's its request's id too.
pub fn with_request_ids(router: Router) -> Router {
    router.layer(from_fn(request::name))
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}

/// What is answered where there is nothing.
pub async fn unknown_path() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is nothing at this path; the paths are in `/api/v1/openapi.json`",
    )
}
