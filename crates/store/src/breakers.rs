//! Circuit breakers over the fleet: counts, states, and the events that tell of changes.
//!
//! It decides nothing: what opens and closes a breaker is [`longshore_core::breaker`]'s. Invariant: of several processes
//! that change one breaker from the same version, one wins; and whoever reads a version has everything up to it, because
//! changes lock the row of the version before anything else.

use std::time::Duration;

use longshore_core::breaker::{BreakerState, Shift};
use longshore_core::notice::{DisableReason, Notice, NoticeKind};
use longshore_core::ports::{
    Breaker, BreakerBoard, BreakerChanges, BreakerCount, BreakerShift, FleetCount, StoreError,
};
use longshore_core::{EndpointId, ProjectId, Timestamp};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;
use crate::notices::{disable, endpoint_data, tell};
use crate::seal::Keys;

/// A change of a breaker, on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerEvent {
    /// Grows; one that is read late may have a smaller number than one read before.
    pub id: i64,
    /// The tenant.
    pub project: ProjectId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What it was.
    pub from: BreakerState,
    /// What it became.
    pub to: BreakerState,
    /// How often it has opened without closing in between.
    pub trips: u32,
    /// Whether the endpoint was switched off for it.
    pub is_disabled: bool,
    /// When.
    pub occurred_at: Timestamp,
}

impl Store {
    /// Every breaker there is, of one project or of all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn breakers(&self, project: Option<ProjectId>) -> Result<Vec<Breaker>, StoreError> {
        let mut all = self.breaker_changes(-1).await?.breakers;
        all.retain(|breaker| project.is_none_or(|project| breaker.project == project));
        all.sort_unstable_by_key(|breaker| (breaker.project, breaker.endpoint));
        Ok(all)
    }

    /// Changes of breakers with a number above `after`, at most `max`, in their order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn breaker_events(&self, after: i64, max: u32) -> Result<Vec<BreakerEvent>, StoreError> {
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query!(
                    "SELECT id, project_id, endpoint_id, from_state, to_state, trips, is_disabled, occurred_at
                     FROM breaker_events WHERE id > $1 ORDER BY id LIMIT $2",
                    after,
                    i64::from(max)
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        rows.into_iter()
            .map(|row| {
                Ok(BreakerEvent {
                    id: row.id,
                    project: ProjectId::from_uuid(row.project_id),
                    endpoint: EndpointId::from_uuid(row.endpoint_id),
                    from: state(&row.from_state)?,
                    to: state(&row.to_state)?,
                    trips: count(row.trips.into()),
                    is_disabled: row.is_disabled,
                    occurred_at: Timestamp::from_utc(row.occurred_at),
                })
            })
            .collect()
    }

    /// Deletes what nobody needs any more of breakers that have been closed for long, and events older than that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_breakers(&self, older_than: Duration) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let swept = sqlx::query!(
                "WITH idle AS (
                    DELETE FROM breakers
                    WHERE state = 'closed' AND changed_at < now() - make_interval(secs => $1)
                ),
                silent AS (
                    DELETE FROM breaker_counts WHERE counted_at < now() - make_interval(secs => $1)
                )
                DELETE FROM breaker_events WHERE occurred_at < now() - make_interval(secs => $1)",
                older_than.as_secs_f64()
            )
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(sort);
            connection.end(swept)
        })
        .await
    }
}

