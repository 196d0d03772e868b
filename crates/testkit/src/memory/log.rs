//! [`EventLog`] of the store in memory.

use std::sync::Arc;

use longshore_core::ports::{
    DynamicEndpoint, EventLog, Identity, NewEvent, PersistBatch, StoreError, Stored,
};
use longshore_core::{DeliveryState, ProcessId, Timestamp};

use super::MemoryStore;
use super::faults::Op;
use super::rows::{StoredDelivery, StoredEvent, Tables};

impl EventLog for MemoryStore {
    async fn persist(&self, batch: &PersistBatch) -> Result<Vec<Stored>, StoreError> {
        let owner = self.current_owner();
        let refused = {
            let faults = self.shared.faults();
            batch.events.iter().any(|event| faults.refuses(event))
        };
        self.call(Op::Persist, |tables, now| {
            if refused {
                return Err(StoreError::Rejected("an event that the test refuses".to_owned()));
            }
            for message in &batch.quarantined {
                tables.quarantined.entry(message.id).or_insert_with(|| message.clone());
            }
            Ok(batch.events.iter().map(|event| tables.store(event, owner, now)).collect())
        })
        .await
    }

    fn id_window(&self) -> (Timestamp, Timestamp) {
        self.shared.tables().id_window
    }

    async fn config_version(&self) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn register_dynamic(&self, endpoints: &[DynamicEndpoint]) -> Result<(), StoreError> {
        self.call(Op::RegisterDynamic, |tables, _| {
            for wanted in endpoints {
                tables.dynamic.entry(wanted.id).or_insert_with(|| wanted.clone());
            }
            Ok(())
        })
        .await
    }
}

impl Tables {
    fn store(&mut self, new: &NewEvent, owner: ProcessId, now: Timestamp) -> Stored {
        let event = &new.event;
        if let Some(known) = self.events.get(&event.id) {
            return self.repeat(new, known, owner);
        }
        let named = match new.identity {
            Identity::Named { digest, .. } => self.names.get(&digest),
            Identity::Content { digest, redelivered: true } => self.contents.get(&digest),
            Identity::Content { redelivered: false, .. } | Identity::Id => None,
        };
        if named.is_some() {
            return Stored::Known;
        }
        match new.identity {
            Identity::Named { digest, .. } => self.names.insert(digest, event.id),
            Identity::Content { digest, .. } => self.contents.insert(digest, event.id),
            Identity::Id => None,
        };
        let key = event.idempotency_key.clone().map(|key| (event.project, key));
        let duplicate = key.as_ref().is_some_and(|key| self.keys.contains_key(key));
        self.events.insert(event.id, StoredEvent { event: Arc::clone(event), duplicate });
        if duplicate {
            return Stored::Duplicate;
        }
        self.keys.extend(key.map(|key| (key, event.id)));
        let claimed = self.is_alive(owner);
        for delivery in &new.deliveries {
            let mut row = StoredDelivery {
                id: delivery.id,
                event: event.id,
                endpoint: delivery.endpoint,
                subscription: delivery.subscription,
                state: DeliveryState::Processing,
                attempts: 0,
                owner: Some(owner),
                due_at: None,
                history: Vec::new(),
                last: None,
            };
            if !(claimed && delivery.hand_over) {
                row.wait(now);
            }
            self.deliveries.insert(row.id, row);
        }
        Stored::New { owner: claimed.then_some(owner) }
    }

    /// An event whose id is there: the same call again, if its rows carry the ids of this call, or else a
    /// redelivery.
    fn repeat(&self, new: &NewEvent, known: &StoredEvent, owner: ProcessId) -> Stored {
        if known.event.received_at != new.event.received_at {
            return Stored::Known;
        }
        if known.duplicate {
            return Stored::Duplicate;
        }
        let rows: Vec<Option<&StoredDelivery>> =
            new.deliveries.iter().map(|delivery| self.deliveries.get(&delivery.id)).collect();
        if rows.iter().any(Option::is_none) {
            return Stored::Known;
        }
        let mut handed_over =
            new.deliveries.iter().zip(&rows).filter(|(new, _)| new.hand_over).filter_map(|(_, row)| *row);
        Stored::New { owner: handed_over.all(|row| row.owner == Some(owner)).then_some(owner) }
    }
}
