//! How far the logs of a source are stored. They are raised by ingest's transaction (`event_log`) and read by a source
//! before it reads its log. `docs/adr/0004-source-watermarks.md` has the reasons.

use std::collections::HashMap;

use longshore_core::ports::StoreError;
use longshore_core::{Clock, SourceId, SystemClock};

use crate::connect::Store;
use crate::error::sort;

impl Store {
    /// The next offset of every log of this source that is known: everything below it is stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn source_offsets(&self, source: SourceId) -> Result<HashMap<String, u64>, StoreError> {
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query!(
                    r#"SELECT log, next_offset AS "next_offset!" FROM source_offsets
                       WHERE source_id = $1 AND next_offset IS NOT NULL"#,
                    source.as_uuid()
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let known = rows.into_iter().map(|row| (row.log, u64::try_from(row.next_offset).unwrap_or(0)));
        Ok(known.collect())
    }

    /// Forgets how far a log is stored, because it is another log by now: it was deleted and made anew under the same
    /// name. A batch received earlier, which may still be on its way, no longer counts.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known to be forgotten; reading must not begin.
    pub async fn forget_source_offset(&self, source: SourceId, log: &str) -> Result<(), StoreError> {
        // The clock of this process: the same that stamps the batches it is compared with.
        let now = SystemClock.now().to_utc();
        self.within(async {
            let mut connection = self.checkout().await?;
            let forgotten = sqlx::query!(
                "INSERT INTO source_offsets AS o (source_id, log, since, received_at) VALUES ($1, $2, $3, $3)
                 ON CONFLICT (source_id, log) DO UPDATE
                     SET next_offset = NULL, since = GREATEST(o.since, excluded.since)",
                source.as_uuid(),
                log,
                now
            )
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(sort);
            connection.end(forgotten)
        })
        .await
    }
}
