//! Kafka as a source of events: one member of a consumer group.
//!
//! What this broker promises, and what becomes of it here:
//!
//! - **Ack**: the group's position of a partition is committed up to the first message that is not settled, each
//!   `commit_interval`, and before a partition goes to another member or the source closes. A hole holds the position:
//!   after a crash, what stands behind it comes again, and is recognised.
//! - **Retry** and a dropped token: the partition is read again from there, after the delay, and later records wait
//!   meanwhile. What is settled or still out is not handed out twice.
//! - **A rebalance** waits for what is out of the partitions that go (a quarter of the session timeout), commits, and lets
//!   them go; what is settled later commits nothing. Partitions that were lost commit nothing at all.
//! - **Start**: at the committed position, or where the stored messages end if that is further on; in a topic without
//!   committed position as `offset_reset` says, and what is stored under its name is ignored.
//! - **A topic that is deleted and created again** is read from its beginning, also when nobody was away.
//! - **The window** is messages and bytes. When nobody takes what was read for a second, partitions are paused; polling
//!   goes on, so the group keeps its member through any outage of ours.
//! - **Gaps** of compaction, aborted transactions and their marks are passed over, and the position reaches the end.
//! - **A position that is gone** (retention was faster) is an error aloud, a metric, and then as `offset_reset` says.
//!
//! Header values that are not UTF-8 are base64, null ones are the word `null`; keys that are not UTF-8 are hex.
//!
//! What it does not do: create topics, publish, decode.
mod config;
mod error;
mod events;
mod ledger;
mod open;
mod properties;
mod reader;
mod rebalance;
mod record;
mod recv;
mod settle;
mod shared;
mod stall;
mod token;

use longshore_source::{Context, SourceError};

pub use config::{
    Assignment, Auth, AuthType, GroupProtocol, Hash, Isolation, KafkaConfig, OauthBearer, OffsetReset, Tls,
    Tombstones,
};
pub use error::ConfigError;
pub use longshore_source::Secret;
pub use recv::KafkaSource;

/// Connects, joins the group and starts to read.
///
/// # Errors
/// [`SourceError::Misconfigured`] or [`SourceError::Denied`] when the settings, a topic or the rights are at fault;
/// [`SourceError::Disconnected`] when no broker answered in time, which may pass.
pub async fn connect(config: KafkaConfig, context: Context) -> Result<KafkaSource, SourceError> {
    KafkaSource::connect(config, context).await
}

/// Connects, authenticates, looks topics and group up, and joins nothing: says what is wrong before a source is
/// started. Returns what works but should be changed.
///
/// # Errors
/// As [`connect`].
pub async fn check(config: &KafkaConfig) -> Result<Vec<String>, SourceError> {
    open::check(config).await
}
