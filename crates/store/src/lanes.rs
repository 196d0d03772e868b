//! Lanes on the hot path: deliveries enter with their event and leave with their outcome.
//!
//! What it is for: one delivery of a lane at a time, in the order in which they entered. What it does not do: touch
//! deliveries without a lane. Invariant: a lane's head is the only one of its deliveries that is due or claimed, and it
//! changes only under the lock of the lane's row, in the transaction that records why.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::LaneId;
use longshore_core::ports::{ClaimedDelivery, NewDelivery, NewEvent, Next, Outcome, Recorded, StoreError};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::claimed::ClaimedRow;
use crate::error::sort;

/// The deliveries of events that wait in a lane.
pub(crate) fn laned<'a>(
    events: impl Iterator<Item = &'a NewEvent>,
) -> impl Iterator<Item = (LaneId, &'a NewEvent, &'a NewDelivery)> {
    events.flat_map(|new| {
        new.deliveries.iter().filter_map(move |delivery| Some((delivery.lane?, new, delivery)))
    })
}

/// Puts the deliveries of events that were stored just now into their lanes, in the order of their ids, which is the
/// order of the batch.
pub(crate) async fn enter<'a>(
    connection: &mut PgConnection,
    events: impl Iterator<Item = &'a NewEvent>,
) -> Result<(), StoreError> {
    let mut lanes: BTreeMap<LaneId, Vec<(&NewEvent, &NewDelivery)>> = BTreeMap::new();
    for (lane, new, delivery) in laned(events) {
        lanes.entry(lane).or_default().push((new, delivery));
    }
    if lanes.is_empty() {
        return Ok(());
    }
    let (mut arriving, mut entering) = (ArrivingColumns::default(), EnteringColumns::default());
    for (lane, mut deliveries) in lanes {
        deliveries.sort_unstable_by_key(|(_, delivery)| delivery.id);
        arriving.push(lane, &deliveries);
        entering.push(lane, &deliveries);
    }
    sqlx::query_file!(
        "queries/enter_lanes.sql",
        &arriving.id,
        &arriving.project,
        &arriving.subscription,
        &arriving.endpoint,
        &arriving.head,
        &arriving.entered,
        &arriving.last_sequence,
        &entering.lane,
        &entering.delivery,
        &entering.project,
        &entering.endpoint,
        &entering.event,
        &entering.behind,
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(sort)
}

/// What outcomes mean for the lanes of their deliveries, once they are on record in the same transaction.
pub(crate) async fn leave(
    connection: &mut PgConnection,
    outcomes: &[&Outcome],
    lease: Duration,
    recorded: &mut Recorded,
) -> Result<(), StoreError> {
    let leaving = Columns::of(outcomes, |next| next.leaves_lane());
    let halting = Columns::of(outcomes, |next| matches!(next, Next::Blocked | Next::SetAside));
    if leaving.lane.is_empty() && halting.lane.is_empty() {
        return Ok(());
    }
    lock(&mut *connection, leaving.lane.iter().chain(&halting.lane)).await?;
    if !halting.lane.is_empty() {
        sqlx::query_file!("queries/set_aside.sql", &halting.lane, &halting.delivery, &halting.is_blocking)
            .execute(&mut *connection)
            .await
            .map_err(sort)?;
    }
    let discarded = Columns::of(outcomes, |next| next == Next::Discarded);
    if !discarded.lane.is_empty() {
        discard_behind(&mut *connection, &discarded).await?;
    }
    let (rows, has_due) = advance(&mut *connection, &leaving.lane, &leaving.owner, lease).await?;
    recorded.has_due = has_due;
    let rows = if recorded.refused == 0 {
        rows
    } else {
        sqlx::query_file_as!(
            ClaimedRow,
            "queries/find_heads.sql",
            &leaving.lane,
            &leaving.delivery,
            &leaving.owner
        )
        .fetch_all(connection)
        .await
        .map_err(sort)?
    };
    recorded.claimed = rows.into_iter().map(ClaimedDelivery::try_from).collect::<Result<_, _>>()?;
    Ok(())
}

/// What waits behind discarded heads goes the same way, a thousand of each lane at most.
async fn discard_behind(connection: &mut PgConnection, heads: &Columns) -> Result<(), StoreError> {
    let taken = sqlx::query_file!("queries/discard_behind.sql", &heads.lane, &heads.delivery)
        .fetch_all(&mut *connection)
        .await
        .map_err(sort)?;
    if taken.is_empty() {
        return Ok(());
    }
    let (projects, ids): (Vec<Uuid>, Vec<Uuid>) =
        taken.into_iter().map(|row| (row.project_id, row.delivery_id)).unzip();
    sqlx::query_file!("queries/finish_behind.sql", &projects, &ids)
        .execute(connection)
        .await
        .map(drop)
        .map_err(sort)
}

/// Locks the rows of lanes, each once and sorted.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    lanes: impl Iterator<Item = &Uuid>,
) -> Result<(), StoreError> {
    let lanes: Vec<Uuid> = lanes.copied().collect();
    sqlx::query_file!("queries/lock_lanes.sql", &lanes).fetch_all(connection).await.map(drop).map_err(sort)
}

