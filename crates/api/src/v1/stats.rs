//! Figures over time: events and deliveries of a project, rolled up by the hour.
//!
//! Invariant: an answer has a bounded number of points, and is read from figures that were counted before.

mod view;

use std::time::Duration;

use axum::extract::State;
use longshore_core::{Clock, SystemClock, Timestamp};
use longshore_store::control::{StatsBucket, StatsBy, StatsQuestion};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::view::StatsView;
use super::access::{InProject, ReadDeliveries};
use super::audit_log::instant;
use super::control::Control;
use super::page::Params;
use super::problem::Problem;
use super::reply::{Envelope, Reply};

/// Points of an answer at most.
const MOST_POINTS: i64 = 10_000;
/// Endpoints or event types of an answer at most.
const MOST_GROUPS: i64 = 100;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// The routes of figures.
pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::new().routes(routes!(get_stats))
}

/// Which figures are asked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct StatsQuery {
    /// `project`, `endpoint` or `event_type`.
    #[param(pattern = "^(project|endpoint|event_type)$")]
    by: Option<String>,
    /// The first bucket is the one with this time; a day, or thirty, before `to` if it is not given.
    from: Option<String>,
    /// The last bucket is the one with this time; now if it is not given.
    to: Option<String>,
    /// `hour` (at most 31 days) or `day` (at most 400 days).
    #[param(pattern = "^(hour|day)$")]
    bucket: Option<String>,
}

impl StatsQuery {
    fn parse(self, now: Timestamp) -> Result<StatsQuestion, Problem> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let by = match given(self.by).as_deref() {
            None | Some("project") => StatsBy::Project,
            Some("endpoint") => StatsBy::Endpoint,
            Some("event_type") => StatsBy::EventType,
            Some(_) => return Err(Problem::invalid("by", "write `project`, `endpoint` or `event_type`")),
        };
        let (bucket, length, most, usual) = match given(self.bucket).as_deref() {
            None | Some("hour") => (StatsBucket::Hour, HOUR, 31 * DAY, DAY),
            Some("day") => (StatsBucket::Day, DAY, 400 * DAY, 30 * DAY),
            Some(_) => return Err(Problem::invalid("bucket", "write `hour` or `day`")),
        };
        let to = instant("to", given(self.to))?.unwrap_or(now);
        let usual = Duration::from_secs(usual.unsigned_abs());
        let from = instant("from", given(self.from))?.unwrap_or_else(|| to.before(usual));
        if from > to {
            return Err(Problem::invalid("from", "is later than `to`"));
        }
        let first = from.as_secs().div_euclid(length) * length;
        let end = (to.as_secs().div_euclid(length) + 1) * length;
        if end - first > most + length {
            let days = most / DAY;
            return Err(Problem::invalid(
                "from",
                format!("is more than {days} days before `to`; ask for less"),
            ));
        }
        let groups = (MOST_POINTS / ((end - first) / length)).clamp(1, MOST_GROUPS);
        Ok(StatsQuestion {
            by,
            from: Timestamp::from_secs(first),
            until: Timestamp::from_secs(end),
            bucket,
            groups: u32::try_from(groups).unwrap_or(1),
        })
    }
}

/// Figures of a project over time, as a whole, by endpoint or by event type.
#[utoipa::path(
    get,
    path = "/projects/{project_id}/stats",
    operation_id = "GetProjectStats",
    tag = "Stats",
    params(("project_id" = String, Path, description = "The project's id"), StatsQuery),
    responses((status = 200, description = "The figures", body = Envelope<StatsView>)),
)]
async fn get_stats(
    access: InProject<ReadDeliveries>,
    State(control): State<Control>,
    Params(query): Params<StatsQuery>,
) -> Result<Reply<StatsView>, Problem> {
    let question = query.parse(SystemClock.now())?;
    let points = control.store().stats(access.id(), &question).await?;
    let rolled_at = control.store().stats_rolled_at().await?;
    Ok(Reply::ok("Stats fetched successfully", StatsView::new(&question, points, rolled_at)))
}
