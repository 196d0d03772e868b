//! What the sources say of themselves, for whoever is not the process that runs them.
//!
//! Each process writes one row per consumer every few seconds, all in one statement. The rows of a process go when it
//! resigns or is buried.

use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::{ProcessId, ProjectId, SourceId, Timestamp};
use uuid::Uuid;

use crate::connect::Store;
use crate::error::sort;

/// What one consumer says of itself right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceReport {
    /// `connecting`, `consuming`, `failing` or `stopped`.
    pub state: String,
    /// The last fault, while it lasts. Holds no payload and no credential.
    pub problem: Option<String>,
    /// What works but should be changed.
    pub warnings: Vec<String>,
    /// How long ago a message was last settled.
    pub last_progress: Option<Duration>,
    /// Messages that wait at the broker, as far as it says.
    pub lag: Option<u64>,
    /// Messages handed out and not settled.
    pub in_flight: u64,
    /// How long the oldest of them has been out.
    pub oldest_in_flight: Option<Duration>,
    /// Messages taken from the broker since the consumer began, as all that follow.
    pub received: u64,
    /// Events stored.
    pub stored: u64,
    /// Events stored and marked as duplicates.
    pub duplicate: u64,
    /// Messages recognised as redeliveries.
    pub redelivered: u64,
    /// Messages quarantined.
    pub quarantined: u64,
    /// Messages given back to the broker.
    pub returned: u64,
    /// Connections made again.
    pub reconnects: u64,
}

/// One consumer of this process, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The tenant.
    pub project: ProjectId,
    /// The source.
    pub source: SourceId,
    /// Which of the source's consumers in this process, from 0.
    pub worker: u16,
    /// The broker.
    pub kind: String,
    /// The source's name.
    pub name: String,
    /// What it says.
    pub report: SourceReport,
}

/// What a consumer of some process said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSourceStatus {
    /// The consumer, and what it said. Its ages are of now, on the database's clock.
    pub status: SourceStatus,
    /// The process.
    pub process: ProcessId,
    /// Where the process runs; empty when it did not say or is gone.
    pub hostname: String,
    /// Whether the process held its lease when this was read: of a dead one the report tells what was.
    pub is_alive: bool,
    /// When it said so.
    pub updated_at: Timestamp,
}

/// Which consumers are asked for; all of them by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStatusFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of this source.
    pub source: Option<SourceId>,
}

impl Store {
    /// Replaces what this process's consumers say: one statement, however many there are. A consumer that is not
    /// among them is forgotten.
    ///
    /// # Errors
    /// [`StoreError`]: nothing is known to be written; the next report says it all again.
    pub async fn report_sources(&self, consumers: &[SourceStatus]) -> Result<(), StoreError> {
        let columns = Columns::of(consumers);
        self.within(async {
            let mut connection = self.checkout().await?;
            let written = sqlx::query_file!(
                "queries/report_sources.sql",
                self.current_owner().as_uuid(),
                &columns.project,
                &columns.source,
                &columns.worker,
                &columns.kind as _,
                &columns.name as _,
                &columns.state as _,
                &columns.problem as _,
                &columns.warnings,
                &columns.progress_seconds as _,
                &columns.lag as _,
                &columns.in_flight,
                &columns.oldest_seconds as _,
                &columns.received,
                &columns.stored,
                &columns.duplicate,
                &columns.redelivered,
                &columns.quarantined,
                &columns.returned,
                &columns.reconnects,
            )
            .execute(&mut *connection)
            .await
            .map(drop)
            .map_err(sort);
            connection.end(written)
        })
        .await
    }

