//! Events delivered anew: deliveries of events that are stored already.

use longshore_core::ports::{NewEvent, StoreError};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;
use crate::lanes;

impl Store {
    /// Stores deliveries of events that are there already, to be claimed by whoever comes. One transaction.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is stored.
    pub async fn add_deliveries(&self, events: &[NewEvent]) -> Result<(), StoreError> {
        let (mut project, mut event, mut id, mut endpoint) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut subscription: Vec<Option<Uuid>> = Vec::new();
        for new in events {
            for delivery in &new.deliveries {
                project.push(new.event.project.as_uuid());
                event.push(new.event.id.as_uuid());
                id.push(delivery.id.as_uuid());
                endpoint.push(delivery.endpoint.as_uuid());
                subscription.push(delivery.subscription.map(|id| id.as_uuid()));
            }
        }
        let laned: Vec<Uuid> =
            lanes::laned(events.iter()).map(|(_, _, delivery)| delivery.id.as_uuid()).collect();
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        sqlx::query!(
            "WITH made AS (
                 INSERT INTO deliveries (project_id, id, event_id, endpoint_id, subscription_id, state)
                 SELECT project_id, id, event_id, endpoint_id, subscription_id, 'Scheduled'
                 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[])
                     AS t (project_id, id, event_id, endpoint_id, subscription_id)
                 RETURNING project_id, id, event_id, endpoint_id
             )
             INSERT INTO schedule (delivery_id, project_id, endpoint_id, event_id, due_at)
             SELECT id, project_id, endpoint_id, event_id, now() FROM made WHERE id <> ALL ($6::uuid[])",
            &project,
            &id,
            &event,
            &endpoint,
            &subscription as &[Option<Uuid>],
            &laned,
        )
        .execute(&mut *transaction)
        .await
        .map_err(sort)?;
        lanes::enter(&mut transaction, events.iter()).await?;
        transaction.commit().await.map_err(sort)
    }
}
