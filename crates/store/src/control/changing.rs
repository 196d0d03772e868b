//! One change of the configuration by the public API: a transaction, its notices and its lines in the audit log.

use longshore_core::notice::Notice;
use longshore_core::ports::StoreError;
use longshore_core::{AuditId, Clock, IdGenerator, SystemClock};
use rand::rngs::{OsRng, StdRng};
use rand::{SeedableRng, TryRngCore};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::audit::{self, Actor, AuditEntry};
use crate::connect::Store;
use crate::error::sort;
use crate::feed::lock_config;
use crate::notices::tell;
use crate::seal::Keys;

/// A change in progress: it has the turn to change the configuration, so what it reads stays true until it commits.
/// Dropping it undoes everything.
#[derive(Debug)]
pub struct Changing {
    transaction: Transaction<'static, Postgres>,
    store: Store,
    actor: Actor,
    ids: IdGenerator,
    rng: StdRng,
    notices: Vec<Notice>,
}

impl Store {
    /// Begins a change; waits for another one to end.
    ///
    /// # Errors
    /// [`StoreError`]; also when another change holds the turn for longer than some seconds.
    pub async fn change(&self, actor: Actor) -> Result<Changing, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        lock_config(&mut transaction).await?;
        let mut seed = OsRng.unwrap_err();
        let ids = IdGenerator::new(SystemClock.now(), StdRng::from_rng(&mut seed));
        let rng = StdRng::from_rng(&mut seed);
        Ok(Changing { transaction, store: self.clone(), actor, ids, rng, notices: Vec::new() })
    }
}

impl Changing {
    /// Writes a line of the audit log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let id = AuditId::from_u128(self.next_id()).as_uuid();
        audit::write(&mut self.transaction, id, &self.actor, entry).await
    }

    /// Ends the change: running processes follow within a second.
    ///
    /// # Errors
    /// [`StoreError`]: nothing changed, unless the commit's reply was lost.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        tell(&mut self.transaction, self.store.keys(), &self.notices).await?;
        self.transaction.commit().await.map_err(sort)
    }

    /// A fresh id of this moment, as 128 bits for whatever type of id.
    pub fn next_id(&self) -> u128 {
        self.ids.next(SystemClock.now())
    }

    /// Randomness for secrets and keys.
    pub const fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// Tells people with the commit.
    pub(super) fn note(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// The store, and the change's connection, for what is done within other changes as well.
    pub(super) fn parts(&mut self) -> (&Store, &mut PgConnection) {
        (&self.store, &mut self.transaction)
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    pub(super) fn keys(&self) -> &Keys {
        self.store.keys()
    }

    /// Seals a text for the row of that id.
    pub(super) fn seal(&mut self, plain: &[u8], id: Uuid) -> Result<Vec<u8>, StoreError> {
        let sealed = self.store.keys().seal(plain, id.as_bytes(), &mut self.rng);
        sealed.map_err(|error| StoreError::Misconfigured(error.to_string()))
    }
}
