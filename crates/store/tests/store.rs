//! The store against a real Postgres: what its ports promise, seen from outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's set-up that fails has no better answer")]

#[path = "store/bed.rs"]
mod bed;
#[path = "store/breakers.rs"]
mod breakers;
#[path = "store/claiming.rs"]
mod claiming;
#[path = "store/endpoints.rs"]
mod endpoints;
#[path = "store/feed.rs"]
mod feed;
#[path = "store/leases.rs"]
mod leases;
#[path = "store/notices.rs"]
mod notices;
#[path = "store/ordering.rs"]
mod ordering;
#[path = "store/outages.rs"]
mod outages;
#[path = "store/partitions.rs"]
mod partitions;
#[path = "store/persist.rs"]
mod persist;
#[path = "store/plans.rs"]
mod plans;
#[path = "store/quarantine.rs"]
mod quarantine;
#[path = "store/rates.rs"]
mod rates;
#[path = "store/recording.rs"]
mod recording;
#[path = "store/sealing.rs"]
mod sealing;
#[path = "store/states.rs"]
mod states;
#[path = "store/status.rs"]
mod status;
#[path = "store/watermarks.rs"]
mod watermarks;
