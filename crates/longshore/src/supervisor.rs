//! Keeps running what is declared: starts, stops, restarts.
//!
//! What it is for: sources come and go with the configuration; whatever ends unasked is started again, with
//! backoff. What it does not do: know what it starts. Invariants: a changed declaration is stopped before it is
//! started anew, so that at no time two of them run; when told to stop it returns only after everything it
//! started has ended.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first pause before a restart; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest pause before a restart.
const LONGEST: Duration = Duration::from_secs(30);
/// Who ran that long starts again with [`SHORTEST`].
const STEADY: Duration = Duration::from_secs(60);

/// What should run, by key.
pub(crate) type Wanted<K, W> = Arc<HashMap<K, W>>;

/// One thing that runs, or waits to be started again.
struct Run<W> {
    declared: W,
    stop: CancellationToken,
    started: Instant,
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running(Id),
    RestartAt(Instant),
}

/// Keeps running what is declared, until `stop`. `start` makes one run of a declaration, which ends soon after the
/// token it gets is cancelled.
pub(crate) async fn supervise<K, W, F, R>(
    mut wanted: watch::Receiver<Wanted<K, W>>,
    mut start: F,
    mut rng: impl Rng,
    stop: CancellationToken,
) where
    K: Clone + Display + Eq + Hash,
    W: Clone + PartialEq,
    F: FnMut(&K, &W, CancellationToken) -> R,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut runs: HashMap<K, Run<W>> = HashMap::new();
    let mut set: JoinSet<anyhow::Result<()>> = JoinSet::new();
    loop {
        let declared = wanted.borrow_and_update().clone();
        reconcile(&declared, &mut runs);
        let now = Instant::now();
        for (key, run) in &mut runs {
            if matches!(run.state, State::RestartAt(at) if at <= now) {
                let task = set.spawn(start(key, &run.declared, run.stop.clone()));
                run.state = State::Running(task.id());
                run.started = now;
            }
        }
        let next = runs.values().filter_map(|run| match run.state {
            State::RestartAt(at) => Some(at),
            State::Running(_) => None,
        });
        let next = next.min();
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = set.join_next_with_id() => after(ended, &declared, &mut runs, &mut rng),
            Ok(()) = wanted.changed() => {}
            () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
    for run in runs.values() {
        run.stop.cancel();
    }
    while let Some(ended) = set.join_next().await {
        if let Ok(Err(error)) = ended {
            warn!("ended with an error while stopping: {error:#}");
        }
    }
}

/// Tells what is no longer wanted, or wanted differently, to stop; adds what is new.
fn reconcile<K: Clone + Display + Eq + Hash, W: Clone + PartialEq>(
    declared: &HashMap<K, W>,
    runs: &mut HashMap<K, Run<W>>,
) {
    runs.retain(|key, run| {
        let is_wanted = declared.get(key) == Some(&run.declared);
        if !is_wanted && !run.stop.is_cancelled() {
            info!(source = %key, "stopping: its declaration changed or went");
            run.stop.cancel();
        }
        is_wanted || matches!(run.state, State::Running(_))
    });
    for (key, wanted) in declared {
        runs.entry(key.clone()).or_insert_with(|| Run {
            declared: wanted.clone(),
            stop: CancellationToken::new(),
            started: Instant::now(),
            failures: 0,
            state: State::RestartAt(Instant::now()),
        });
    }
}

/// Forgets what was asked to end, and schedules anew what was not.
fn after<K: Clone + Display + Eq + Hash, W: Clone + PartialEq>(
    ended: Result<(Id, anyhow::Result<()>), JoinError>,
    declared: &HashMap<K, W>,
    runs: &mut HashMap<K, Run<W>>,
    rng: &mut impl Rng,
) {
    let (id, result) = match ended {
        Ok((id, result)) => (id, result),
        Err(error) => (error.id(), Err(error.into())),
    };
    let Some(key) = runs.iter().find(|(_, run)| run.state == State::Running(id)).map(|(key, _)| key.clone())
    else {
        return;
    };
    if runs.get(&key).is_some_and(|run| run.stop.is_cancelled()) {
        runs.remove(&key);
        // A declaration that changed while the old run was ending is taken up by the next `reconcile`.
        return;
    }
    if !declared.contains_key(&key) {
        runs.remove(&key);
        return;
    }
    let Some(run) = runs.get_mut(&key) else { return };
    run.failures = if run.started.elapsed() >= STEADY { 0 } else { run.failures + 1 };
    let pause = pause(run.failures, rng);
    run.state = State::RestartAt(Instant::now() + pause);
    match result {
        Ok(()) => warn!(source = %key, ?pause, "ended unasked; starting again"),
        Err(error) => warn!(source = %key, ?pause, "{error:#}; starting again"),
    }
}

/// Doubling, with the upper half of each pause left to chance, so that a fleet does not return in step.
fn pause(failures: u32, rng: &mut impl Rng) -> Duration {
    let full = SHORTEST.saturating_mul(1 << failures.min(10)).min(LONGEST);
    full.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests;
