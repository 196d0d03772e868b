//! [`EventLog`] of the store in memory.

use std::sync::Arc;

use longshore_core::ports::{
    DynamicEndpoint, EventLog, Identity, NewEvent, PersistBatch, SourceOffset, StoreError, Stored,
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
            for offset in &batch.offsets {
                tables.raise(offset);
            }
            Ok(batch.events.iter().map(|event| tables.store(event, owner, now)).collect())
        })
        .await
    }

    async fn recall(&self, batch: &PersistBatch) -> Result<Vec<Stored>, StoreError> {
        let owner = self.current_owner();
        self.call(Op::Recall, |tables, _| {
            Ok(batch.events.iter().map(|event| tables.repeat(event, owner)).collect())
        })
        .await
    }

    async fn config_version(&self) -> Result<i64, StoreError> {
        self.call(Op::ConfigVersion, |tables, _| Ok(tables.config_version)).await
    }

    fn id_window(&self) -> (Timestamp, Timestamp) {
        self.shared.tables().id_window
    }

    async fn register_dynamic(&self, endpoints: &[DynamicEndpoint]) -> Result<(), StoreError> {
        let refused = {
            let faults = self.shared.faults();
            endpoints.iter().any(|endpoint| faults.refuses_endpoint(endpoint))
        };
        self.call(Op::RegisterDynamic, |tables, _| {
            if refused {
                return Err(StoreError::Rejected("an endpoint that the test refuses".to_owned()));
            }
            for wanted in endpoints {
                tables.dynamic.entry(wanted.id).or_insert_with(|| wanted.clone());
            }
            Ok(())
        })
        .await
    }
}

impl Tables {
    fn raise(&mut self, offset: &SourceOffset) {
        let key = (offset.source, offset.log.clone());
        let (next, since) = self.offsets.entry(key).or_insert((None, Timestamp::from_micros(i64::MIN)));
        if offset.received_at >= *since {
            *next = (*next).max(Some(offset.next));
        }
    }

    fn store(&mut self, new: &NewEvent, owner: ProcessId, now: Timestamp) -> Stored {
        let event = &new.event;
        if self.events.contains_key(&event.id) {
            return self.repeat(new, owner);
        }
        let today = now.as_secs().div_euclid(86_400);
        let (digest, is_named, redelivered) = match new.identity {
            Identity::Id => (None, false, false),
            Identity::Named { digest, redelivered } => (Some(digest), true, redelivered),
            Identity::Content { digest, redelivered } => (Some(digest), false, redelivered),
        };
        if let Some(digest) = digest {
            // A name is looked for among today's messages, anything that is said to be redelivered among all.
            let seen_on = self.identities.insert(digest, today);
            if seen_on.is_some_and(|day| redelivered || (is_named && day == today)) {
                return Stored::Known;
            }
            self.identified.insert(digest, event.id);
        }
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
                throttled: 0,
                owner: Some(owner),
                due_at: None,
                place: None,
                is_aside: false,
                history: Vec::new(),
                made_by: Vec::new(),
                counted: Vec::new(),
            };
            if let Some(lane) = delivery.lane {
                self.enter(lane, delivery, &mut row, now);
            } else if !(claimed && delivery.hand_over) {
                row.wait(now);
            }
            self.deliveries.insert(row.id, row);
        }
        Stored::New { owner: claimed.then_some(owner) }
    }

    /// An event whose id is there: our own of a call whose reply was lost, if one of its deliveries carries the
    /// id of this call, or else a redelivery.
    fn repeat(&self, new: &NewEvent, owner: ProcessId) -> Stored {
        let mut own =
            new.deliveries.iter().filter_map(|delivery| self.deliveries.get(&delivery.id)).peekable();
        if own.peek().is_none() {
            return Stored::Known;
        }
        // One with a row in the schedule was claimed from there since, and is held already.
        let is_held = own.any(|row| row.owner == Some(owner) && row.due_at.is_none());
        Stored::New { owner: is_held.then_some(owner) }
    }
}
