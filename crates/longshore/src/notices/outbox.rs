//! Meta events: taken from the database, sent, and what came of it written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::retry::{Tried, Verdict, judge};
use longshore_core::{Clock, ProjectId, Snapshot, SystemClock};
use longshore_pipeline::dispatch::{Answer, Transport};
use longshore_store::Store;
use longshore_store::notices::{DueMetaEvent, MetaAttempt, MetaNext};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::webhook::build;

/// Between two looks while nothing is due.
const EVERY: Duration = Duration::from_secs(1);
/// Sent at once by this process.
const MOST: usize = 32;
/// Of one project.
const EACH: usize = 4;
/// Longer than an attempt and writing down what came of it take.
const LEASE: Duration = Duration::from_secs(60);
/// Bytes kept of an answer.
const KEPT: usize = 4_096;

/// What sends meta events.
pub(super) struct Outbox<T> {
    pub(super) store: Store,
    pub(super) transport: T,
    pub(super) config: Receiver<Arc<Snapshot>>,
}

impl<T: Transport> Outbox<T> {
    /// Runs until `stop`, then waits for what is in flight; `hard` ends the waiting.
    pub(super) async fn run(self, stop: &CancellationToken, hard: &CancellationToken) {
        let mut sending: JoinSet<ProjectId> = JoinSet::new();
        let mut busy: HashMap<ProjectId, usize> = HashMap::new();
        let mut next = Instant::now();
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = sending.join_next() => match ended {
                    Ok(project) => drop_one(&mut busy, project),
                    // Whose it was is not known: the count is made anew once all are done.
                    Err(error) => warn!(%error, "sending a meta event ended abnormally"),
                },
                () = tokio::time::sleep_until(next), if sending.len() < MOST => {
                    let found = self.start(&mut sending, &mut busy).await;
                    next = Instant::now() + if found { Duration::from_millis(50) } else { EVERY };
                }
            }
            if sending.is_empty() {
                busy.clear();
            }
        }
        let rest = async { while sending.join_next().await.is_some() {} };
        let _ = hard.run_until_cancelled(rest).await;
    }

    /// Takes what there is room for; whether there was anything.
    async fn start(&self, sending: &mut JoinSet<ProjectId>, busy: &mut HashMap<ProjectId, usize>) -> bool {
        let full: Vec<ProjectId> =
            busy.iter().filter(|(_, count)| **count >= EACH).map(|(project, _)| *project).collect();
        let room = i64::try_from(MOST - sending.len()).unwrap_or(0);
        let due = match self.store.claim_meta_events(room, EACH as i64, &full, LEASE).await {
            Ok(due) => due,
            Err(error) => {
                debug!(%error, "no meta events taken; trying again");
                return false;
            }
        };
        let found = !due.is_empty();
        for event in due {
            *busy.entry(event.project).or_default() += 1;
            let (store, transport) = (self.store.clone(), self.transport.clone());
            let snapshot = Arc::clone(&self.config.borrow());
            sending.spawn(async move {
                let project = event.project;
                send(&store, &transport, &snapshot, event).await;
                project
            });
        }
        found
    }
}

fn drop_one(busy: &mut HashMap<ProjectId, usize>, project: ProjectId) {
    if let Some(count) = busy.get_mut(&project) {
        *count -= 1;
        if *count == 0 {
            busy.remove(&project);
        }
    }
}

async fn send(store: &Store, transport: &impl Transport, snapshot: &Snapshot, event: DueMetaEvent) {
    let request = match snapshot.project(event.project) {
        Some(project) => build(&event, project, SystemClock.now()),
        None => Err("the project is gone"),
    };
    let ended = match request {
        Ok(request) => judged(&event, snapshot, transport.send(request).await),
        Err(problem) => MetaAttempt {
            next: MetaNext::Failure,
            outcome: "unsent",
            http_status: None,
            error: problem.to_owned(),
            response_body: Vec::new(),
        },
    };
    metrics::counter!("meta_events_attempts_total", "outcome" => ended.outcome).increment(1);
    if let Err(error) = store.end_meta_event(&event, &ended).await {
        debug!(%error, "what came of a meta event is not written; it is sent again");
    }
}

/// What follows from an answer, by the project's own schedule and policy. A receiver that is gone ends it.
fn judged(event: &DueMetaEvent, snapshot: &Snapshot, answer: Answer) -> MetaAttempt {
    let schedule = snapshot.retry_schedule(event.project, None);
    let policy = snapshot.project(event.project).map(|project| project.settings.retry_policy.clone());
    let now = SystemClock.now();
    let tried = Tried { made: event.attempt, throttled: event.throttled, received_at: event.created_at };
    let mut rng = SmallRng::from_os_rng();
    let next = match judge(&policy.unwrap_or_default(), schedule, tried, &answer.outcome, now, &mut rng) {
        Verdict::Delivered => MetaNext::Success,
        Verdict::RetryAt(at) => MetaNext::Retry { after: at.since(now), is_throttled: false },
        Verdict::ThrottledUntil(at) => MetaNext::Retry { after: at.since(now), is_throttled: true },
        Verdict::Ended(_) => MetaNext::Failure,
    };
    let kept = answer.body.len().min(KEPT);
    MetaAttempt {
        next,
        outcome: answer.outcome.class(),
        http_status: answer.outcome.status(),
        error: answer.error,
        response_body: answer.body[..kept].to_vec(),
    }
}
