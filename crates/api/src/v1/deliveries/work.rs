//! Retries of many deliveries, step by step in the background.

use std::time::Duration;

use longshore_core::delivery::DeliveryState;
use longshore_core::ports::StoreError;
use longshore_store::control::{ClaimedRetries, RetriesState};

use crate::v1::control::Control;

/// Deliveries in one step.
const STEP: u32 = 500;
/// For how long whoever works on it holds it from one step to the next.
const HOLD: Duration = Duration::from_secs(30);

/// Takes the oldest retries that nobody works on, and does them to their end. Whether there were some. Dropping the future
/// leaves them to be gone on with.
///
/// # Errors
/// [`StoreError`]: they are gone on with once they are not held any more.
pub async fn advance_retries(control: &Control) -> Result<bool, StoreError> {
    let store = control.store();
    let Some(mut retries) = store.claim_retries(HOLD).await? else { return Ok(false) };
    loop {
        let (state, problem) = match step(control, &mut retries).await {
            Ok(state) => (state, None),
            Err(StoreError::Unavailable(problem)) => return Err(StoreError::Unavailable(problem)),
            Err(StoreError::Rejected(problem)) => (RetriesState::Failed, Some(problem)),
            Err(error) => {
                tracing::error!(operation = %retries.id, %error, "retries of deliveries failed");
                let told = "something is wrong with this installation; its log says what";
                (RetriesState::Failed, Some(told.to_owned()))
            }
        };
        store.advance_retries(&retries, state, problem.as_deref(), HOLD).await?;
        if state != RetriesState::Running {
            return Ok(true);
        }
    }
}

/// Tries the next ones again.
async fn step(control: &Control, retries: &mut ClaimedRetries) -> Result<RetriesState, StoreError> {
    let store = control.store();
    let ids = store.next_retries(retries, STEP).await?;
    let Some(last) = ids.last().copied() else { return Ok(RetriesState::Done) };
    let states: Vec<DeliveryState> =
        retries.filter.states.iter().filter_map(|state| state.parse().ok()).collect();
    let retried = store.deliver_again(retries.project, &ids, &states).await?.len();
    retries.retried += u64::try_from(retried).unwrap_or(0);
    retries.left_out += u64::try_from(ids.len().saturating_sub(retried)).unwrap_or(0);
    retries.after = Some(last);
    Ok(RetriesState::Running)
}
