//! The demo: events in by RabbitMQ and HTTP, signed webhooks out, every one checked.
//!
//! `scripts/demo` builds, provides the servers, applies `examples/demo.yaml` and runs the gateway; this publishes,
//! receives, verifies with the reference library of Standard Webhooks, and counts. Invariant: the verdict is what
//! arrived against what [`plan`] says must arrive, never what the gateway says of itself.

pub mod board;
pub mod plan;
pub mod prepare;
pub mod receive;
pub mod run;
pub mod tally;

/// The example's own addresses, replaced by those of a run.
pub const EXAMPLE_RECEIVER: &str = "http://127.0.0.1:9900";
/// The example's broker.
pub const EXAMPLE_BROKER: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";
/// The example's queue.
pub const EXAMPLE_QUEUE: &str = "longshore-demo";