    /// What consumers said last, sorted by source, process and worker.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn source_status(
        &self,
        filter: SourceStatusFilter,
    ) -> Result<Vec<StoredSourceStatus>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT s.project_id, s.source_id, s.process_id, s.worker, s.kind, s.name, s.state, s.problem,
                   s.warnings::text AS "warnings!",
                   extract(epoch FROM now() - s.last_progress_at)::double precision AS progress_seconds,
                   s.lag, s.in_flight,
                   extract(epoch FROM now() - s.oldest_in_flight_at)::double precision AS oldest_seconds,
                   s.received, s.stored, s.duplicate, s.redelivered, s.quarantined, s.returned, s.reconnects,
                   s.updated_at, COALESCE(p.hostname, '') AS "hostname!",
                   COALESCE(p.lease_until >= now(), false) AS "is_alive!"
               FROM source_status s LEFT JOIN processes p ON p.id = s.process_id
               WHERE ($1::uuid IS NULL OR s.project_id = $1) AND ($2::uuid IS NULL OR s.source_id = $2)
               ORDER BY s.source_id, s.process_id, s.worker"#,
            filter.project.map(|id| id.as_uuid()),
            filter.source.map(|id| id.as_uuid()),
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let stored = rows.into_iter().map(|row| StoredSourceStatus {
            status: SourceStatus {
                project: ProjectId::from_uuid(row.project_id),
                source: SourceId::from_uuid(row.source_id),
                worker: u16::try_from(row.worker).unwrap_or(0),
                kind: row.kind,
                name: row.name,
                report: SourceReport {
                    state: row.state,
                    problem: row.problem,
                    warnings: serde_json::from_str(&row.warnings).unwrap_or_default(),
                    last_progress: row.progress_seconds.map(seconds),
                    lag: row.lag.map(unsigned),
                    in_flight: unsigned(row.in_flight),
                    oldest_in_flight: row.oldest_seconds.map(seconds),
                    received: unsigned(row.received),
                    stored: unsigned(row.stored),
                    duplicate: unsigned(row.duplicate),
                    redelivered: unsigned(row.redelivered),
                    quarantined: unsigned(row.quarantined),
                    returned: unsigned(row.returned),
                    reconnects: unsigned(row.reconnects),
                },
            },
            process: ProcessId::from_uuid(row.process_id),
            hostname: row.hostname,
            is_alive: row.is_alive,
            updated_at: Timestamp::from_utc(row.updated_at),
        });
        Ok(stored.collect())
    }
}

/// One array parameter for each column.
#[derive(Default)]
struct Columns<'a> {
    project: Vec<Uuid>,
    source: Vec<Uuid>,
    worker: Vec<i16>,
    kind: Vec<&'a str>,
    name: Vec<&'a str>,
    state: Vec<&'a str>,
    problem: Vec<Option<String>>,
    warnings: Vec<String>,
    progress_seconds: Vec<Option<f64>>,
    lag: Vec<Option<i64>>,
    in_flight: Vec<i64>,
    oldest_seconds: Vec<Option<f64>>,
    received: Vec<i64>,
    stored: Vec<i64>,
    duplicate: Vec<i64>,
    redelivered: Vec<i64>,
    quarantined: Vec<i64>,
    returned: Vec<i64>,
    reconnects: Vec<i64>,
}

impl<'a> Columns<'a> {
    fn of(consumers: &'a [SourceStatus]) -> Self {
        let mut columns = Self::default();
        for SourceStatus { project, source, worker, kind, name, report } in consumers {
            columns.project.push(project.as_uuid());
            columns.source.push(source.as_uuid());
            columns.worker.push(i16::try_from(*worker).unwrap_or(i16::MAX));
            columns.kind.push(kind);
            columns.name.push(name);
            columns.state.push(&report.state);
            // A broker's words may hold anything; `text` holds no NUL.
            columns.problem.push(report.problem.as_deref().map(crate::event_log::without_nul));
            let warnings = serde_json::to_string(&report.warnings);
            columns.warnings.push(warnings.unwrap_or_else(|_| "[]".to_owned()));
            columns.progress_seconds.push(report.last_progress.map(|age| age.as_secs_f64()));
            columns.lag.push(report.lag.map(signed));
            columns.in_flight.push(signed(report.in_flight));
            columns.oldest_seconds.push(report.oldest_in_flight.map(|age| age.as_secs_f64()));
            columns.received.push(signed(report.received));
            columns.stored.push(signed(report.stored));
            columns.duplicate.push(signed(report.duplicate));
            columns.redelivered.push(signed(report.redelivered));
            columns.quarantined.push(signed(report.quarantined));
            columns.returned.push(signed(report.returned));
            columns.reconnects.push(signed(report.reconnects));
        }
        columns
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn seconds(age: f64) -> Duration {
    Duration::from_secs_f64(age.clamp(0.0, 1e9))
}
