//! The figures that were rolled up, for the public API.

use longshore_core::ports::StoreError;
use longshore_core::{ProjectId, Timestamp};

use crate::connect::Store;
use crate::error::sort;

/// What figures are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsBy {
    /// Nothing: the project as a whole.
    Project,
    /// The endpoint.
    Endpoint,
    /// The event type.
    EventType,
}

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsBucket {
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

/// Which figures are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsQuestion {
    /// Told apart by this.
    pub by: StatsBy,
    /// From the hour that begins then.
    pub from: Timestamp,
    /// To before the hour that begins then.
    pub until: Timestamp,
    /// In buckets of that.
    pub bucket: StatsBucket,
    /// Of at most so many endpoints or event types, those with the most deliveries and events.
    pub groups: u32,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events taken in.
    pub events: u64,
    /// Deliveries that wait for their first attempt.
    pub scheduled: u64,
    /// Deliveries that a process holds.
    pub processing: u64,
    /// Deliveries that wait for their next attempt.
    pub retry: u64,
    /// Deliveries that arrived.
    pub success: u64,
    /// Deliveries that were given up.
    pub failure: u64,
    /// Deliveries that were not sent.
    pub discarded: u64,
    /// Attempts at those deliveries.
    pub attempts: u64,
}

/// The figures of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsPoint {
    /// The endpoint's id as a UUID, the event type; empty for the project as a whole.
    pub group: String,
    /// Where the bucket begins.
    pub start: Timestamp,
    /// The counts.
    pub figures: Figures,
}

impl Figures {
    /// Both together.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            events: self.events + other.events,
            scheduled: self.scheduled + other.scheduled,
            processing: self.processing + other.processing,
            retry: self.retry + other.retry,
            success: self.success + other.success,
            failure: self.failure + other.failure,
            discarded: self.discarded + other.discarded,
            attempts: self.attempts + other.attempts,
        }
    }
}

impl StatsBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Endpoint => "endpoint",
            Self::EventType => "event_type",
        }
    }
}

impl Store {
    /// Figures of a project, by group, then by time; buckets in which nothing happened are left out. The groups come in the
    /// order of how much there was, one more than asked for when there are more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stats(
        &self,
        project: ProjectId,
        question: &StatsQuestion,
    ) -> Result<Vec<StatsPoint>, StoreError> {
        let rows = sqlx::query_file!(
            "queries/read_stats.sql",
            project.as_uuid(),
            question.from.to_utc(),
            question.until.to_utc(),
            question.by.as_str(),
            question.bucket == StatsBucket::Day,
            i64::from(question.groups) + 1,
        )
        .fetch_all(self.pool())
        .await
        .map_err(sort)?;
        let count = i64::unsigned_abs;
        let points = rows.into_iter().map(|row| StatsPoint {
            group: row.series,
            start: Timestamp::from_utc(row.start),
            figures: Figures {
                events: count(row.events),
                scheduled: count(row.scheduled),
                processing: count(row.processing),
                retry: count(row.retry),
                success: count(row.success),
                failure: count(row.failure),
                discarded: count(row.discarded),
                attempts: count(row.attempts),
            },
        });
        Ok(points.collect())
    }

    /// When the newest hour was rolled up last; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stats_rolled_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let at = sqlx::query_scalar!("SELECT rolled_at FROM stats_hours ORDER BY hour DESC LIMIT 1")
            .fetch_optional(self.pool())
            .await
            .map_err(sort)?;
        Ok(at.map(Timestamp::from_utc))
    }
}
