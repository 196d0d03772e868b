//! Postgres, all of it: the only crate that names sqlx.
//!
//! What it is for: the ports of the pipeline ([`EventLog`](longshore_core::ports::EventLog),
//! [`DeliveryQueue`](longshore_core::ports::DeliveryQueue), [`RateLanes`](longshore_core::ports::RateLanes),
//! [`BreakerBoard`](longshore_core::ports::BreakerBoard)), the configuration feed, migrations, partitions.
//! What it does not do: decide anything about events; no rule lives in SQL but uniqueness, states and fences.
//! Invariants: one call of a port is one transaction; nobody waits on the network inside one; every write of a
//! claimed delivery is fenced by its claim; leases are measured on the database's clock.
//!
//! | module | holds |
//! |---|---|
//! | [`admin`] | the writes behind `apply` |
//! | [`checkup`] | how the server is, for people |
//! | [`mod@connect`] | settings, the pool, [`Store`] |
//! | [`migrate`] | the schema's version |
//! | [`control`] | what the public API reads and writes |
//! | `event_log` | ingest's transaction |
//! | `delivery_queue` | claims, outcomes |
//! | [`breakers`], `rates` | what the fleet shares of circuit breakers and limits |
//! | `lanes` | deliveries in order: entering and leaving |
//! | [`stopped`] | what stops in order, for people; the upkeep of lanes |
//! | [`leadership`] | what one process does for all |
//! | `lease` | this process's lease and the burial of dead ones |
//! | [`offsets`] | how far the logs of a source are stored |
//! | [`quarantine`] | quarantined messages: list, show, discard, replay |
//! | [`directory`] | names, without what is sealed |
//! | [`status`] | what the sources say of themselves |
//! | [`notices`] | endpoints switched off, meta events, alerts |
//! | [`feed`] | the configuration snapshot that follows changes |
//! | [`partitions`] | created ahead, dropped by retention |
//! | `expiry` | what single projects keep for less |
//! | [`seal`] | credentials at rest, and the keys they are sealed with |
//! | [`reseal`] | everything that is sealed, and sealing it anew |
//! | [`api_keys`] | API key hashes |
//! | [`endpoints`] | what operators ask of one endpoint: show, pause, activate, roll its secret |

pub mod admin;
pub mod api_keys;
mod bodies;
pub mod breakers;
mod checkout;
pub mod checkup;
mod claimed;
pub mod connect;
pub mod control;
mod delivery_queue;
pub mod directory;
pub mod endpoints;
mod error;
mod event_log;
mod expiry;
pub mod feed;
mod lanes;
pub mod leadership;
mod lease;
pub mod migrate;
pub mod notices;
pub mod offsets;
pub mod partitions;
pub mod quarantine;
mod rates;
mod replay;
pub mod reseal;
mod rows;
pub mod seal;
mod stats;
pub mod status;
pub mod stopped;

pub use api_keys::{ApiKeyHasher, ApiKeyText, PORTAL_PREFIX};
pub use breakers::BreakerEvent;
pub use checkup::Checkup;
pub use connect::{Profile, Settings, Store, connect};
pub use directory::{Directory, NamedSource};
pub use expiry::Reach;
pub use feed::{ApiKey, ApiKeyOwner, Config, Feed, HttpSourceRecord, People, SourceRecord};
pub use quarantine::{
    QuarantineCount, QuarantineEntry, QuarantineFilter, QuarantineItem, QuarantineKey, QuarantinePage,
};
pub use seal::Keys;
pub use status::{SourceReport, SourceStatus, SourceStatusFilter, StoredSourceStatus};
pub use stopped::StoppedDelivery;
