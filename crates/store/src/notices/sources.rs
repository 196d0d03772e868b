//! Sources that have been failing for a while: told once by whoever notices first, and so is the end.

use std::time::Duration;

use longshore_core::notice::{Notice, NoticeKind};
use longshore_core::ports::StoreError;
use longshore_core::{ProjectId, SourceId};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::tell::tell;
use crate::connect::Store;
use crate::error::sort;

impl Store {
    /// Looks at what the fleet's consumers say of themselves, and tells of sources that have been failing for longer
    /// than `after`, and of those that consume again without any consumer failing. Every process may look.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was told.
    pub async fn watch_sources(&self, after: Duration) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let watched = watch(self, &mut connection, after).await;
            connection.end(watched)
        })
        .await
    }
}

async fn watch(store: &Store, connection: &mut PgConnection, after: Duration) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await.map_err(sort)?;
    let began = sqlx::query_file!("queries/begin_source_outages.sql", after.as_secs_f64())
        .fetch_all(&mut *transaction)
        .await
        .map_err(sort)?;
    let mut notices: Vec<Notice> = began
        .into_iter()
        .map(|row| {
            let (source, project) =
                (SourceId::from_uuid(row.source_id), ProjectId::from_uuid(row.project_id));
            let data = json!({
                "uid": source, "project_id": project, "name": row.name, "type": row.kind, "status": "failing",
                "problem": row.problem, "failing_since": super::follow::rfc3339(row.failing_since),
            });
            Notice { project, kind: NoticeKind::SourceFailing, subject: source.as_u128(), data }
        })
        .collect();
    let ended = sqlx::query_file!("queries/end_source_outages.sql")
        .fetch_all(&mut *transaction)
        .await
        .map_err(sort)?;
    notices.extend(ended.into_iter().map(|row| {
        let (source, project) = (SourceId::from_uuid(row.source_id), ProjectId::from_uuid(row.project_id));
        let data = json!({
            "uid": source, "project_id": project, "name": row.name, "type": row.kind, "status": "consuming",
        });
        Notice { project, kind: NoticeKind::SourceRecovered, subject: source.as_u128(), data }
    }));
    tell(&mut transaction, store.keys(), &notices).await?;
    transaction.commit().await.map_err(sort)
}
