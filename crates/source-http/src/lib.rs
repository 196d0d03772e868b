//! HTTP ingest as a source: a producer posts an event, and the acknowledgement *is* the response.
//!
//! What it is for: `POST /api/v1/projects/{project_id}/events` and its siblings `fanout`, `broadcast`,
//! `dynamic` and `batch`. What it does not do: parse an event, know an API key, or store anything; bodies go to
//! the pipeline as they came, and the [`Gate`] says who may send. Invariant: `201` is sent if and only if the
//! message's token was acked, and everything that is held in memory owns a slot that was free beforehand; when
//! none is free the answer is `503` at once, never a queue.
mod answer;
mod batch;
mod body;
mod config;
mod gate;
mod ingest;
mod instruments;
mod rejection;
mod router;
mod slots;
mod source;
mod ulid;

pub use config::HttpIngestConfig;
pub use gate::{Admission, Denied, Gate};
pub use router::routes;
pub use source::HttpSource;
