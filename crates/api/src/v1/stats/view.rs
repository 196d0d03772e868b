//! Figures as they are shown.

use longshore_core::{EndpointId, Timestamp};
use longshore_store::control::{Figures, StatsBucket, StatsBy, StatsPoint, StatsQuestion};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Figures over time.
#[derive(Serialize, ToSchema)]
pub(super) struct StatsView {
    /// Told apart by `project`, `endpoint` or `event_type`.
    by: &'static str,
    /// `hour` or `day`; days are of UTC.
    bucket: &'static str,
    /// Where the first bucket begins.
    from: String,
    /// Where the last bucket ends.
    to: String,
    /// When the newest hour was counted last; absent before the first count.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_at: Option<String>,
    /// Whether there are more endpoints or event types than these, which had the most.
    is_truncated: bool,
    /// The figures of each, the one with the most first.
    series: Vec<SeriesView>,
}

/// The figures of a project, an endpoint or an event type.
#[derive(Serialize, ToSchema)]
struct SeriesView {
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<String>,
    /// The event type; empty for deliveries whose event was gone when they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    /// All of it.
    total: FiguresView,
    /// By bucket, oldest first. Buckets in which nothing happened are left out.
    points: Vec<PointView>,
}

/// The figures of a bucket.
#[derive(Serialize, ToSchema)]
struct PointView {
    /// Where the bucket begins.
    time: String,
    /// The figures.
    #[serde(flatten)]
    figures: FiguresView,
}

/// Counts of what began in a time.
#[derive(Serialize, ToSchema)]
struct FiguresView {
    /// Events taken in; absent by endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    /// Deliveries made, by where they stand.
    deliveries: DeliveryCounts,
    /// Attempts at these deliveries, since they were last tried again by hand.
    attempts: u64,
    /// Of the deliveries that ended with a success or a failure, the part that failed: 0 to 1. Absent when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_rate: Option<f64>,
}

/// Deliveries by where they stand.
#[derive(Serialize, ToSchema)]
struct DeliveryCounts {
    /// All of them.
    total: u64,
    /// They wait for their first attempt.
    scheduled: u64,
    /// They are being sent.
    processing: u64,
    /// They wait for their next attempt.
    retry: u64,
    /// They arrived.
    success: u64,
    /// They were given up.
    failure: u64,
    /// They were not sent.
    discarded: u64,
}

impl StatsView {
    pub(super) fn new(
        question: &StatsQuestion,
        points: Vec<StatsPoint>,
        counted_at: Option<Timestamp>,
    ) -> Self {
        let mut groups: Vec<(String, Vec<StatsPoint>)> = Vec::new();
        for point in points {
            match groups.last_mut() {
                Some((group, points)) if *group == point.group => points.push(point),
                _ => groups.push((point.group.clone(), vec![point])),
            }
        }
        let most = question.groups as usize;
        let is_truncated = groups.len() > most;
        groups.truncate(most);
        let series = groups.into_iter().map(|(group, points)| SeriesView::new(question.by, group, &points));
        Self {
            by: match question.by {
                StatsBy::Project => "project",
                StatsBy::Endpoint => "endpoint",
                StatsBy::EventType => "event_type",
            },
            bucket: match question.bucket {
                StatsBucket::Hour => "hour",
                StatsBucket::Day => "day",
            },
            from: question.from.to_string(),
            to: question.until.to_string(),
            counted_at: counted_at.map(|at| at.to_string()),
            is_truncated,
            series: series.collect(),
        }
    }
}

impl SeriesView {
    fn new(by: StatsBy, group: String, points: &[StatsPoint]) -> Self {
        let total = points.iter().fold(Figures::default(), |sum, point| sum.plus(&point.figures));
        let points = points.iter().map(|point| PointView {
            time: point.start.to_string(),
            figures: FiguresView::new(by, &point.figures),
        });
        let points = points.collect();
        let total = FiguresView::new(by, &total);
        let (endpoint_id, event_type) = match by {
            StatsBy::Project => (None, None),
            StatsBy::Endpoint => {
                (group.parse().ok().map(|id: Uuid| EndpointId::from_uuid(id).to_string()), None)
            }
            StatsBy::EventType => (None, Some(group)),
        };
        Self { endpoint_id, event_type, total, points }
    }
}

impl FiguresView {
    fn new(by: StatsBy, figures: &Figures) -> Self {
        let Figures { scheduled, processing, retry, success, failure, discarded, .. } = *figures;
        let ended = success + failure;
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let failure_rate = (ended > 0).then(|| failure as f64 / ended as f64);
        Self {
            events: (by != StatsBy::Endpoint).then_some(figures.events),
            deliveries: DeliveryCounts {
                total: scheduled + processing + retry + success + failure + discarded,
                scheduled,
                processing,
                retry,
                success,
                failure,
                discarded,
            },
            attempts: figures.attempts,
            failure_rate,
        }
    }
}
