//! Requests that may be repeated: who has one in hand, and what the first was answered.
//!
//! Invariant: of requests with one hash one runs at a time; an answer is sealed, since answers hold secrets.

use std::time::Duration;

use longshore_core::ports::StoreError;
use rand::TryRngCore;
use rand::rngs::OsRng;
use uuid::Uuid;

use crate::connect::{Store, new_process_id};
use crate::error::{misconfigured, sort};

/// How long an answer is kept.
pub const REPEATS_KEPT: Duration = Duration::from_secs(86_400);
/// Rows that expire in one statement.
const BATCH: i64 = 1_000;

/// Whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ours: it is to be ended with [`Store::keep_answer`] or [`Store::forget_request`] of that id.
    First(Uuid),
    /// It was answered with this.
    Answered(Vec<u8>),
    /// Another has it in hand.
    InProgress,
    /// The key was used with another request.
    Other,
}

impl Store {
    /// Takes a request in hand. One that has been in progress for longer than `patience` is taken over: its process died.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_request(
        &self,
        hash: &[u8; 32],
        request: &[u8; 32],
        patience: Duration,
    ) -> Result<Turn, StoreError> {
        let id = new_process_id().as_uuid();
        let ours = sqlx::query_scalar!(
            "INSERT INTO idempotent_requests AS known (id, hash, request) VALUES ($1, $2, $3)
             ON CONFLICT (hash) DO UPDATE
             SET id = excluded.id, request = excluded.request, sealed_answer = NULL, started_at = now()
             WHERE known.started_at < now() - make_interval(secs => $5)
                OR (known.sealed_answer IS NULL AND known.request = excluded.request
                    AND known.started_at < now() - make_interval(secs => $4))
             RETURNING id",
            id,
            &hash[..],
            &request[..],
            patience.as_secs_f64(),
            REPEATS_KEPT.as_secs_f64(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        if let Some(id) = ours {
            return Ok(Turn::First(id));
        }
        let known = sqlx::query!(
            "SELECT id, request, sealed_answer FROM idempotent_requests WHERE hash = $1",
            &hash[..]
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        // Ended without an answer just now: whoever asks again is the first.
        let Some(known) = known else { return Ok(Turn::InProgress) };
        match known.sealed_answer {
            _ if known.request != request[..] => Ok(Turn::Other),
            None => Ok(Turn::InProgress),
            Some(sealed) => {
                self.keys().open(&sealed, known.id.as_bytes()).map(Turn::Answered).map_err(misconfigured)
            }
        }
    }

    /// Ends a request with its answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_answer(&self, id: Uuid, answer: &[u8]) -> Result<(), StoreError> {
        let sealed =
            self.keys().seal(answer, id.as_bytes(), &mut OsRng.unwrap_err()).map_err(misconfigured)?;
        sqlx::query!("UPDATE idempotent_requests SET sealed_answer = $2 WHERE id = $1", id, sealed)
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(sort)
    }

    /// Ends a request that changed nothing: the next one with its key is the first again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_request(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM idempotent_requests WHERE id = $1 AND sealed_answer IS NULL", id)
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(sort)
    }

    /// Removes requests whose time is over; gives how many.
    ///
    /// # Errors
    /// [`StoreError`]; what was removed stays removed.
    pub async fn drop_requests(&self) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let gone = sqlx::query!(
                "DELETE FROM idempotent_requests WHERE id IN (
                     SELECT id FROM idempotent_requests WHERE started_at < now() - make_interval(secs => $1)
                     ORDER BY started_at LIMIT $2)",
                REPEATS_KEPT.as_secs_f64(),
                BATCH
            )
            .execute(self.pool())
            .await
            .map_err(sort)?
            .rows_affected();
            dropped += gone;
            if gone < BATCH.unsigned_abs() {
                return Ok(dropped);
            }
        }
    }
}
