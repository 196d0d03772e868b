//! Alerts to people, gathered so that a storm makes one message: a row for each channel, kind and subject.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::notice::NoticeKind;
use longshore_core::ports::StoreError;
use longshore_core::{ProjectId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// How an alert reaches people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// By SMTP, to the addresses of the project's settings.
    Email,
    /// A message in Slack's format, to the URL of the project's credentials.
    Slack,
}

impl Channel {
    /// The word used in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Slack => "slack",
        }
    }
}

/// What alerts are gathered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// The tenant.
    pub project: ProjectId,
    /// How it is told.
    pub channel: Channel,
    /// What happened.
    pub kind: NoticeKind,
    /// The endpoint or the source, as bits.
    pub subject: u128,
}

/// Something that people are to be told now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueAlert {
    /// What it is about.
    pub key: AlertKey,
    /// How often it happened since it was told.
    pub pending: i64,
    /// The `data` of the last: the text of a JSON object.
    pub data: String,
    /// When it happened last.
    pub happened_at: Timestamp,
    /// Which attempt this is, from 1.
    pub attempt: i16,
}

/// Adds to what is pending; `alerts` says how often, and the last one's data.
pub(super) async fn gather(
    connection: &mut PgConnection,
    alerts: &BTreeMap<AlertKey, (i64, String)>,
) -> Result<(), StoreError> {
    if alerts.is_empty() {
        return Ok(());
    }
    let project: Vec<Uuid> = alerts.keys().map(|key| key.project.as_uuid()).collect();
    let channel: Vec<&str> = alerts.keys().map(|key| key.channel.as_str()).collect();
    let kind: Vec<&str> = alerts.keys().map(|key| key.kind.as_str()).collect();
    let subject: Vec<Uuid> = alerts.keys().map(|key| Uuid::from_u128(key.subject)).collect();
    let pending: Vec<i64> = alerts.values().map(|(pending, _)| *pending).collect();
    let data: Vec<&str> = alerts.values().map(|(_, data)| data.as_str()).collect();
    sqlx::query!(
        "INSERT INTO alerts (project_id, channel, kind, subject_id, pending, data)
         SELECT project_id, channel, kind, subject_id, pending, data::json
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::text[])
             AS t (project_id, channel, kind, subject_id, pending, data)
         ORDER BY project_id, channel, kind, subject_id
         ON CONFLICT (project_id, channel, kind, subject_id) DO UPDATE SET
             pending = alerts.pending + excluded.pending, data = excluded.data, happened_at = now()",
        &project,
        &channel as _,
        &kind as _,
        &subject,
        &pending,
        &data as _,
    )
    .execute(connection)
    .await
    .map(drop)
    .map_err(sort)
}

impl Store {
    /// Takes alerts that are due, for as long as `lease`: who does not say what came of it by then has failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_alerts(
        &self,
        channel: Channel,
        most: i64,
        lease: Duration,
    ) -> Result<Vec<DueAlert>, StoreError> {
        let rows = self
            .within(async {
                let mut connection = self.checkout().await?;
                let rows = sqlx::query!(
                    r#"UPDATE alerts a
                       SET due_at = now() + make_interval(secs => $3), attempt_count = a.attempt_count + 1
                       FROM (
                           SELECT project_id, channel, kind, subject_id FROM alerts
                           WHERE pending > 0 AND due_at <= now() AND channel = $1
                           ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
                       ) due
                       WHERE a.project_id = due.project_id AND a.channel = due.channel AND a.kind = due.kind
                           AND a.subject_id = due.subject_id
                       RETURNING a.project_id, a.kind, a.subject_id, a.pending, a.data::text AS "data!",
                           a.happened_at, a.attempt_count"#,
                    channel.as_str(),
                    most,
                    lease.as_secs_f64(),
                )
                .fetch_all(&mut *connection)
                .await
                .map_err(sort);
                connection.end(rows)
            })
            .await?;
        let due = rows.into_iter().filter_map(|row| {
            // A kind that only a newer version knows waits for it.
            let kind = row.kind.parse().ok()?;
            let project = ProjectId::from_uuid(row.project_id);
            Some(DueAlert {
                key: AlertKey { project, channel, kind, subject: row.subject_id.as_u128() },
                pending: row.pending,
                data: row.data,
                happened_at: Timestamp::from_utc(row.happened_at),
                attempt: row.attempt_count,
            })
        });
        Ok(due.collect())
    }

    /// What was pending when `alert` was taken has been told; the next is told after `pause` at the earliest.
    ///
    /// # Errors
    /// [`StoreError`]: it may be told again.
    pub async fn alert_told(&self, alert: &DueAlert, pause: Duration) -> Result<(), StoreError> {
        self.end_alert(alert, pause, Some(alert.pending), None).await
    }

    /// It could not be told; it is tried again after `pause`, or forgotten when that is `None`.
    ///
    /// # Errors
    /// [`StoreError`]: it is tried again after the lease.
    pub async fn alert_failed(
        &self,
        alert: &DueAlert,
        pause: Option<Duration>,
        error: &str,
    ) -> Result<(), StoreError> {
        let told = if pause.is_some() { None } else { Some(alert.pending) };
        self.end_alert(alert, pause.unwrap_or_default(), told, Some(error)).await
    }

    async fn end_alert(
        &self,
        alert: &DueAlert,
        pause: Duration,
        told: Option<i64>,
        error: Option<&str>,
    ) -> Result<(), StoreError> {
        self.within(async {
            let mut connection = self.checkout().await?;
            let done = sqlx::query!(
                "UPDATE alerts SET
                     due_at = now() + make_interval(secs => $5),
                     pending = pending - COALESCE($6::bigint, 0),
                     attempt_count = CASE WHEN $6::bigint IS NULL THEN attempt_count ELSE 0 END,
                     told_at = CASE WHEN $7::text IS NULL THEN now() ELSE told_at END,
                     error = $7
                 WHERE project_id = $1 AND channel = $2 AND kind = $3 AND subject_id = $4 AND attempt_count = $8",
                alert.key.project.as_uuid(),
                alert.key.channel.as_str(),
                alert.key.kind.as_str(),
                Uuid::from_u128(alert.key.subject),
                pause.as_secs_f64(),
                told,
                error.map(crate::event_log::without_nul),
                alert.attempt,
            )
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(sort);
            connection.end(done)
        })
        .await
    }
}
