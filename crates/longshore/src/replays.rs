//! What the control plane asks of the sources' and the pipeline's crates: brokers checked, quarantined messages replayed.

use std::collections::HashMap;
use std::time::Duration;

use longshore_api::v1::{
    Answering, Brokers, Control, ReplayOutcome, ReplayedEvents, Replays, advance_operations, advance_retries,
};
use longshore_core::ports::{Replayable, StoreError};
use longshore_core::{Clock, EventId, IdGenerator, Mapping, ProjectId, QuarantineId, SourceId, SystemClock};
use longshore_pipeline::ingest::fixed;
use longshore_pipeline::ingest::replay::{Replayed, deliver_anew, replay};
use longshore_store::Store;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::commands::Names;
use crate::config::Config;
use crate::sources::Broker;

/// Between two looks for work on quarantined messages that was asked for.
const LOOK: Duration = Duration::from_millis(500);

/// The brokers that are built in.
pub(crate) struct BuiltIn;

impl Brokers for BuiltIn {
    fn parse(&self, kind: &str, settings: &Value) -> Result<(), String> {
        Broker::parse(kind, Some(settings)).map(drop)
    }

    fn check<'a>(&'a self, kind: &'a str, settings: &'a Value) -> Answering<'a, Result<Vec<String>, String>> {
        Box::pin(async move { Broker::parse(kind, Some(settings))?.check().await })
    }
}

/// Replays over the control plane's connections.
pub(crate) struct Replayer {
    pub(crate) store: Store,
    /// For the sources that the configuration's file declares.
    pub(crate) config: Config,
    /// Ids that nobody else makes.
    pub(crate) ids: IdGenerator,
}

impl Replayer {
    pub(crate) fn new(store: Store, config: Config) -> Self {
        Self { store, config, ids: IdGenerator::new(SystemClock.now(), StdRng::from_os_rng()) }
    }

    async fn run(
        &self,
        project: ProjectId,
        ids: &[QuarantineId],
        mapping: Option<&Mapping>,
    ) -> Result<Vec<(QuarantineId, ReplayOutcome)>, StoreError> {
        let names = Names::load(&self.store, &self.config).await;
        let names = names.map_err(|error| StoreError::Unavailable(format!("{error:#}")))?;
        // What the ids of messages that their sources delivered again depend on.
        self.store.learn_floor().await?;
        let mut outcomes: HashMap<QuarantineId, ReplayOutcome> = HashMap::new();
        let mut by_source: Vec<(SourceId, Vec<Replayable>)> = Vec::new();
        let found = self.store.replayable(ids).await?;
        for message in found.into_iter().filter(|message| message.project == project) {
            match by_source.iter_mut().find(|(source, _)| *source == message.source) {
                Some((_, messages)) => messages.push(message),
                None => by_source.push((message.source, vec![message])),
            }
        }
        for (source, messages) in by_source {
            match names.origin(source) {
                Ok(mut origin) => {
                    if let Some(mapping) = mapping {
                        origin.mapping = fixed(mapping.clone());
                    }
                    let told = |id, became| drop(outcomes.insert(id, outcome(became)));
                    replay(&self.store, &origin, &names.rules, messages, &self.ids, &SystemClock, told)
                        .await?;
                }
                Err(problem) => {
                    let left_out =
                        |message: Replayable| (message.id, ReplayOutcome::LeftOut(problem.to_string()));
                    outcomes.extend(messages.into_iter().map(left_out));
                }
            }
        }
        let rest = "it is gone, was replayed before, or was stored without what a replay needs";
        let outcome = |id: &QuarantineId| {
            let found = outcomes.remove(id);
            (*id, found.unwrap_or_else(|| ReplayOutcome::LeftOut(rest.to_owned())))
        };
        Ok(ids.iter().map(outcome).collect())
    }
}

impl Replayer {
    /// Delivers what is stored anew, with the configuration of this moment.
    async fn run_events(&self, project: ProjectId, ids: &[EventId]) -> Result<ReplayedEvents, StoreError> {
        let order: HashMap<EventId, usize> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let config = self.store.load_config().await?;
        let (mut made, mut rest) = (HashMap::new(), ids.to_vec());
        while !rest.is_empty() {
            let (mut events, left) = self.store.whole_events(project, &rest).await?;
            events.sort_by_key(|event| order.get(&event.id).copied());
            let news = deliver_anew(events, &config.snapshot, &self.ids, SystemClock.now());
            self.store.add_deliveries(&news).await?;
            made.extend(news.iter().map(|new| (new.event.id, new.deliveries.len())));
            rest = left;
        }
        Ok(ids.iter().map(|id| (*id, made.get(id).copied())).collect())
    }
}

impl Replays for Replayer {
    fn replay<'a>(
        &'a self,
        project: ProjectId,
        ids: &'a [QuarantineId],
        mapping: Option<&'a Mapping>,
    ) -> Answering<'a, Result<Vec<(QuarantineId, ReplayOutcome)>, StoreError>> {
        Box::pin(self.run(project, ids, mapping))
    }

    fn replay_events<'a>(
        &'a self,
        project: ProjectId,
        ids: &'a [EventId],
    ) -> Answering<'a, Result<ReplayedEvents, StoreError>> {
        Box::pin(self.run_events(project, ids))
    }
}

fn outcome(became: Replayed) -> ReplayOutcome {
    match became {
        Replayed::Stored(event) => ReplayOutcome::Stored(event),
        Replayed::Duplicate(event) => ReplayOutcome::Duplicate(event),
        Replayed::Known(event) => ReplayOutcome::Known(event),
        Replayed::Faulty { reason, detail } => ReplayOutcome::Faulty(reason, detail),
        Replayed::Gone => ReplayOutcome::LeftOut("somebody else replayed or discarded it".to_owned()),
    }
}

/// Does what is asked for in bulk until `stop`; what is cut off is gone on with by whoever comes next.
pub(crate) async fn work(control: &Control, stop: CancellationToken) {
    loop {
        match stop.run_until_cancelled(advance_operations(control)).await {
            None => return,
            Some(Ok(true)) => continue,
            Some(Ok(false)) => {}
            Some(Err(error)) => debug!(%error, "work on quarantined messages waits"),
        }
        match stop.run_until_cancelled(advance_retries(control)).await {
            None => return,
            Some(Ok(true)) => continue,
            Some(Ok(false)) => {}
            Some(Err(error)) => debug!(%error, "retries of deliveries wait"),
        }
        if stop.run_until_cancelled(sleep(LOOK)).await.is_none() {
            return;
        }
    }
}
