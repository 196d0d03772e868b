//! Tasks with owners, signals, and the stop in two phases with deadlines.
//!
//! On the first signal: the soft token stops `recv` and `claim`. The ingest tasks end their batches and close
//! their sources; then the dispatch tasks are told that nothing fresh will come, and end their attempts; all of
//! that within `shutdown.drain`. Then, or at a second signal, the hard token: what is left gives up its claims and
//! ends within `shutdown.hard`, and the rest is dropped: leases bring it back.
//!
//! Invariants: every task has a name and an owner; a task that ends unasked ends the process with failure, so that
//! the orchestrator starts it anew; no wait is without a bound.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Shutdown;

/// The tokens that tell tasks to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    /// The first signal: take nothing new in.
    pub(crate) soft: CancellationToken,
    /// Every ingest task has ended: nothing fresh will come to the dispatcher any more.
    pub(crate) ingested: CancellationToken,
    /// Give up and end now.
    pub(crate) hard: CancellationToken,
}

/// When a task is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Soon after [`Stop::soft`]: sources, ingest, the public listener.
    Ingest,
    /// Soon after [`Stop::ingested`]: the dispatcher.
    Dispatch,
    /// After [`Stop::hard`] only: leases, the configuration feed, health.
    Support,
}

/// The tasks of a process.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    stop: Stop,
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, (&'static str, Stage)>,
}

impl Tasks {
    /// The tokens to hand to tasks.
    pub(crate) const fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Starts a task. Ending before its stage's token is a failure of the process.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        stage: Stage,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), (name, stage));
    }

    /// Runs until `signal` resolves or a task ends unasked, then stops everything in order. `signal` is called
    /// again for the second signal; `on_stop` runs once, when stopping begins.
    ///
    /// # Errors
    /// A task failed or ended unasked, or did not end at all.
    pub(crate) async fn run<S, F>(
        mut self,
        limits: &Shutdown,
        mut signal: S,
        on_stop: impl FnOnce(),
    ) -> anyhow::Result<()>
    where
        S: FnMut() -> F,
        F: Future<Output = &'static str>,
    {
        let unasked = tokio::select! {
            name = signal() => {
                info!(signal = name, "stopping; a second signal stops at once");
                None
            }
            ended = self.set.join_next_with_id() => Some(self.unasked(ended)),
        };
        on_stop();
        let drained = tokio::select! {
            result = self.drain(limits.drain) => result,
            name = signal() => {
                warn!(signal = name, "second signal: stopping at once");
                Ok(())
            }
        };
        let cut = self.cut(limits.hard).await;
        match unasked {
            Some(error) => Err(error),
            None => drained.and(cut),
        }
    }

    fn unasked(&mut self, ended: Option<Result<(Id, anyhow::Result<()>), JoinError>>) -> anyhow::Error {
        let error = match ended {
            None => anyhow!("nothing to do: no task was started"),
            Some(ended) => match self.close(ended) {
                (name, Ok(())) => anyhow!("`{name}` ended although nobody asked it to"),
                (name, Err(error)) => error.context(format!("`{name}` failed")),
            },
        };
        error!("{error:#}; stopping");
        error
    }

    /// The first phase. Returns early when every task but the supporting ones has ended.
    async fn drain(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut first_error = Ok(());
        self.stop.soft.cancel();
        for (stage, next) in [(Stage::Ingest, Some(self.stop.ingested.clone())), (Stage::Dispatch, None)] {
            while self.is_running(stage) {
                let Ok(ended) = timeout_at(deadline, self.set.join_next_with_id()).await else {
                    let names = self.running();
                    warn!(tasks = %names, "not drained within `shutdown.drain`; giving the rest back");
                    return first_error;
                };
                self.note(ended, &mut first_error);
            }
            if let Some(next) = next {
                next.cancel();
            }
        }
        first_error
    }

    /// The second phase.
    async fn cut(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut first_error = Ok(());
        self.stop.soft.cancel();
        self.stop.ingested.cancel();
        self.stop.hard.cancel();
        while !self.names.is_empty() {
            let Ok(ended) = timeout_at(deadline, self.set.join_next_with_id()).await else {
                let names = self.running();
                self.set.abort_all();
                bail!("did not end within `shutdown.hard`: {names}");
            };
            self.note(ended, &mut first_error);
        }
        first_error
    }

    fn note(
        &mut self,
        ended: Option<Result<(Id, anyhow::Result<()>), JoinError>>,
        first_error: &mut anyhow::Result<()>,
    ) {
        let Some(ended) = ended else { return self.names.clear() };
        let (name, result) = self.close(ended);
        if let Err(error) = result {
            let error = error.context(format!("`{name}` failed while stopping"));
            error!("{error:#}");
            if first_error.is_ok() {
                *first_error = Err(error);
            }
        }
    }

    fn close(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> (&'static str, anyhow::Result<()>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(anyhow!("{error}"))),
        };
        (self.names.remove(&id).map_or("unknown", |(name, _)| name), result)
    }

    fn is_running(&self, stage: Stage) -> bool {
        self.names.values().any(|(_, of)| *of == stage)
    }

    fn running(&self) -> String {
        let mut names: Vec<_> = self.names.values().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// Waits for SIGTERM, SIGINT or their like.
pub(crate) struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on, so that no signal is missed between two waits.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    /// The next signal's name. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = tokio::signal::ctrl_c() => "SIGINT",
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            "SIGINT"
        }
    }
}

#[cfg(test)]
mod tests;
