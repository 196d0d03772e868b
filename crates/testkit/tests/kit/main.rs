//! The testkit's own tests: a tool that lies makes every other test worthless.

#![expect(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod chaos;
mod gateway;
mod memory;
mod real_servers;
mod receiver;
