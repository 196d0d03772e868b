//! Duties that one process has for all: who has one, by a lease on the database's clock.
//!
//! What it is for: upkeep that would be wasted or harmful when several did it at once. What it does not do: fence what the
//! holder writes; a duty must bear that its former holder ends a moment late. Invariant: a duty is held by one process until
//! its lease is over by the clock of Postgres, or given back.

use std::time::Duration;

use longshore_core::ports::StoreError;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// Somebody who may have a duty: one run of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: Uuid,
    /// Where it runs, for people.
    pub hostname: String,
}

/// Who has a duty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Whose it is, or was last.
    pub id: Uuid,
    /// Where that runs.
    pub hostname: String,
    /// Whether its lease is not over.
    pub is_alive: bool,
}

impl Candidate {
    /// This run, with an id of its own.
    #[must_use]
    pub fn new(hostname: String) -> Self {
        Self { id: crate::connect::new_process_id().as_uuid(), hostname }
    }
}

impl Store {
    /// Takes a duty that nobody has, or keeps it; tells whether it is the candidate's for the time of `lease`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lead(&self, duty: &str, who: &Candidate, lease: Duration) -> Result<bool, StoreError> {
        let held = sqlx::query_scalar!(
            r#"INSERT INTO leaderships AS held (duty, holder, hostname, held_until)
               VALUES ($1, $2, $3, now() + make_interval(secs => $4))
               ON CONFLICT (duty) DO UPDATE
               SET holder = excluded.holder, hostname = excluded.hostname, held_until = excluded.held_until,
                   held_since = CASE WHEN held.holder = excluded.holder THEN held.held_since ELSE now() END
               WHERE held.holder = excluded.holder OR held.held_until < now()
               RETURNING true AS "held!""#,
            duty,
            who.id,
            who.hostname,
            lease.as_secs_f64(),
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(held.is_some())
    }

    /// Gives a duty back, so that another has it at once.
    ///
    /// # Errors
    /// [`StoreError`]; the lease ends by itself.
    pub async fn stop_leading(&self, duty: &str, who: &Candidate) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM leaderships WHERE duty = $1 AND holder = $2", duty, who.id)
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(sort)
    }

    /// Who has a duty.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn leader(&self, duty: &str) -> Result<Option<Leader>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT holder, hostname, held_until > now() AS "is_alive!" FROM leaderships WHERE duty = $1"#,
            duty
        )
        .fetch_optional(self.pool())
        .await
        .map_err(sort)?;
        Ok(row.map(|row| Leader { id: row.holder, hostname: row.hostname, is_alive: row.is_alive }))
    }
}
