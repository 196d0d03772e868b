//! Alerts of one channel: taken, told, and not told again for a while.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Project, Snapshot};
use longshore_store::Store;
use longshore_store::notices::{Channel, DueAlert};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::text::Text;

/// Between two looks while nothing is due.
const EVERY: Duration = Duration::from_secs(1);
/// Told at once by this process, on one channel.
const MOST: usize = 8;
/// Longer than telling takes.
const LEASE: Duration = Duration::from_secs(120);
/// No channel takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between the first two attempts; then twice as long each time, up to an hour.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Then it is forgotten; the next of its kind begins anew.
const ATTEMPTS: i16 = 12;

/// A way to tell people.
pub(super) trait Messenger: Clone + Send + Sync + 'static {
    /// Whether the project names anybody to tell.
    fn has_anybody(&self, project: &Project) -> bool;

    /// Tells it to whom the project names.
    fn tell(&self, project: &Arc<Project>, text: &Text) -> impl Future<Output = Result<(), String>> + Send;
}

/// What tells the alerts of a channel.
pub(super) struct Alerts {
    pub(super) store: Store,
    pub(super) config: Receiver<Arc<Snapshot>>,
    pub(super) channel: Channel,
}

impl Alerts {
    /// Runs until `stop`, then waits for what is on its way; `hard` ends the waiting.
    pub(super) async fn run(
        self,
        messenger: impl Messenger,
        stop: &CancellationToken,
        hard: &CancellationToken,
    ) {
        let mut telling: JoinSet<()> = JoinSet::new();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = telling.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "telling an alert ended abnormally");
                    }
                }
                () = tokio::time::sleep_until(next), if telling.len() < MOST => {
                    self.start(&messenger, &mut telling).await;
                    next = Instant::now() + EVERY;
                }
            }
        }
        let rest = async { while telling.join_next().await.is_some() {} };
        let _ = hard.run_until_cancelled(rest).await;
    }

    async fn start(&self, messenger: &impl Messenger, telling: &mut JoinSet<()>) {
        let room = i64::try_from(MOST - telling.len()).unwrap_or(0);
        let due = match self.store.claim_alerts(self.channel, room, LEASE).await {
            Ok(due) => due,
            Err(error) => return debug!(%error, "no alerts taken; trying again"),
        };
        for alert in due {
            let (store, messenger) = (self.store.clone(), messenger.clone());
            let snapshot = Arc::clone(&self.config.borrow());
            telling.spawn(async move {
                let ended = tell(&store, &messenger, &snapshot, &alert).await;
                if let Err(error) = ended {
                    debug!(%error, "what came of an alert is not written; it may be told again");
                }
            });
        }
    }
}

async fn tell(
    store: &Store,
    messenger: &impl Messenger,
    snapshot: &Snapshot,
    alert: &DueAlert,
) -> Result<(), longshore_core::ports::StoreError> {
    let channel = alert.key.channel.as_str();
    let project = snapshot.project(alert.key.project).filter(|project| messenger.has_anybody(project));
    let Some(project) = project else {
        return store.alert_failed(alert, None, "the project names nobody to tell").await;
    };
    let text = Text::of(project, alert);
    let told = tokio::time::timeout(DEADLINE, messenger.tell(project, &text)).await;
    match told.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(()) => {
            metrics::counter!("alerts_told_total", "channel" => channel).increment(1);
            store.alert_told(alert, project.settings.alerts.every.0).await
        }
        Err(problem) => {
            metrics::counter!("alerts_failed_total", "channel" => channel).increment(1);
            let doublings = u32::try_from(alert.attempt.clamp(1, 20) - 1).unwrap_or(0);
            let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
            let pause = (alert.attempt < ATTEMPTS).then_some(pause);
            warn!(
                channel, project = %project.name, kind = %alert.key.kind, attempt = alert.attempt, %problem,
                "an alert could not be told"
            );
            store.alert_failed(alert, pause, &problem).await
        }
    }
}
