//! What the control plane asks of the sources' and the pipeline's crates, which it does not know.

use std::future::Future;
use std::pin::Pin;

use longshore_core::ports::StoreError;
use longshore_core::quarantine::Reason;
use longshore_core::{EventId, Mapping, ProjectId, QuarantineId};
use serde_json::Value;

/// The future of an answer.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The brokers that are built in.
pub trait Brokers: Send + Sync {
    /// Whether settings of a kind of broker (`kafka`, `pubsub`, `rabbitmq`, `sqs`) can work, without asking the broker.
    ///
    /// # Errors
    /// A sentence that names the setting and no secret.
    fn parse(&self, kind: &str, settings: &Value) -> Result<(), String>;

    /// Connects once and lets go again, within some seconds. Returns what works but should be changed.
    ///
    /// # Errors
    /// A sentence that says what is wrong and holds no secret.
    fn check<'a>(&'a self, kind: &'a str, settings: &'a Value) -> Answering<'a, Result<Vec<String>, String>>;
}

/// What became of a quarantined message that was to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// It is an event now, and goes out.
    Stored(EventId),
    /// It is an event now, but not delivered: its idempotency key was seen before.
    Duplicate(EventId),
    /// It was an event already.
    Known(Option<EventId>),
    /// It still is none, and says why.
    Faulty(Reason, String),
    /// It cannot be replayed, or is gone.
    LeftOut(String),
}

/// How many deliveries a replay made of which events; `None` of one that is not there.
pub type ReplayedEvents = Vec<(EventId, Option<usize>)>;

/// Replays: of quarantined messages, and of events.
pub trait Replays: Send + Sync {
    /// Replays messages of a project in their order, with another mapping than their sources' when one is given.
    ///
    /// # Errors
    /// [`StoreError`]: some may be replayed; doing it again is safe.
    fn replay<'a>(
        &'a self,
        project: ProjectId,
        ids: &'a [QuarantineId],
        mapping: Option<&'a Mapping>,
    ) -> Answering<'a, Result<Vec<(QuarantineId, ReplayOutcome)>, StoreError>>;

    /// Delivers events of a project anew, in their order; how many deliveries that makes of each, `None` for one that is
    /// not there.
    ///
    /// # Errors
    /// [`StoreError`]: none is delivered anew.
    fn replay_events<'a>(
        &'a self,
        project: ProjectId,
        ids: &'a [EventId],
    ) -> Answering<'a, Result<ReplayedEvents, StoreError>>;
}

/// Where there are none: settings are taken as they are, and nothing is replayed.
pub(crate) struct Nothing;

impl Brokers for Nothing {
    fn parse(&self, _: &str, _: &Value) -> Result<(), String> {
        Ok(())
    }

    fn check<'a>(&'a self, _: &'a str, _: &'a Value) -> Answering<'a, Result<Vec<String>, String>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Replays for Nothing {
    fn replay<'a>(
        &'a self,
        _: ProjectId,
        ids: &'a [QuarantineId],
        _: Option<&'a Mapping>,
    ) -> Answering<'a, Result<Vec<(QuarantineId, ReplayOutcome)>, StoreError>> {
        let left_out =
            |id: &QuarantineId| (*id, ReplayOutcome::LeftOut("this process replays nothing".to_owned()));
        Box::pin(async move { Ok(ids.iter().map(left_out).collect()) })
    }

    fn replay_events<'a>(
        &'a self,
        _: ProjectId,
        ids: &'a [EventId],
    ) -> Answering<'a, Result<ReplayedEvents, StoreError>> {
        Box::pin(async move { Ok(ids.iter().map(|id| (*id, None)).collect()) })
    }
}
