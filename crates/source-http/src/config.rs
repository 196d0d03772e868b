//! The limits of HTTP ingest. Not here: the body limit of one event, which is the project's ([`crate::Admission`]).

use std::num::NonZeroUsize;
use std::time::Duration;

use http::HeaderValue;

/// The limits of HTTP ingest; together they bound its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpIngestConfig {
    /// Events accepted and not yet settled, bodies being read included; above it the answer is `503`.
    pub max_in_flight: NonZeroUsize,
    /// Bytes of their bodies; above it the answer is `503`. One body larger than this is never accepted.
    pub max_in_flight_bytes: NonZeroUsize,
    /// From the request's head to the answer. A body that takes longer is a `408`, a commit that takes longer a
    /// `503`.
    pub deadline: Duration,
    /// Events in one batch; `max_in_flight` caps it too.
    pub max_batch_items: NonZeroUsize,
    /// Bytes of one batch's body; each event in it is held to the project's limit as well.
    pub max_batch_bytes: usize,
    /// The version of the API that every answer names, in `X-Convoy-Version`.
    pub api_version: HeaderValue,
}

impl Default for HttpIngestConfig {
    fn default() -> Self {
        const IN_FLIGHT: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
        const IN_FLIGHT_BYTES: NonZeroUsize = NonZeroUsize::new(32 * 1024 * 1024).expect("not zero");
        const BATCH_ITEMS: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");
        Self {
            max_in_flight: IN_FLIGHT,
            max_in_flight_bytes: IN_FLIGHT_BYTES,
            deadline: Duration::from_secs(15),
            max_batch_items: BATCH_ITEMS,
            max_batch_bytes: 8 * 1024 * 1024,
            api_version: HeaderValue::from_static("2025-11-24"),
        }
    }
}
