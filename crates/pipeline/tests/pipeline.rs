//! Ingest and dispatch together, from the broker to the endpoint, against a store and a broker in memory and under
//! paused time; and the HTTP client against a real server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's set-up that fails has no better answer")]

#[path = "pipeline/batching.rs"]
mod batching;
#[path = "pipeline/bed.rs"]
mod bed;
#[path = "pipeline/breaking.rs"]
mod breaking;
#[path = "pipeline/catalogue.rs"]
mod catalogue;
#[path = "pipeline/delivering.rs"]
mod delivering;
#[path = "pipeline/egress.rs"]
mod egress;
#[path = "pipeline/forms.rs"]
mod forms;
#[path = "pipeline/http.rs"]
mod http;
#[path = "pipeline/limiting.rs"]
mod limiting;
#[path = "pipeline/mapping.rs"]
mod mapping;
#[path = "pipeline/model.rs"]
mod model;
#[path = "pipeline/ordering.rs"]
mod ordering;
#[path = "pipeline/replaying.rs"]
mod replaying;
#[path = "pipeline/stopping.rs"]
mod stopping;
#[path = "pipeline/storing.rs"]
mod storing;
#[path = "pipeline/tls.rs"]
mod tls;
#[path = "pipeline/tokens.rs"]
mod tokens;
#[path = "pipeline/transport.rs"]
mod transport;
#[path = "pipeline/watermarks.rs"]
mod watermarks;
