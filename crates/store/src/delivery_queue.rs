//! Claims and outcomes.

use std::time::Duration;

use longshore_core::ports::{
    ClaimedDelivery, DeliveryQueue, Demand, Next, Outcome, Recorded, StoreError, Waiting,
};
use longshore_core::{DeliveryId, DeliveryState, EndpointId, ProcessId};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::claimed::ClaimedRow;
use crate::connect::Store;
use crate::error::sort;
use crate::lanes;

impl DeliveryQueue for Store {
    fn owner(&self) -> ProcessId {
        self.current_owner()
    }

    async fn heartbeat(&self, oldest: DeliveryId) -> Result<bool, StoreError> {
        self.within(crate::lease::heartbeat(self, oldest)).await
    }

    async fn waiting(&self, max: u32) -> Result<Vec<Waiting>, StoreError> {
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query_file!("queries/waiting_endpoints.sql", i64::from(max))
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let waiting = rows.into_iter().map(|row| Waiting {
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            due_in: Duration::from_secs_f64(row.due_in_seconds.clamp(0.0, 1e9)),
        });
        Ok(waiting.collect())
    }

    async fn claim(&self, demand: &[Demand], lease: Duration) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let owner = self.current_owner();
        let endpoints: Vec<Uuid> = demand.iter().map(|d| d.endpoint.as_uuid()).collect();
        let room: Vec<i32> = demand.iter().map(|d| i32::try_from(d.max).unwrap_or(i32::MAX)).collect();
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query_file_as!(
                    ClaimedRow,
                    "queries/claim_due.sql",
                    &endpoints,
                    &room,
                    lease.as_secs_f64(),
                    owner.as_uuid()
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        rows.into_iter().map(ClaimedDelivery::try_from).collect()
    }

    async fn record(&self, outcomes: &[Outcome], lease: Duration) -> Result<Recorded, StoreError> {
        if outcomes.is_empty() {
            return Ok(Recorded::default());
        }
        self.within(async {
            let mut connection = self.checkout().await?;
            let recorded = record(self, &mut connection, outcomes, lease).await;
            connection.end(recorded)
        })
        .await
    }

    async fn resign(&self, oldest: DeliveryId) -> Result<(), StoreError> {
        self.within(crate::lease::resign(self, oldest)).await
    }
}

