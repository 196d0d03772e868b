//! Tells how the sources are: to the metrics, and to the database for whoever asks from elsewhere.
//!
//! Invariant: a database that is away delays only this.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longshore_source::State;
use longshore_store::{SourceReport, SourceStatus, Store};
use metrics::gauge;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::board::{Board, Line};

/// Between two looks at the statuses; a change is told within this and [`SOONEST`].
const LOOK: Duration = Duration::from_millis(250);
/// At most so often it is told.
const SOONEST: Duration = Duration::from_secs(1);
/// At least so often.
const LATEST: Duration = Duration::from_secs(5);

const STATES: [State; 4] = [State::Connecting, State::Consuming, State::Failing, State::Stopped];

/// Tells until `stop`.
pub(super) async fn run(store: &Store, board: &Board, stop: CancellationToken) {
    let mut shown = BTreeSet::new();
    let mut told: Option<(Instant, Vec<Essence>)> = None;
    while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let lines = board.read();
        show(&lines, &mut shown);
        let now: Vec<Essence> = lines.iter().map(essence).collect();
        let is_due = told
            .as_ref()
            .is_none_or(|(at, before)| at.elapsed() >= LATEST || (at.elapsed() >= SOONEST && *before != now));
        if is_due {
            told = Some((Instant::now(), now));
            let consumers: Vec<SourceStatus> = lines.into_iter().map(status).collect();
            // A database that is away is told of elsewhere; the next report says it all again.
            if let Some(Err(error)) =
                stop.run_until_cancelled(Box::pin(store.report_sources(&consumers))).await
            {
                debug!(%error, "the status of the sources is not written");
            }
        }
    }
}

/// What is told at once when it changes.
type Essence = (super::declared::Consumer, State, Option<String>, Vec<String>);

fn essence(line: &Line) -> Essence {
    let report = &line.report;
    (line.consumer, report.state, report.problem.clone(), report.warnings.clone())
}

fn status(line: Line) -> SourceStatus {
    let Line { consumer, project, name, kind, report } = line;
    SourceStatus {
        project,
        source: consumer.source,
        worker: consumer.worker,
        kind: kind.to_owned(),
        name,
        report: SourceReport {
            state: report.state.to_string(),
            problem: report.problem,
            warnings: report.warnings,
            last_progress: report.last_progress,
            lag: report.lag,
            in_flight: report.in_flight,
            oldest_in_flight: report.oldest,
            received: report.received,
            stored: report.stored,
            duplicate: report.duplicate,
            redelivered: report.redelivered,
            quarantined: report.quarantined,
            returned: report.returned,
            reconnects: report.reconnects,
        },
    }
}

/// What the consumers of a source are together.
#[derive(Default)]
struct Sum {
    states: [usize; STATES.len()],
    oldest: Duration,
    last_progress: Option<Duration>,
}

/// Sets the gauges. `shown` are the sources that have some: one that went is set to zero, since a gauge cannot go.
fn show(lines: &[Line], shown: &mut BTreeSet<(&'static str, String)>) {
    let mut sums: BTreeMap<(&'static str, String), Sum> =
        std::mem::take(shown).into_iter().map(|source| (source, Sum::default())).collect();
    for line in lines {
        let sum = sums.entry((line.kind, line.name.clone())).or_default();
        for (count, state) in sum.states.iter_mut().zip(STATES) {
            *count += usize::from(line.report.state == state);
        }
        sum.oldest = sum.oldest.max(line.report.oldest.unwrap_or_default());
        let latest = [sum.last_progress, line.report.last_progress].into_iter().flatten().min();
        sum.last_progress = latest;
    }
    for ((kind, source), sum) in sums {
        for (state, count) in STATES.iter().zip(sum.states) {
            let labels =
                [("kind", kind.to_owned()), ("source", source.clone()), ("state", state.to_string())];
            gauge!("source_state", &labels).set(count as f64);
        }
        let labels = [("kind", kind.to_owned()), ("source", source.clone())];
        gauge!("source_oldest_in_flight_seconds", &labels).set(sum.oldest.as_secs_f64());
        if let Some(ago) = sum.last_progress {
            gauge!("source_last_progress_seconds", &labels).set(ago.as_secs_f64());
        }
        shown.insert((kind, source));
    }
}
