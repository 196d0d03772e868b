//! The schema's version: what is applied, what is pending.

use longshore_core::ports::StoreError;
use sqlx::migrate::{MigrateError, Migrator};

use crate::connect::Store;
use crate::error::sort;

/// Every migration, in order; compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// One migration and whether the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Whether it is applied.
    pub is_applied: bool,
}

impl Store {
    /// Every migration this program knows, with its state in the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn migrations(&self) -> Result<Vec<Migration>, StoreError> {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(self.pool())
            .await
            .map_err(sort)?;
        let applied: Vec<i64> = if exists {
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
                .fetch_all(self.pool())
                .await
                .map_err(sort)?
        } else {
            Vec::new()
        };
        let known = MIGRATOR.iter().map(|migration| Migration {
            version: migration.version,
            description: migration.description.to_string(),
            is_applied: applied.contains(&migration.version),
        });
        Ok(known.collect())
    }

    /// Applies what is pending and creates today's partitions. Safe to run twice and at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATOR.run(self.pool()).await.map_err(|error| match error {
            MigrateError::Execute(error) => sort(error),
            other => StoreError::Misconfigured(other.to_string()),
        })?;
        self.create_partitions(crate::partitions::DEFAULT_DAYS_AHEAD).await
    }
}
