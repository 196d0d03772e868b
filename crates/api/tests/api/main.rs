//! The public API as its clients see it: requests to the whole router over a real Postgres. Every answer is validated
//! against the document that is served.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod accounts;
mod attempts;
mod audit_log;
mod bed;
mod brokers;
mod credentials;
mod deliveries;
mod document;
mod endpoints;
mod event_types;
mod events;
mod features;
mod filters;
mod frame;
mod keys;
mod meta_events;
mod onboarding;
mod portal_links;
mod projects;
mod quarantine;
mod rows;
mod sources;
mod stats;
mod subscriptions;
mod versions;
