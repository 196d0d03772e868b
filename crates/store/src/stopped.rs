//! What stops in order: lanes that wait for somebody to decide, deliveries that were set aside, and the upkeep of lanes.
//!
//! What it is for: the commands behind `longshore lanes`, and that nothing waits for ever because configuration or
//! retention took away what it waits for. None of this is on the hot path.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, DeliveryState, EndpointId, LaneId, ProjectId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;
use crate::lanes;

/// Lanes tended in one transaction at most.
const AT_ONCE: i64 = 1_000;

/// A delivery that was given up in order and waits for somebody to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedDelivery {
    /// Its lane.
    pub lane: LaneId,
    /// The delivery.
    pub delivery: DeliveryId,
    /// The tenant.
    pub project: ProjectId,
    /// Where it goes.
    pub endpoint: EndpointId,
    /// The endpoint's name; `None` when it is gone.
    pub endpoint_name: Option<String>,
    /// Attempts made.
    pub attempts: u16,
    /// Its place in the lane.
    pub sequence: u64,
    /// Since when its lane waits for it; `None` when it was set aside and its lane goes on.
    pub blocked_at: Option<Timestamp>,
    /// How many deliveries wait in the lane.
    pub waiting: u64,
}

impl Store {
    /// Deliveries that wait for somebody to decide, at most `max`: those that block a lane first, the latest before
    /// earlier ones.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stopped_deliveries(
        &self,
        project: Option<ProjectId>,
        max: u32,
    ) -> Result<Vec<StoppedDelivery>, StoreError> {
        let project = project.map(|id| id.as_uuid());
        let rows = sqlx::query_file!("queries/list_stopped.sql", project as _, i64::from(max))
            .fetch_all(self.pool())
            .await
            .map_err(sort)?;
        let stopped = rows.into_iter().map(|row| StoppedDelivery {
            lane: LaneId::from_uuid(row.lane_id),
            delivery: DeliveryId::from_uuid(row.delivery_id),
            project: ProjectId::from_uuid(row.project_id),
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            endpoint_name: row.endpoint_name,
            attempts: u16::try_from(row.attempt_count).unwrap_or(u16::MAX),
            sequence: u64::try_from(row.sequence).unwrap_or(0),
            blocked_at: row.blocked_at.map(Timestamp::from_utc),
            waiting: u64::try_from(row.waiting).unwrap_or(0),
        });
        Ok(stopped.collect())
    }

    /// Tries again what a lane stopped at, with all its attempts: the delivery that blocks it, and those that were set
    /// aside, which come out of order. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn resume_lane(&self, lane: LaneId) -> Result<u64, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        lanes::lock(&mut transaction, [lane.as_uuid()].iter()).await?;
        let resumed = sqlx::query_file!("queries/resume_lane.sql", lane.as_uuid())
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        transaction.commit().await.map_err(sort)?;
        Ok(resumed.rows_affected())
    }

    /// Ends what a lane stopped at as discarded, and the lane goes on with what is behind. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn discard_stopped(&self, lane: LaneId) -> Result<u64, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        let ended = give_up(&mut transaction, &[lane.as_uuid()], DeliveryState::Discarded, true).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(ended)
    }

    /// Lets lanes go on that are blocked although their subscription keeps no order any more: what blocked them has
    /// failed. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]: nothing has changed.
    pub async fn free_unordered_lanes(&self) -> Result<u64, StoreError> {
        let blocked = sqlx::query_scalar!(
            "SELECT l.id FROM lanes l
             WHERE l.blocked_at IS NOT NULL
                 AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.id = l.subscription_id AND s.ordered IS NOT NULL)
             LIMIT $1",
            AT_ONCE
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        if blocked.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        let ended = give_up(&mut transaction, &blocked, DeliveryState::Failure, false).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(ended)
    }

    /// Lets lanes go on whose head is gone, with the day that retention dropped, and forgets lanes that were idle for
    /// `idle`. Returns how many went on and how many were forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn tend_lanes(&self, idle: Duration) -> Result<(u64, u64), StoreError> {
        let headless = sqlx::query_scalar!(
            "SELECT l.id FROM lanes l
             WHERE l.head IS NOT NULL AND NOT EXISTS (
                 SELECT FROM schedule s WHERE s.delivery_id = l.head AND s.lane_id = l.id AND NOT s.is_aside
             )"
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        for lanes in headless.chunks(usize::try_from(AT_ONCE).unwrap_or(1)) {
            let mut transaction = self.pool().begin().await.map_err(sort)?;
            lanes::lock(&mut transaction, lanes.iter()).await?;
            let nobody = vec![Uuid::nil(); lanes.len()];
            lanes::advance(&mut transaction, lanes, &nobody, Duration::ZERO).await?;
            transaction.commit().await.map_err(sort)?;
        }
        let forgotten = sqlx::query!(
            "DELETE FROM lanes WHERE head IS NULL AND updated_at < now() - make_interval(secs => $1)",
            idle.as_secs_f64()
        )
        .execute(self.pool())
        .await
        .map_err(sort)?;
        Ok((headless.len() as u64, forgotten.rows_affected()))
    }
}

async fn give_up(
    connection: &mut PgConnection,
    lanes: &[Uuid],
    state: DeliveryState,
    with_aside: bool,
) -> Result<u64, StoreError> {
    lanes::lock(&mut *connection, lanes.iter()).await?;
    let ended = sqlx::query_file!("queries/give_up_lane.sql", lanes, state.as_str(), with_aside)
        .execute(&mut *connection)
        .await
        .map_err(sort)?;
    let nobody = vec![Uuid::nil(); lanes.len()];
    lanes::advance(connection, lanes, &nobody, Duration::ZERO).await?;
    Ok(ended.rows_affected())
}
