//! What is kept of each consumer from run to run: its status, and the mapping that it follows.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_core::{Mapping, ProjectId};
use longshore_pipeline::ingest::{Mappings, fixed};
use longshore_source::{Report, Status};
use tokio::sync::watch;

use super::declared::{Consumer, Declared};

/// Every declared consumer.
#[derive(Clone, Default)]
pub(super) struct Board {
    entries: Arc<Mutex<BTreeMap<Consumer, Entry>>>,
}

struct Entry {
    project: ProjectId,
    name: String,
    kind: &'static str,
    status: Status,
    mapping: watch::Sender<Arc<Mapping>>,
}

impl Entry {
    fn new(declared: &Declared) -> Self {
        let Declared { name, kind, project, .. } = declared;
        let status = Status::new(kind, name);
        let mapping = watch::Sender::new(Arc::clone(&declared.mapping));
        Self { project: *project, name: name.clone(), kind, status, mapping }
    }

    /// Kind and name are labels of the metrics, which a status does not change.
    fn fits(&self, declared: &Declared) -> bool {
        (self.kind, &self.name, self.project) == (declared.kind, &declared.name, declared.project)
    }
}

/// One consumer's status at one moment.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) consumer: Consumer,
    pub(super) project: ProjectId,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) report: Report,
}

impl Board {
    /// Forgets who is not declared any more, takes in who is new, and passes changed mappings on.
    pub(super) fn keep(&self, declared: &HashMap<Consumer, Declared>) {
        let mut entries = self.lock();
        entries.retain(|consumer, entry| declared.get(consumer).is_some_and(|declared| entry.fits(declared)));
        for (consumer, declared) in declared {
            let entry = entries.entry(*consumer).or_insert_with(|| Entry::new(declared));
            entry.mapping.send_if_modified(|mapping| {
                let differs = *mapping != declared.mapping;
                mapping.clone_from(&declared.mapping);
                differs
            });
            if declared.is_disabled {
                entry.status.stopped();
            }
        }
    }

    /// What a consumer that is about to run reports to and follows.
    pub(super) fn entry(&self, consumer: Consumer, declared: &Declared) -> (Status, Mappings) {
        let entries = self.lock();
        match entries.get(&consumer).filter(|entry| entry.fits(declared)) {
            Some(entry) => (entry.status.clone(), entry.mapping.subscribe()),
            // Undeclared a moment ago: it will be told to stop, and nobody asks for its status.
            None => (Status::new(declared.kind, &declared.name), fixed((*declared.mapping).clone())),
        }
    }

    /// All of them.
    pub(super) fn read(&self) -> Vec<Line> {
        let line = |(consumer, entry): (&Consumer, &Entry)| Line {
            consumer: *consumer,
            project: entry.project,
            name: entry.name.clone(),
            kind: entry.kind,
            report: entry.status.report(),
        };
        self.lock().iter().map(line).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Consumer, Entry>> {
        // Nothing in here is left half-changed by a panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
