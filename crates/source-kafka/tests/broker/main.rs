//! What a Kafka source does when things happen at a real broker, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

mod groups;
mod logs;
mod records;
mod security;
mod settings;
mod stall;
mod support;
