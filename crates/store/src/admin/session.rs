//! One application of a file: a transaction under a lock.

use longshore_core::notice::Notice;
use longshore_core::ports::StoreError;
use longshore_core::{Clock, IdGenerator, SystemClock};
use rand::SeedableRng;
use rand::TryRngCore;
use rand::rngs::{OsRng, StdRng};
use sqlx::{Postgres, Transaction};

use super::resource::ManagedProject;
use super::write::Change;
use super::{load, write};
use crate::connect::Store;
use crate::error::sort;

/// The key of the advisory lock that keeps two applications apart: "ls-apply" as a number. Partition work has another.
const LOCK: i64 = 0x6c73_2d61_7070_6c79;

/// A transaction in which what is declared is compared and written. Dropping it undoes everything.
#[derive(Debug)]
pub struct ApplySession {
    transaction: Transaction<'static, Postgres>,
    store: Store,
    ids: IdGenerator,
    rng: StdRng,
    /// Told with the commit, by what the projects' settings are then.
    notices: Vec<Notice>,
}

impl Store {
    /// Begins to apply a file; waits for another application to end.
    ///
    /// # Errors
    /// [`StoreError`]; also when another application holds the lock for longer than some seconds.
    pub async fn begin_apply(&self) -> Result<ApplySession, StoreError> {
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        sqlx::query!("SELECT pg_advisory_xact_lock($1)::text", LOCK)
            .fetch_one(&mut *transaction)
            .await
            .map_err(sort)?;
        let mut seed = OsRng.unwrap_err();
        let ids = IdGenerator::new(SystemClock.now(), StdRng::from_rng(&mut seed));
        let rng = StdRng::from_rng(&mut seed);
        Ok(ApplySession { transaction, store: self.clone(), ids, rng, notices: Vec::new() })
    }
}

impl ApplySession {
    /// A project with everything that is managed in it; `None` when there is none of that name.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Misconfigured`] names a row that does not parse or open.
    pub async fn load(&mut self, name: &str) -> Result<Option<ManagedProject>, StoreError> {
        load::project(&mut self.transaction, self.store.keys(), name).await
    }

    /// Writes changes in their order.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] names the resource that clashes with another.
    pub async fn write(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut writer = write::Writer {
            connection: &mut self.transaction,
            keys: self.store.keys(),
            ids: &self.ids,
            rng: &mut self.rng,
            notices: &mut self.notices,
        };
        for change in changes {
            writer.write(change).await?;
        }
        Ok(())
    }

    /// Makes it so. Processes follow within a second.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed, unless the connection broke during the commit itself.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        crate::notices::tell(&mut self.transaction, self.store.keys(), &self.notices).await?;
        self.transaction.commit().await.map_err(sort)
    }
}