/// One transaction for all outcomes.
async fn record(
    store: &Store,
    connection: &mut PgConnection,
    outcomes: &[Outcome],
    lease: Duration,
) -> Result<Recorded, StoreError> {
    // In the order of their ids: see `event_log`.
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_unstable_by_key(|outcome| outcome.delivery);
    let bounds = (sorted[0].delivery.as_uuid(), sorted[sorted.len() - 1].delivery.as_uuid());
    let columns = OutcomeColumns::of(&sorted);
    let attempts = AttemptColumns::of(&sorted);
    let mut transaction = connection.begin().await.map_err(sort)?;
    let moved = sqlx::query_file_scalar!(
        "queries/record_outcomes.sql",
        &columns.project,
        &columns.delivery,
        &columns.owner,
        &columns.attempts,
        &columns.is_scheduled,
        &columns.state as _,
        &columns.delay_seconds,
        &columns.is_attempted,
        bounds.0,
        bounds.1,
        &columns.is_throttled,
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(sort)?;
    if !attempts.id.is_empty() {
        sqlx::query_file!(
            "queries/insert_attempts.sql",
            &attempts.project,
            &attempts.delivery,
            &attempts.id,
            &attempts.endpoint,
            &attempts.number,
            &attempts.started_at,
            &attempts.duration_us,
            &attempts.outcome as _,
            &attempts.http_status as _,
            &attempts.error as _,
            &attempts.url as _,
            &attempts.request_headers,
            &attempts.response_headers,
            &attempts.response_body as _,
            &attempts.next_state as _,
            &attempts.next_after_seconds as _,
            &attempts.remote as _,
        )
        .execute(&mut *transaction)
        .await
        .map_err(sort)?;
    }
    let streaks = store.failing().changes(&sorted);
    streaks.write(&mut transaction).await?;
    crate::notices::follow(&mut transaction, store.keys(), &sorted).await?;
    let refused = outcomes.len().saturating_sub(usize::try_from(moved).unwrap_or(0));
    let mut recorded = Recorded { refused, ..Recorded::default() };
    let laned: Vec<&Outcome> = sorted.into_iter().filter(|outcome| outcome.lane.is_some()).collect();
    if !laned.is_empty() {
        // Last: whoever waits for a lane holds every other lock already.
        lanes::leave(&mut transaction, &laned, lease, &mut recorded).await?;
    }
    transaction.commit().await.map_err(sort)?;
    store.failing().commit(&streaks);
    Ok(recorded)
}

/// The state that a next step leaves in the row.
fn state(next: Next, attempts: u16) -> DeliveryState {
    match next {
        Next::Success => DeliveryState::Success,
        Next::RetryAfter(_) | Next::Blocked | Next::SetAside => DeliveryState::Retry,
        Next::Failure => DeliveryState::Failure,
        Next::Discarded => DeliveryState::Discarded,
        Next::Parked(_) if attempts == 0 => DeliveryState::Scheduled,
        Next::Parked(_) => DeliveryState::Retry,
    }
}

#[derive(Default)]
struct OutcomeColumns {
    project: Vec<Uuid>,
    delivery: Vec<Uuid>,
    owner: Vec<Uuid>,
    attempts: Vec<i16>,
    is_scheduled: Vec<bool>,
    state: Vec<&'static str>,
    delay_seconds: Vec<f64>,
    is_attempted: Vec<bool>,
    is_throttled: Vec<bool>,
}

impl OutcomeColumns {
    fn of(outcomes: &[&Outcome]) -> Self {
        let mut columns = Self::default();
        for outcome in outcomes {
            columns.project.push(outcome.project.as_uuid());
            columns.delivery.push(outcome.delivery.as_uuid());
            columns.owner.push(outcome.owner.as_uuid());
            columns.attempts.push(small(outcome.attempts));
            columns.is_scheduled.push(outcome.scheduled);
            columns.state.push(state(outcome.next, outcome.attempts).as_str());
            columns.delay_seconds.push(match outcome.next {
                Next::RetryAfter(delay) | Next::Parked(delay) => delay.as_secs_f64(),
                // Due at no time: somebody decides.
                Next::Blocked | Next::SetAside => f64::INFINITY,
                Next::Success | Next::Failure | Next::Discarded => 0.0,
            });
            columns.is_attempted.push(outcome.attempt.is_some());
            columns.is_throttled.push(outcome.aftermath.is_throttled);
        }
        columns
    }
}

#[derive(Default)]
struct AttemptColumns<'a> {
    project: Vec<Uuid>,
    delivery: Vec<Uuid>,
    id: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    number: Vec<i16>,
    started_at: Vec<OffsetDateTime>,
    duration_us: Vec<i32>,
    outcome: Vec<&'static str>,
    http_status: Vec<Option<i16>>,
    error: Vec<&'a str>,
    url: Vec<&'a str>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    response_body: Vec<&'a [u8]>,
    next_state: Vec<&'static str>,
    next_after_seconds: Vec<Option<f64>>,
    remote: Vec<Option<String>>,
}

impl<'a> AttemptColumns<'a> {
    fn of(outcomes: &[&'a Outcome]) -> Self {
        let mut columns = Self::default();
        for outcome in outcomes {
            let Some(attempt) = &outcome.attempt else { continue };
            columns.project.push(outcome.project.as_uuid());
            columns.delivery.push(outcome.delivery.as_uuid());
            columns.id.push(attempt.id.as_uuid());
            columns.endpoint.push(outcome.endpoint.as_uuid());
            columns.number.push(small(attempt.number));
            columns.started_at.push(attempt.started_at.to_utc());
            columns.duration_us.push(i32::try_from(attempt.duration.as_micros()).unwrap_or(i32::MAX));
            columns.outcome.push(attempt.outcome.class());
            columns.http_status.push(attempt.outcome.status().map(small));
            columns.error.push(&attempt.error);
            columns.url.push(&attempt.url);
            columns.request_headers.push(attempt.request_headers.to_json());
            columns.response_headers.push(attempt.response_headers.to_json());
            columns.response_body.push(&attempt.response_body);
            columns.next_state.push(state(outcome.next, outcome.attempts).as_str());
            columns.next_after_seconds.push(match outcome.next {
                Next::RetryAfter(delay) | Next::Parked(delay) => Some(delay.as_secs_f64()),
                _ => None,
            });
            columns.remote.push(attempt.remote.map(|address| address.to_string()));
        }
        columns
    }
}

/// Counts and statuses fit; a larger one is clamped, not wrapped.
fn small(count: u16) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}
