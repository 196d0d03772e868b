//! Bulk work on quarantined messages, done step by step.
//!
//! Invariant: what was done is written down with each step, and whoever goes on from there repeats one step at most,
//! which does no harm: a message is replayed and discarded once.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{Mapping, QuarantineId};
use longshore_store::control::{ClaimedOperation, OperationKind, OperationState, Selection};

use crate::v1::brokers::ReplayOutcome;
use crate::v1::control::Control;

/// Messages in one step.
const STEP: u32 = 100;
/// For how long whoever works on an operation holds it from one step to the next.
const HOLD: Duration = Duration::from_secs(30);

/// Takes the oldest operation that nobody works on, and does it to its end. Whether there was one. Dropping the future
/// leaves it to be gone on with.
///
/// # Errors
/// [`StoreError`]: it is gone on with once it is not held any more.
pub async fn advance_operations(control: &Control) -> Result<bool, StoreError> {
    let store = control.store();
    let Some(mut operation) = store.claim_operation(HOLD).await? else { return Ok(false) };
    loop {
        let state = match step(control, &mut operation).await {
            Ok(state) => state,
            Err(StoreError::Unavailable(problem)) => return Err(StoreError::Unavailable(problem)),
            Err(error) => {
                tracing::error!(operation = %operation.id, %error, "work on quarantined messages failed");
                let told = Some("something is wrong with this installation; its log says what");
                store.advance_operation(&operation, OperationState::Failed, told, HOLD).await?;
                return Ok(true);
            }
        };
        store.advance_operation(&operation, state, None, HOLD).await?;
        if state == OperationState::Done {
            return Ok(true);
        }
    }
}

/// Does the next messages.
async fn step(control: &Control, operation: &mut ClaimedOperation) -> Result<OperationState, StoreError> {
    let store = control.store();
    let (ids, next) = match &operation.selection {
        Selection::Ids(ids) => {
            let step: Vec<QuarantineId> =
                ids.iter().skip(operation.ids_done).take(STEP as usize).copied().collect();
            (step, None)
        }
        Selection::Filter(filter) => {
            let found = store.quarantined_after(filter, operation.after, STEP).await?;
            let next = found.last().copied();
            (found.into_iter().map(|(_, id)| id).collect(), next)
        }
    };
    if ids.is_empty() {
        return Ok(OperationState::Done);
    }
    match operation.kind {
        OperationKind::Discard => {
            let discarded = store.discard_waiting(operation.project, &ids).await?;
            operation.progress.discarded += discarded;
            operation.progress.left_out += (ids.len() as u64).saturating_sub(discarded);
        }
        OperationKind::Replay => {
            let mapping: Option<Mapping> =
                operation.mapping.as_deref().map(serde_json::from_str).transpose().map_err(|error| {
                    StoreError::Misconfigured(format!("the mapping of an operation: {error}"))
                })?;
            let outcomes = control.replays().replay(operation.project, &ids, mapping.as_ref()).await?;
            for (_, outcome) in &outcomes {
                count(operation, outcome);
            }
        }
    }
    operation.ids_done += ids.len();
    operation.after = next.or(operation.after);
    Ok(OperationState::Running)
}

fn count(operation: &mut ClaimedOperation, outcome: &ReplayOutcome) {
    let progress = &mut operation.progress;
    let counted = match outcome {
        ReplayOutcome::Stored(_) => &mut progress.stored,
        ReplayOutcome::Duplicate(_) => &mut progress.duplicate,
        ReplayOutcome::Known(_) => &mut progress.known,
        ReplayOutcome::Faulty(..) => &mut progress.faulty,
        ReplayOutcome::LeftOut(_) => &mut progress.left_out,
    };
    *counted += 1;
}
