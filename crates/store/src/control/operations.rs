//! Bulk work on quarantined messages: what was asked for, and how far it is.
//!
//! Invariant: whoever works on an operation holds it until an instant that each step moves on, and writes how far it is
//! with each step; where it is cut off another one goes on from there. A step that was done twice does no harm: a
//! message is replayed or discarded once.

mod queries;

use longshore_core::ports::StoreError;
use longshore_core::{OperationId, ProjectId, QuarantineId, Timestamp};

use crate::error::misconfigured;
use crate::quarantine::{QuarantineFilter, QuarantineKey};

/// What is done with each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// It becomes an event.
    Replay,
    /// It is deleted.
    Discard,
}

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// Nobody has begun.
    Waiting,
    /// Somebody is at it.
    Running,
    /// Every message was looked at.
    Done,
    /// It cannot go on.
    Failed,
}

/// Which messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, in this order.
    Ids(Vec<QuarantineId>),
    /// All that fit and were there when it was asked for, oldest first.
    Filter(QuarantineFilter),
}

/// What became of how many messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationProgress {
    /// Became events.
    pub stored: u64,
    /// Became events that are not delivered: their idempotency keys were seen before.
    pub duplicate: u64,
    /// Were events already.
    pub known: u64,
    /// Still are none.
    pub faulty: u64,
    /// Are deleted.
    pub discarded: u64,
    /// Were gone, or cannot be replayed.
    pub left_out: u64,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// What is done.
    pub kind: OperationKind,
    /// How it stands.
    pub state: OperationState,
    /// Why it cannot go on.
    pub problem: Option<String>,
    /// How many messages there were when it was asked for.
    pub total: u64,
    /// What became of them so far.
    pub progress: OperationProgress,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it went on last.
    pub updated_at: Timestamp,
}

/// An operation that this process works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedOperation {
    /// The tenant.
    pub project: ProjectId,
    /// Its id.
    pub id: OperationId,
    /// What to do.
    pub kind: OperationKind,
    /// With which messages.
    pub selection: Selection,
    /// The mapping to replay with; the source's own without it.
    pub mapping: Option<String>,
    /// What was done before.
    pub progress: OperationProgress,
    /// Of ids so many were done.
    pub ids_done: usize,
    /// Of a filter the messages up to this one were done.
    pub after: Option<QuarantineKey>,
}

impl OperationProgress {
    /// How many messages were looked at.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.stored + self.duplicate + self.known + self.faulty + self.discarded + self.left_out
    }
}

impl OperationKind {
    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "replay" => Ok(Self::Replay),
            "discard" => Ok(Self::Discard),
            other => Err(misconfigured(format!("`{other}` is no operation"))),
        }
    }
}

impl OperationState {
    /// The word in the database and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Waiting, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| misconfigured(format!("`{text}` is no state of an operation")))
    }
}
