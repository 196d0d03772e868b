//! The demo: events in by a broker and HTTP, signed webhooks out, every one checked.
//!
//! `scripts/demo` builds, provides the servers, applies `examples/demo.yaml` and runs the gateway; this publishes,
//! receives, verifies with the reference library of Standard Webhooks, and counts. Invariant: the verdict is what
//! arrived against what [`plan`] says must arrive, never what the gateway says of itself.

pub mod board;
pub mod channel;
pub mod plan;
pub mod prepare;
pub mod receive;
pub mod run;
pub mod tally;

/// The example's own address, replaced by that of a run.
pub const EXAMPLE_RECEIVER: &str = "http://127.0.0.1:9900";
