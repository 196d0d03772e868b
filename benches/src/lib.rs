//! The end-to-end harness: a load, a sink, and what lies between measured from outside.
//!
//! What it is for: `make bench` (`bin/harness.rs`) and `make demo` (`bin/demo.rs`). What it does not do: look into
//! the gateway; it knows the binary, its resource files, its broker and its database. Invariant: load and sink share
//! one process and one clock, and cost as little as they can, since they share the machine with what is measured.
//!
//! | module | holds |
//! |---|---|
//! | [`setup`] | a fresh database, queue and gateway, with resources applied |
//! | [`payload`] | events of 1 KB that carry their number |
//! | [`publisher`] | any broker: confirmed, in bulk or paced |
//! | [`http_load`] | HTTP: keep-alive connections that post as fast as they are answered |
//! | [`sink`] | a webhook receiver of a few system calls per event |
//! | [`usage`] | CPU time and memory, from the kernel |
//! | [`report`] | percentiles and JSON |
//! | [`demo`] | what `make demo` shows |
//! | [`scenarios`] | what is measured |

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "progress goes to standard error, the demo to standard output"
)]

pub mod demo;
pub mod http_load;
pub mod payload;
pub mod publisher;
pub mod report;
pub mod scenarios;
pub mod setup;
pub mod sink;
pub mod usage;
