//! From message to durable event with its deliveries: `recv → decode → dedupe → match → reserve → persist →
//! hand over → ack`.
//!
//! One driver per consumer ([`run`]). Batching is natural group commit: while one transaction commits, the broker's
//! client fills the next batch; there is no linger when idle.

mod batch;
mod cloudevents;
mod decode;
mod envelope;
mod fanout;
mod fields;
mod identity;
mod mapped;
pub mod replay;
mod run;
mod target;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::{ClaimedDelivery, EventLog};
use longshore_core::{Clock, Mapping, ProjectId, Snapshot, SourceId};
use longshore_source::Status;
use tokio::sync::{mpsc, watch};

use crate::dispatch::egress::EgressRules;
use crate::intake::Intake;
use crate::ledger::Ledger;

pub use run::{IngestError, run};

/// Where the messages of one source belong.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The source; `None` for the HTTP event routes, which say the project per message.
    pub source: Option<(SourceId, ProjectId)>,
    /// For logs and metric labels: the source's kind, e.g. `rabbitmq`.
    pub kind: &'static str,
    /// Where the source and its pipeline report.
    pub status: Status,
    /// Where in a message the parts of an event are; the default is the contract's envelope.
    pub mapping: Mappings,
}

/// A source's mapping, following changes: it takes effect with the next message.
pub type Mappings = watch::Receiver<Arc<Mapping>>;

/// A mapping that does not change.
#[must_use]
pub fn fixed(mapping: Mapping) -> Mappings {
    // What was sent last stays readable without its sender.
    watch::channel(Arc::new(mapping)).1
}

/// Bounds of a batch and of patience.
#[derive(Clone, Copy, Debug)]
pub struct IngestLimits {
    /// Events per transaction at most.
    pub batch: std::num::NonZeroUsize,
    /// How long a batch is held while the database is away before it goes back to a producer who waits (HTTP). A
    /// broker's messages are held without limit: giving them back would be a redelivery storm.
    pub hold_replies: Duration,
    /// How long closing a source may take.
    pub close: Duration,
}

/// What every ingest driver of a process shares.
#[derive(Debug)]
pub struct Ingest<L, C> {
    /// The durable log.
    pub log: Arc<L>,
    /// The configuration, following changes.
    pub config: watch::Receiver<Arc<Snapshot>>,
    /// What is held in memory.
    pub ledger: Ledger,
    /// Where fresh deliveries go once they are durable. Unbounded, but every item owns room in the ledger.
    pub dispatch: mpsc::UnboundedSender<Vec<ClaimedDelivery>>,
    /// Which URLs `dynamic` events may name.
    pub rules: Arc<EgressRules>,
    /// How much of each project is taken in.
    pub intake: Intake,
    /// Bounds.
    pub limits: IngestLimits,
    /// The time.
    pub clock: C,
}

impl<L, C: Clone> Clone for Ingest<L, C> {
    fn clone(&self) -> Self {
        Self {
            log: Arc::clone(&self.log),
            config: self.config.clone(),
            ledger: self.ledger.clone(),
            dispatch: self.dispatch.clone(),
            rules: Arc::clone(&self.rules),
            intake: self.intake.clone(),
            limits: self.limits,
            clock: self.clock.clone(),
        }
    }
}

impl<L: EventLog, C: Clock> Ingest<L, C> {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.config.borrow())
    }
}

/// The decoding of one envelope by itself: parsed, its `data` compacted. For benches; `None` when it is no envelope.
#[doc(hidden)]
#[must_use]
pub fn decode_envelope(body: &bytes::Bytes) -> Option<bytes::Bytes> {
    match envelope::Envelope::parse(body, false) {
        Ok(envelope::Body::Envelope(envelope)) => Some(longshore_core::json::compact(envelope.data)),
        _ => None,
    }
}
