//! The status of each consumer, kept from run to run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_core::ProjectId;
use longshore_source::{Report, Status};

use super::declared::{Consumer, Declared};

/// Every declared consumer with its status.
#[derive(Clone, Default)]
pub(crate) struct Board {
    entries: Arc<Mutex<BTreeMap<Consumer, Entry>>>,
}

struct Entry {
    project: ProjectId,
    name: String,
    kind: &'static str,
    status: Status,
}

impl Entry {
    fn new(declared: &Declared) -> Self {
        let Declared { name, kind, project, .. } = declared;
        let status = Status::new(kind, name);
        if declared.is_disabled {
            status.stopped();
        }
        Self { project: *project, name: name.clone(), kind, status }
    }

    /// Kind and name are labels of the metrics, which a status does not change.
    fn fits(&self, declared: &Declared) -> bool {
        (self.kind, &self.name, self.project) == (declared.kind, &declared.name, declared.project)
    }
}

/// One consumer's status at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) consumer: Consumer,
    pub(crate) project: ProjectId,
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) report: Report,
}

impl Board {
    /// Forgets who is not declared any more and takes in who is new.
    pub(crate) fn keep(&self, declared: &HashMap<Consumer, Declared>) {
        let mut entries = self.lock();
        entries.retain(|consumer, entry| declared.get(consumer).is_some_and(|declared| entry.fits(declared)));
        for (consumer, declared) in declared {
            entries.entry(*consumer).or_insert_with(|| Entry::new(declared));
        }
    }

    /// The status of a consumer that is about to run.
    pub(crate) fn status(&self, consumer: Consumer, declared: &Declared) -> Status {
        let found =
            self.lock().get(&consumer).filter(|entry| entry.fits(declared)).map(|entry| entry.status.clone());
        // Undeclared a moment ago: it will be told to stop, and nobody asks for its status.
        found.unwrap_or_else(|| Status::new(declared.kind, &declared.name))
    }

    /// All of them.
    pub(crate) fn read(&self) -> Vec<Line> {
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
