//! This process's lease on its claims, and the burial of processes whose lease has ended.

use longshore_core::ports::StoreError;
use longshore_core::{DeliveryId, ProcessId};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

impl Store {
    /// Takes a lease: from now on this process can claim. Call it once before the pipeline runs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn join(&self, oldest: DeliveryId) -> Result<(), StoreError> {
        let mut connection = self.checkout().await?;
        let joined = sqlx::query!(
            "INSERT INTO processes (id, lease_until, oldest) VALUES ($1, now() + make_interval(secs => $2), $3)
             ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
            self.current_owner().as_uuid(),
            self.inner.lease.as_secs_f64(),
            oldest.as_uuid(),
        )
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(sort);
        connection.end(joined)
    }
}

/// See [`longshore_core::ports::DeliveryQueue::heartbeat`].
pub(crate) async fn heartbeat(store: &Store, oldest: DeliveryId) -> Result<bool, StoreError> {
    let mut connection = store.checkout().await?;
    let renewed = sqlx::query!(
        "UPDATE processes SET lease_until = now() + make_interval(secs => $2), oldest = $3 WHERE id = $1",
        store.current_owner().as_uuid(),
        store.inner.lease.as_secs_f64(),
        oldest.as_uuid(),
    )
    .execute(&mut *connection)
    .await
    .map_err(sort);
    let renewed = connection.end(renewed)?;
    let is_alive = renewed.rows_affected() == 1;
    if !is_alive {
        let lost = store.current_owner();
        store.change_owner();
        store.join(oldest).await?;
        tracing::warn!(process.id = %lost, "lease lost: another process took over the claims");
    }
    // The lease is renewed, or its loss is noticed: neither may be forgotten because of the dead.
    if let Err(error) = bury(store).await {
        tracing::warn!(%error, "nothing taken over from dead processes; trying again at the next heartbeat");
    }
    Ok(is_alive)
}

/// See [`longshore_core::ports::DeliveryQueue::resign`].
pub(crate) async fn resign(store: &Store, oldest: DeliveryId) -> Result<(), StoreError> {
    let owner = store.current_owner();
    // The lease ends now, and whoever buries us knows where to look; if nobody else is alive, the next process
    // does it when it starts.
    let mut connection = store.checkout().await?;
    let ended = sqlx::query!(
        "WITH silent AS (DELETE FROM source_status WHERE process_id = $1)
         UPDATE processes SET lease_until = '-infinity', oldest = $2 WHERE id = $1",
        owner.as_uuid(),
        oldest.as_uuid()
    )
    .execute(&mut *connection)
    .await
    .map_err(sort);
    connection.end(ended)?;
    store.change_owner();
    bury(store).await
}

async fn bury(store: &Store) -> Result<(), StoreError> {
    let mut connection = store.checkout().await?;
    let buried = bury_on(&mut connection, store.current_owner()).await;
    connection.end(buried)
}

async fn bury_on(connection: &mut PgConnection, owner: ProcessId) -> Result<(), StoreError> {
    // Cheap when everybody is alive: the table has one row per process.
    let someone_died = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM processes WHERE lease_until < now() AND id <> $1) AS "dead!""#,
        owner.as_uuid()
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(sort)?;
    if !someone_died {
        return Ok(());
    }
    let mut transaction = connection.begin().await.map_err(sort)?;
    let dead = sqlx::query_file!("queries/find_dead_processes.sql", owner.as_uuid())
        .fetch_all(&mut *transaction)
        .await
        .map_err(sort)?;
    let dead: Vec<Uuid> = dead.into_iter().map(|row| row.id).collect();
    let buried = sqlx::query_file!("queries/bury_processes.sql", &dead)
        .fetch_one(&mut *transaction)
        .await
        .map_err(sort)?;
    transaction.commit().await.map_err(sort)?;
    if buried.processes > 0 {
        metrics::counter!("store_processes_buried_total").increment(buried.processes.unsigned_abs());
        tracing::info!(
            processes = buried.processes,
            deliveries = buried.deliveries,
            "took over what dead processes left behind"
        );
    }
    Ok(())
}