impl BreakerBoard for Store {
    async fn breaker_changes(&self, since: i64) -> Result<BreakerChanges, StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let changes = changes(&mut connection, since).await;
            connection.end(changes)
        })
        .await
    }

    async fn watch(&self, endpoints: &[(EndpointId, ProjectId)]) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let watched = watch(&mut connection, endpoints).await;
            connection.end(watched)
        })
        .await
    }

    async fn count(&self, counts: &[BreakerCount]) -> Result<Vec<FleetCount>, StoreError> {
        let ids: Vec<Uuid> = counts.iter().map(|count| count.endpoint.as_uuid()).collect();
        let versions: Vec<i64> = counts.iter().map(|count| count.version).collect();
        let requests: Vec<i32> = counts.iter().map(|count| small(count.requests)).collect();
        let failures: Vec<i32> = counts.iter().map(|count| small(count.failures)).collect();
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query_file!(
                    "queries/count_attempts.sql",
                    self.current_owner().as_uuid(),
                    &ids,
                    &versions,
                    &requests,
                    &failures
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let counts = rows.into_iter().map(|row| FleetCount {
            endpoint: EndpointId::from_uuid(row.endpoint_id),
            version: row.version,
            requests: count(row.requests),
            failures: count(row.failures),
            age: seconds(row.age),
        });
        Ok(counts.collect())
    }

    async fn shift(&self, shifts: &[BreakerShift]) -> Result<Vec<Breaker>, StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let changed = shift(&mut connection, self.keys(), shifts).await;
            connection.end(changed)
        })
        .await
    }
}

