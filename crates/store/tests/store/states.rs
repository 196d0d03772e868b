//! The drawing in `docs/delivery-states.md`, arrow by arrow: those drawn can be walked, no other can.

use std::time::Duration;

use longshore_core::DeliveryState;
use longshore_core::ports::{ClaimedDelivery, DeliveryQueue, Next, Outcome};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, attempted, claim, event, here, persist, record, skipped};

const SOON: Duration = Duration::ZERO;

/// Every outcome a process can record.
fn outcomes(delivery: &ClaimedDelivery) -> Vec<(Outcome, DeliveryState)> {
    let parked = if delivery.attempts == 0 { DeliveryState::Scheduled } else { DeliveryState::Retry };
    vec![
        (attempted(delivery, Next::Success), DeliveryState::Success),
        (attempted(delivery, Next::RetryAfter(SOON)), DeliveryState::Retry),
        (attempted(delivery, Next::Failure), DeliveryState::Failure),
        (skipped(delivery, Next::Discarded), DeliveryState::Discarded),
        (skipped(delivery, Next::Parked(SOON)), parked),
    ]
}

/// A delivery in that state.
async fn bring(bed: &Bed, store: &Store, state: DeliveryState) -> ClaimedDelivery {
    let delivery = bed.fresh(store).await;
    let next = match state {
        DeliveryState::Processing => return delivery,
        DeliveryState::Scheduled => skipped(&delivery, Next::Parked(SOON)),
        DeliveryState::Retry => attempted(&delivery, Next::RetryAfter(SOON)),
        DeliveryState::Success => attempted(&delivery, Next::Success),
        DeliveryState::Failure => attempted(&delivery, Next::Failure),
        DeliveryState::Discarded => skipped(&delivery, Next::Discarded),
    };
    assert_eq!(record(store, &[next]).await, 0);
    assert_eq!(bed.state(delivery.id).await, state.as_str());
    delivery
}

#[tokio::test]
async fn a_delivery_is_born_scheduled_or_processing() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let new = event(&[(ENDPOINT, true), (ENDPOINT, false)]);

    persist(&store, std::slice::from_ref(&new)).await;

    assert_eq!(bed.state(new.deliveries[0].id).await, "Processing");
    assert_eq!(bed.state(new.deliveries[1].id).await, "Scheduled");
}

#[tokio::test]
async fn from_processing_every_outcome_leads_where_it_is_drawn() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    for which in 0..5 {
        let untried = bed.fresh(&store).await;
        let tried = bed.fresh(&store).await;
        record(&store, &[attempted(&tried, Next::RetryAfter(SOON))]).await;
        let tried = claim(&store, 1).await.remove(0);
        assert_eq!(tried.attempts, 1);
        for delivery in [untried, tried] {
            let (outcome, state) = outcomes(&delivery).swap_remove(which);

            assert_eq!(record(&store, &[outcome]).await, 0);

            assert_eq!(bed.state(delivery.id).await, state.as_str());
            assert_eq!(bed.scheduled(delivery.id).await.is_some(), !state.is_final(), "{state}");
            bed.run("DELETE FROM schedule").await;
        }
    }
}

#[tokio::test]
async fn only_a_claim_leads_to_processing() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    for state in DeliveryState::ALL {
        let delivery = bring(&bed, &store, state).await;

        let claimed = claim(&store, 10).await;

        let is_waiting = matches!(state, DeliveryState::Scheduled | DeliveryState::Retry);
        assert_eq!(claimed.len(), usize::from(is_waiting), "{state}");
        let after = if is_waiting { "Processing" } else { state.as_str() };
        assert_eq!(bed.state(delivery.id).await, after);
    }
}

#[tokio::test]
async fn no_outcome_moves_a_delivery_that_is_not_processing() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    for state in DeliveryState::ALL.into_iter().filter(|state| *state != DeliveryState::Processing) {
        let delivery = bring(&bed, &store, state).await;
        let attempts = bed.delivery(delivery.id).await.1;
        for count in [0, 1] {
            for (outcome, _) in outcomes(&ClaimedDelivery { attempts: count, ..delivery.clone() }) {
                assert_eq!(record(&store, &[outcome]).await, 1, "{state}");
                assert_eq!(bed.delivery(delivery.id).await, (state.as_str().to_owned(), attempts, None));
            }
        }
    }
}

#[tokio::test]
async fn a_dead_owner_leads_back_to_where_the_claim_came_from() {
    let bed = Bed::new().await;
    let (dead, heir) = (bed.process().await, bed.process().await);
    let untried = bed.fresh(&dead).await;
    let tried = bed.fresh(&dead).await;
    record(&dead, &[attempted(&tried, Next::RetryAfter(SOON))]).await;
    assert_eq!(claim(&dead, 10).await.len(), 1);

    dead.resign(untried.id).await.unwrap();
    heir.heartbeat(here()).await.unwrap();

    assert_eq!(bed.state(untried.id).await, "Scheduled");
    assert_eq!(bed.state(tried.id).await, "Retry");
}

#[tokio::test]
async fn rows_that_no_state_allows_are_refused() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let id = bed.fresh(&store).await.id.as_uuid();
    let mut allowed = Vec::new();
    for state in DeliveryState::ALL {
        for (is_claimed, is_finished, attempts) in [false, true]
            .into_iter()
            .flat_map(|c| [false, true].map(|f| (c, f)))
            .flat_map(|(c, f)| [0, 1].map(|a| (c, f, a)))
        {
            let sql = format!(
                "UPDATE deliveries SET state = '{state}', attempt_count = {attempts},
                     claimed_by = CASE WHEN {is_claimed} THEN id END,
                     finished_at = CASE WHEN {is_finished} THEN now() END
                 WHERE id = '{id}'"
            );
            match sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&bed.sql).await {
                Ok(_) => allowed.push((state, is_claimed, is_finished, attempts)),
                Err(error) => {
                    let constraint =
                        error.as_database_error().and_then(|e| e.constraint().map(str::to_owned));
                    assert!(constraint.is_some_and(|name| name.starts_with("deliveries_")), "{error}");
                }
            }
        }
    }

    assert_eq!(
        allowed,
        [
            (DeliveryState::Scheduled, false, false, 0),
            (DeliveryState::Processing, true, false, 0),
            (DeliveryState::Processing, true, false, 1),
            (DeliveryState::Retry, false, false, 1),
            (DeliveryState::Success, false, true, 1),
            (DeliveryState::Failure, false, true, 0),
            (DeliveryState::Failure, false, true, 1),
            (DeliveryState::Discarded, false, true, 0),
            (DeliveryState::Discarded, false, true, 1),
        ]
    );
    let unknown = sqlx::query(
        "UPDATE deliveries SET state = 'Pending', claimed_by = NULL, finished_at = NULL, attempt_count = 0",
    )
    .execute(&bed.sql)
    .await;
    assert!(unknown.unwrap_err().to_string().contains("deliveries_state_known"));
}
