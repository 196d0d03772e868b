//! The routes, and what all their answers have in common.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::config::HttpIngestConfig;
use crate::gate::{Denied, Gate};
use crate::inbox::Inbox;
use crate::ingest::Ingest;
use crate::instruments::Instruments;
use crate::rejection::Rejection;
use crate::request_id;
use crate::source::{self, HttpSource};

/// One route of the contract.
#[derive(Clone, Copy)]
enum Kind {
    Single,
    Fanout,
    Broadcast,
    Dynamic,
    Batch,
    /// A webhook of somebody else, or his challenge.
    Incoming,
    /// No route: an unknown path or a wrong method.
    None,
}

const KINDS: usize = 7;

struct Routes {
    ingest: Ingest,
    instruments: [Instruments; KINDS],
}

/// The routes under `/api/v1/projects/{project_id}/events` and `/ingest`, and the source of what they accept.
///
/// The router answers unknown paths and wrong methods too, in the same envelope: merge it only into routers
/// that have no fallback of their own, and name the parameter of a shared path `project_id` there as well.
/// Install the metrics recorder before the first request.
pub fn routes(config: HttpIngestConfig, gate: Arc<dyn Gate>, inbox: Arc<dyn Inbox>) -> (Router, HttpSource) {
    let (intake, source) = source::channel(config.max_in_flight, config.max_in_flight_bytes);
    let routes = Routes { ingest: Ingest { config, gate, inbox, intake }, instruments: Default::default() };
    let router = Router::new()
        .route("/api/v1/projects/{project_id}/events", route(Kind::Single))
        .route("/api/v1/projects/{project_id}/events/fanout", route(Kind::Fanout))
        .route("/api/v1/projects/{project_id}/events/broadcast", route(Kind::Broadcast))
        .route("/api/v1/projects/{project_id}/events/dynamic", route(Kind::Dynamic))
        .route("/api/v1/projects/{project_id}/events/batch", route(Kind::Batch))
        .route("/ingest/{mask_id}", incoming())
        .fallback(|State(routes): State<Arc<Routes>>, request: Request| async move {
            routes.reject(&request, Rejection::NoRoute)
        })
        .with_state(Arc::new(routes));
    (router, source)
}

fn route(kind: Kind) -> MethodRouter<Arc<Routes>> {
    post(
        move |State(routes): State<Arc<Routes>>,
              project: Result<Path<String>, PathRejection>,
              request: Request| { async move { routes.answer(kind, project, request).await } },
    )
    .fallback(|State(routes): State<Arc<Routes>>, request: Request| async move {
        routes.reject(&request, Rejection::Method)
    })
}

fn incoming() -> MethodRouter<Arc<Routes>> {
    type Mask = Result<Path<String>, PathRejection>;
    let received = move |State(routes): State<Arc<Routes>>, mask: Mask, request: Request| async move {
        routes.received(mask, request).await
    };
    post(received).get(received).fallback(|State(routes): State<Arc<Routes>>, request: Request| async move {
        routes.reject(&request, Rejection::Method)
    })
}

impl Routes {
    async fn received(&self, mask: Result<Path<String>, PathRejection>, request: Request) -> Response {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let answer = match mask {
            Err(_) => Err(Denied::UnknownSource.into()),
            Ok(mask) if head.method == http::Method::POST => self.ingest.webhook(&mask, &head, body).await,
            Ok(mask) => self.ingest.challenge(&mask, &head),
        };
        let answer = answer.unwrap_or_else(Answer::from);
        let kind = Kind::Incoming;
        self.instruments[kind as usize].answered(kind.as_str(), answer.status, started.elapsed());
        answer.into_response(request_id::of(&head.headers), self.ingest.config.api_version.clone())
    }

    async fn answer(
        &self,
        kind: Kind,
        project: Result<Path<String>, PathRejection>,
        request: Request,
    ) -> Response {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let answer = match (project, kind.stored()) {
            // A path that is not even text names no project.
            (Err(_), _) => Err(Denied::UnknownProject.into()),
            (Ok(project), Some(stored)) => {
                self.ingest.event(kind.as_str(), stored, &project, &head.headers, body).await
            }
            (Ok(project), None) => self.ingest.batch(&project, &head.headers, body).await,
        };
        let answer = answer.unwrap_or_else(Answer::from);
        self.instruments[kind as usize].answered(kind.as_str(), answer.status, started.elapsed());
        answer.into_response(request_id::of(&head.headers), self.ingest.config.api_version.clone())
    }

    fn reject(&self, request: &Request, rejection: Rejection) -> Response {
        let answer = Answer::from(rejection);
        let kind = Kind::None;
        self.instruments[kind as usize].answered(kind.as_str(), answer.status, Default::default());
        answer.into_response(request_id::of(request.headers()), self.ingest.config.api_version.clone())
    }
}

impl Kind {
    /// The kind as the pipeline and the metrics call it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Fanout => "fanout",
            Self::Broadcast => "broadcast",
            Self::Dynamic => "dynamic",
            Self::Batch => "batch",
            Self::Incoming => "incoming",
            Self::None => "none",
        }
    }

    /// The contract's words for "stored"; `None` where the answer has no single event.
    const fn stored(self) -> Option<&'static str> {
        match self {
            Self::Single => Some("Event queued successfully"),
            Self::Fanout => Some("Endpoint fanout event queued successfully"),
            Self::Broadcast => Some("Broadcast event created successfully"),
            Self::Dynamic => Some("Dynamic event created successfully"),
            Self::Batch | Self::Incoming | Self::None => None,
        }
    }
}