async fn changes(connection: &mut PgConnection, since: i64) -> Result<BreakerChanges, StoreError> {
    let version = sqlx::query_scalar!("SELECT version FROM breaker_version")
        .fetch_one(&mut *connection)
        .await
        .map_err(sort)?;
    if version <= since {
        return Ok(BreakerChanges { version, breakers: Vec::new() });
    }
    let rows = sqlx::query!(
        r#"SELECT endpoint_id, project_id, state, trips, version,
               GREATEST(0, COALESCE(extract(epoch FROM until_at - now()), 0))::float8 AS "until_in!",
               extract(epoch FROM now() - closed_at)::float8 AS closed_for
           FROM breakers WHERE version > $1"#,
        since
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(sort)?;
    let breakers = rows.into_iter().map(|row| {
        let row_ids = (row.endpoint_id, row.project_id, row.trips, row.version);
        breaker(row_ids, &row.state, row.until_in, row.closed_for)
    });
    Ok(BreakerChanges { version, breakers: breakers.collect::<Result<_, _>>()? })
}

async fn watch(
    connection: &mut PgConnection,
    endpoints: &[(EndpointId, ProjectId)],
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = endpoints.iter().map(|(endpoint, _)| endpoint.as_uuid()).collect();
    let mut transaction = connection.begin().await.map_err(sort)?;
    let version = next_version(&mut transaction).await?;
    let made = sqlx::query!(
        "INSERT INTO breakers AS b (endpoint_id, project_id, version)
         SELECT e.id, e.project_id, $2 FROM endpoints e WHERE e.id = ANY ($1) ORDER BY e.id
         ON CONFLICT (endpoint_id) DO UPDATE SET version = $2, changed_at = now()
            -- Others have stopped watching it; a newer one is just being noticed.
            WHERE b.state = 'closed' AND b.changed_at < now() - interval '5 seconds'",
        &ids,
        version
    )
    .execute(&mut *transaction)
    .await
    .map_err(sort)?;
    if made.rows_affected() == 0 {
        return transaction.rollback().await.map_err(sort);
    }
    transaction.commit().await.map_err(sort)
}

async fn shift(
    connection: &mut PgConnection,
    keys: &Keys,
    shifts: &[BreakerShift],
) -> Result<Vec<Breaker>, StoreError> {
    let ids: Vec<Uuid> = shifts.iter().map(|wanted| wanted.endpoint.as_uuid()).collect();
    let versions: Vec<i64> = shifts.iter().map(|wanted| wanted.version).collect();
    let states: Vec<&str> = shifts.iter().map(|wanted| wanted.shift.state().as_str()).collect();
    let spans: Vec<f64> = shifts
        .iter()
        .map(|wanted| match wanted.shift {
            Shift::Open(span) | Shift::Probe(span) => span.as_secs_f64(),
            Shift::Close | Shift::Disable => 0.0,
        })
        .collect();
    let disabled: Vec<bool> = shifts.iter().map(|wanted| wanted.shift == Shift::Disable).collect();
    let mut transaction = connection.begin().await.map_err(sort)?;
    if disabled.contains(&true) {
        // Before the rows of endpoints and what hangs on them, as everybody does who writes configuration.
        sqlx::query("SELECT FROM config_version FOR UPDATE")
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
    }
    let version = next_version(&mut transaction).await?;
    let rows = sqlx::query_file!(
        "queries/shift_breakers.sql",
        version,
        &ids,
        &versions,
        &states as _,
        &spans,
        &disabled
    )
    .fetch_all(&mut *transaction)
    .await
    .map_err(sort)?;
    if rows.is_empty() {
        transaction.rollback().await.map_err(sort)?;
        return Ok(Vec::new());
    }
    let mut notices = Vec::new();
    for row in &rows {
        let kind = match (state(&row.from_state)?, state(&row.state)?) {
            // From half open it is open still, to everybody outside.
            (BreakerState::Closed, BreakerState::Open) => NoticeKind::BreakerOpened,
            (BreakerState::HalfOpen, BreakerState::Closed) if !row.is_disabled => NoticeKind::BreakerClosed,
            _ => continue,
        };
        let mut data = endpoint_data(&mut transaction, row.endpoint_id).await?;
        if let Some(data) = data.as_object_mut() {
            data.insert("breaker".to_owned(), json!({"state": row.state, "trips": row.trips}));
        }
        let project = ProjectId::from_uuid(row.project_id);
        notices.push(Notice { project, kind, subject: row.endpoint_id.as_u128(), data });
    }
    let off = rows.iter().filter(|row| row.is_disabled);
    let off: Vec<_> =
        off.map(|row| (EndpointId::from_uuid(row.endpoint_id), DisableReason::Breaker)).collect();
    notices.extend(disable(&mut transaction, &off).await?);
    tell(&mut transaction, keys, &notices).await?;
    transaction.commit().await.map_err(sort)?;
    rows.into_iter()
        .map(|row| {
            let row_ids = (row.endpoint_id, row.project_id, row.trips, row.version);
            breaker(row_ids, &row.state, row.until_in, row.closed_for)
        })
        .collect()
}

/// Forgets what an endpoint's breaker has seen: somebody says that the endpoint is well again.
pub(crate) async fn reset(connection: &mut PgConnection, endpoint: EndpointId) -> Result<(), StoreError> {
    let version = next_version(connection).await?;
    sqlx::query!(
        "UPDATE breakers SET state = 'closed', trips = 0, until_at = NULL, closed_at = now(), version = $2,
             changed_at = now()
         WHERE endpoint_id = $1",
        endpoint.as_uuid(),
        version
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(sort)
}

/// Locks the feed; a version that is rolled back is given out again.
async fn next_version(connection: &mut PgConnection) -> Result<i64, StoreError> {
    sqlx::query_scalar!("UPDATE breaker_version SET version = version + 1 RETURNING version")
        .fetch_one(connection)
        .await
        .map_err(sort)
}

fn breaker(
    (endpoint, project, trips, version): (Uuid, Uuid, i32, i64),
    text: &str,
    until_in: f64,
    closed_for: Option<f64>,
) -> Result<Breaker, StoreError> {
    Ok(Breaker {
        endpoint: EndpointId::from_uuid(endpoint),
        project: ProjectId::from_uuid(project),
        state: state(text)?,
        trips: count(trips.into()),
        version,
        until_in: seconds(until_in),
        closed_for: closed_for.map(seconds),
    })
}

pub(crate) fn state(text: &str) -> Result<BreakerState, StoreError> {
    let unknown = || format!("unexpected state `{text}` of a breaker: is the schema this program's?");
    BreakerState::parse(text).ok_or_else(|| StoreError::Misconfigured(unknown()))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
}

fn count(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}

fn small(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
