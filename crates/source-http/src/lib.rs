//! HTTP ingest as a source: a producer posts an event, and the acknowledgement *is* the response.
//!
//! What it is for: `POST /api/v1/projects/{project_id}/events` and its siblings `fanout`, `broadcast`,
//! `dynamic` and `batch`, and the webhooks of others at `/ingest/{mask_id}` ([`Inbox`]), which are answered `200`. What it does not do: parse an event, know an API key, or store anything; bodies go to
//! the pipeline as they came, and the [`Gate`] says who may send. Request headers go with CloudEvents alone: their
//! attributes (`ce-…`), `content-type`, `traceparent` and `tracestate`; `Idempotency-Key` goes with every event, as what its
//! producer calls it. Every answer has an `x-request-id` and the version of the API. Invariant: `201` is sent if and only if the
//! message's token was acked, and everything that is held in memory owns a slot that was free beforehand; when
//! none is free the answer is `503` at once, never a queue.
//!
//! | status | means | repeat? |
//! |---|---|---|
//! | `201` | durable; `data.uid` is the event's id | no |
//! | `207` | a batch of which some are durable; `data` says which | those with `503` |
//! | `400` | refused, with the field at fault; or the body arrived broken | after a correction |
//! | `401`, `403`, `404`, `405` | who, what for, and where to | after a correction |
//! | `408` | the body did not arrive within [`HttpIngestConfig::deadline`] | yes |
//! | `413`, `415` | too large; neither JSON nor a CloudEvent nor, for a batch, one JSON per line or an array of CloudEvents | after a correction |
//! | `503` | no room, shutting down, or not known to be durable; with `Retry-After` | yes, same `idempotency_key` |
mod answer;
mod batch;
mod body;
mod config;
mod gate;
mod inbox;
mod ingest;
mod instruments;
mod media;
mod rejection;
mod request_id;
mod router;
mod slots;
mod source;
mod ulid;

pub use config::HttpIngestConfig;
pub use gate::{Admission, Denied, Gate, Rate};
pub use inbox::{Inbox, Letter, Letterbox, Opened};
pub use router::routes;
pub use source::HttpSource;