/// Gives locked lanes whose head has left their next one. Returns those that are claimed now, and whether others became
/// due.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    lanes: &[Uuid],
    owners: &[Uuid],
    lease: Duration,
) -> Result<(Vec<ClaimedRow>, bool), StoreError> {
    let turned = sqlx::query_file!("queries/advance_lanes.sql", lanes, owners, lease.as_secs_f64())
        .fetch_all(&mut *connection)
        .await
        .map_err(sort)?;
    let mut claimed = (Vec::new(), Vec::new());
    for row in &turned {
        if let Some(owner) = row.claimed_by {
            claimed.0.push(row.delivery_id);
            claimed.1.push(owner);
        }
    }
    let has_due = claimed.0.len() < turned.len();
    if claimed.0.is_empty() {
        return Ok((Vec::new(), has_due));
    }
    let rows = sqlx::query_file_as!(ClaimedRow, "queries/take_heads.sql", &claimed.0, &claimed.1)
        .fetch_all(connection)
        .await
        .map_err(sort)?;
    Ok((rows, has_due))
}

/// Outcomes of one kind: their lanes, each once with its head.
#[derive(Default)]
struct Columns {
    lane: Vec<Uuid>,
    delivery: Vec<Uuid>,
    owner: Vec<Uuid>,
    is_blocking: Vec<bool>,
}

impl Columns {
    fn of(outcomes: &[&Outcome], is_wanted: impl Fn(Next) -> bool) -> Self {
        let mut columns = Self::default();
        for outcome in outcomes.iter().filter(|outcome| is_wanted(outcome.next)) {
            let Some(lane) = outcome.lane else { continue };
            columns.lane.push(lane.as_uuid());
            columns.delivery.push(outcome.delivery.as_uuid());
            columns.owner.push(outcome.owner.as_uuid());
            columns.is_blocking.push(outcome.next == Next::Blocked);
        }
        columns
    }
}

/// One row per lane that something enters.
#[derive(Default)]
struct ArrivingColumns {
    id: Vec<Uuid>,
    project: Vec<Uuid>,
    subscription: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    head: Vec<Uuid>,
    entered: Vec<i64>,
    last_sequence: Vec<i64>,
}

impl ArrivingColumns {
    fn push(&mut self, lane: LaneId, deliveries: &[(&NewEvent, &NewDelivery)]) {
        let (Some((new, first)), Some((_, last))) = (deliveries.first(), deliveries.last()) else { return };
        self.id.push(lane.as_uuid());
        self.project.push(new.event.project.as_uuid());
        self.subscription.push(first.subscription.map_or_else(Uuid::nil, |id| id.as_uuid()));
        self.endpoint.push(first.endpoint.as_uuid());
        self.head.push(first.id.as_uuid());
        self.entered.push(i64::try_from(deliveries.len()).unwrap_or(i64::MAX));
        self.last_sequence.push(i64::try_from(last.id.sequence()).unwrap_or(i64::MAX));
    }
}

/// One row per delivery that enters a lane.
#[derive(Default)]
struct EnteringColumns {
    lane: Vec<Uuid>,
    delivery: Vec<Uuid>,
    project: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    event: Vec<Uuid>,
    behind: Vec<i64>,
}

impl EnteringColumns {
    fn push(&mut self, lane: LaneId, deliveries: &[(&NewEvent, &NewDelivery)]) {
        for (behind, (new, delivery)) in (0..).zip(deliveries.iter().rev()) {
            self.lane.push(lane.as_uuid());
            self.delivery.push(delivery.id.as_uuid());
            self.project.push(new.event.project.as_uuid());
            self.endpoint.push(delivery.endpoint.as_uuid());
            self.event.push(new.event.id.as_uuid());
            self.behind.push(behind);
        }
    }
}
