//! Everything that is sealed in the database: which key it is sealed with, and sealing it anew.
//!
//! What it is for: changing the master key while processes run and write. What it does not do: know what the values
//! mean. Invariants: a value is replaced only if it is still the one that was opened, so that no write of anybody
//! else is lost; every transaction is one statement over few rows, which waits for nobody; it is no change of the
//! configuration, so that no process loads it anew.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::ports::StoreError;
use rand::TryRngCore;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::{misconfigured, sort};
use crate::seal::KeyId;

/// A column of sealed values. Each is bound to its row's `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column; NULL where there is nothing.
    pub column: &'static str,
}

/// All of them: who adds a sealed column adds a line. A test compares it with the schema.
pub const SEALED_COLUMNS: &[SealedColumn] = &[
    SealedColumn { table: "endpoint_secrets", column: "sealed" },
    SealedColumn { table: "endpoints", column: "sealed_contacts" },
    SealedColumn { table: "endpoints", column: "sealed_credentials" },
    SealedColumn { table: "idempotent_requests", column: "sealed_answer" },
    SealedColumn { table: "installation_secrets", column: "sealed" },
    SealedColumn { table: "portal_links", column: "sealed_token" },
    SealedColumn { table: "projects", column: "sealed_credentials" },
    SealedColumn { table: "sources", column: "sealed_config" },
];

/// Rows per transaction.
const BATCH: usize = 100;
/// Rows that somebody else has in hand, or wrote meanwhile, are looked at again: so often, so much later.
const PASSES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// With which keys the values of one column are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedValues {
    /// The column.
    pub column: SealedColumn,
    /// How many by key.
    pub by_key: BTreeMap<KeyId, usize>,
    /// How many are sealed with the current key and in today's format.
    pub current: usize,
    /// Rows whose value none of the keys opens.
    pub unopened: Vec<Uuid>,
}

/// What sealing one column anew did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resealed {
    /// The column.
    pub column: SealedColumn,
    /// Values sealed anew.
    pub resealed: usize,
    /// Rows whose value none of the keys opens; left alone.
    pub unopened: Vec<Uuid>,
    /// Values that others had in hand, or kept writing with an old key, until the end. Do it again.
    pub missed: usize,
}

/// A value that is there.
pub(crate) struct Sample {
    pub(crate) key: KeyId,
    pub(crate) names_its_key: bool,
}

struct Value {
    id: Uuid,
    sealed: Vec<u8>,
}

impl Store {
    /// With which keys every value is sealed. Opens all of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sealed_values(&self) -> Result<Vec<SealedValues>, StoreError> {
        let mut found = Vec::with_capacity(SEALED_COLUMNS.len());
        for column in SEALED_COLUMNS {
            let mut values =
                SealedValues { column: *column, by_key: BTreeMap::new(), current: 0, unopened: Vec::new() };
            for value in self.values(*column).await? {
                match self.keys().open_and_tell(&value.sealed, value.id.as_bytes()) {
                    Ok(opened) => {
                        *values.by_key.entry(opened.key).or_default() += 1;
                        values.current += usize::from(opened.is_current);
                    }
                    Err(_) => values.unopened.push(value.id),
                }
            }
            found.push(values);
        }
        Ok(found)
    }

    /// Seals every value of a column with the current key. Processes that run keep what they have in memory, and
    /// open what they load later with whichever key it is sealed with.
    ///
    /// # Errors
    /// [`StoreError`]: some may be done; do it again.
    pub async fn reseal(&self, column: SealedColumn) -> Result<Resealed, StoreError> {
        let mut done = Resealed { column, resealed: 0, unopened: Vec::new(), missed: 0 };
        for _ in 0..PASSES {
            let outdated = self.outdated(column, &mut done.unopened).await?;
            done.missed = outdated.len();
            for batch in outdated.chunks(BATCH) {
                let replaced = self.replace(column, batch).await?;
                done.resealed += replaced;
                done.missed -= replaced;
            }
            if done.missed == 0 {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(done)
    }

    /// The values that are not sealed as new ones would be, each with its content.
    async fn outdated(
        &self,
        column: SealedColumn,
        unopened: &mut Vec<Uuid>,
    ) -> Result<Vec<(Value, Vec<u8>)>, StoreError> {
        unopened.clear();
        let mut outdated = Vec::new();
        for value in self.values(column).await? {
            match self.keys().open_and_tell(&value.sealed, value.id.as_bytes()) {
                Ok(opened) if opened.is_current => {}
                Ok(opened) => outdated.push((value, opened.plain)),
                Err(_) => unopened.push(value.id),
            }
        }
        Ok(outdated)
    }

    /// One of the values that were sealed first, opened; `None` when nothing is sealed.
    pub(crate) async fn oldest_sealed(&self) -> Result<Option<Sample>, StoreError> {
        let mut oldest: Option<Sample> = None;
        for column in SEALED_COLUMNS {
            for value in self.values(*column).await? {
                let names_its_key = value.sealed.first() != Some(&1);
                if oldest.as_ref().is_some_and(|oldest| !oldest.names_its_key || names_its_key) {
                    continue;
                }
                let opened = self.keys().open_and_tell(&value.sealed, value.id.as_bytes());
                let key = opened.map_err(misconfigured)?.key;
                oldest = Some(Sample { key, names_its_key });
            }
        }
        Ok(oldest)
    }

    async fn values(&self, SealedColumn { table, column }: SealedColumn) -> Result<Vec<Value>, StoreError> {
        // Names come from the table above.
        let sql = format!("SELECT id, {column} FROM {table} WHERE {column} IS NOT NULL ORDER BY id");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(self.pool()).await.map_err(sort)?;
        let values = rows.iter().map(|row| Ok(Value { id: row.try_get(0)?, sealed: row.try_get(1)? }));
        values.collect::<Result<_, sqlx::Error>>().map_err(sort)
    }

    /// Replaces values that are still what they were; says how many.
    async fn replace(
        &self,
        SealedColumn { table, column }: SealedColumn,
        batch: &[(Value, Vec<u8>)],
    ) -> Result<usize, StoreError> {
        let mut random = rand::rngs::OsRng.unwrap_err();
        let ids: Vec<Uuid> = batch.iter().map(|(value, _)| value.id).collect();
        let before: Vec<&[u8]> = batch.iter().map(|(value, _)| value.sealed.as_slice()).collect();
        let mut after = Vec::with_capacity(batch.len());
        for (value, plain) in batch {
            after.push(self.keys().seal(plain, value.id.as_bytes(), &mut random).map_err(misconfigured)?);
        }
        // Rows that others have locked are left for the next pass: whoever waits with locks in hand can deadlock.
        let sql = format!(
            "WITH free AS (
                 SELECT t.ctid, new.sealed
                 FROM {table} AS t JOIN unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS new (id, before, sealed)
                     ON t.id = new.id AND t.{column} = new.before
                 FOR UPDATE OF t SKIP LOCKED
             )
             UPDATE {table} AS t SET {column} = free.sealed FROM free WHERE t.ctid = free.ctid"
        );
        let mut transaction = self.pool().begin().await.map_err(sort)?;
        sqlx::query("SET LOCAL longshore.is_resealing = 'on'")
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        let done = sqlx::query(AssertSqlSafe(sql))
            .bind(ids)
            .bind(before)
            .bind(after)
            .execute(&mut *transaction)
            .await
            .map_err(sort)?;
        transaction.commit().await.map_err(sort)?;
        Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX).min(batch.len()))
    }
}
