//! The consumers that should run: each worker of each source that the configuration file or the database declares.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use longshore_core::{Mapping, ProjectId, SourceId, ids};
use longshore_store::control::HTTP;
use longshore_store::{Config as Resources, SourceRecord};

use super::broker::Broker;
use super::kind::Kind;
use crate::config::SourceConfig;

/// One consumer of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Consumer {
    pub(crate) source: SourceId,
    pub(crate) worker: u16,
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.source, self.worker)
    }
}

/// What a consumer is made of; a change of any part restarts it, but for the mapping. How many workers there are is no
/// part of it.
#[derive(Clone)]
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) project: ProjectId,
    /// The kind's name, also when it is not to be had.
    pub(crate) kind: &'static str,
    /// Whether it rests.
    pub(crate) is_disabled: bool,
    /// What to connect to, or why there is nothing.
    pub(crate) broker: Result<Broker, String>,
    /// How its messages become events. It changes under the running consumer.
    pub(crate) mapping: Arc<Mapping>,
}

impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        let Self { name, project, kind, is_disabled, broker, mapping: _ } = self;
        (name, project, kind, is_disabled, broker)
            == (&other.name, &other.project, &other.kind, &other.is_disabled, &other.broker)
    }
}

/// A source of the configuration's file, its secrets read. Read once per version of the file: what is on disk now may be
/// the half of a change.
#[derive(Clone, PartialEq)]
pub(crate) struct FileSource {
    name: String,
    /// The tenant: its name or its id.
    project: String,
    workers: u16,
    is_disabled: bool,
    kind: String,
    pub(super) broker: Result<Broker, String>,
    mapping: Arc<Mapping>,
}

impl FileSource {
    pub(crate) fn new(source: &SourceConfig) -> Self {
        Self {
            name: source.name.clone(),
            project: source.project.clone(),
            workers: source.workers,
            is_disabled: source.disabled,
            kind: source.kind.clone(),
            broker: source.broker(),
            mapping: Arc::new(source.mapping.clone()),
        }
    }
}

/// Every consumer, and what is wrong with the rest.
pub(crate) struct Declarations {
    /// Those of disabled sources too: one each, to be shown.
    pub(crate) consumers: HashMap<Consumer, Declared>,
    pub(crate) problems: Vec<String>,
}

/// Joins the two places of declarations.
pub(crate) fn declarations(file: &[FileSource], resources: &Resources) -> Declarations {
    let mut all = Declarations { consumers: HashMap::new(), problems: Vec::new() };
    for source in file {
        let found = resources.snapshot.projects().find(|project| {
            project.name == source.project || project.id.to_string().eq_ignore_ascii_case(&source.project)
        });
        let Some(project) = found.map(|project| project.id) else {
            let FileSource { name, project, .. } = source;
            all.problems.push(format!("source `{name}` is not started: there is no project `{project}`"));
            continue;
        };
        let declared = Declared {
            name: source.name.clone(),
            project,
            kind: kind(&source.kind),
            is_disabled: source.is_disabled,
            broker: source.broker.clone(),
            mapping: Arc::clone(&source.mapping),
        };
        all.add(declared_id(project, &source.name), source.workers, &declared);
    }
    // What receives webhooks has no consumers.
    for record in resources.sources.iter().filter(|record| record.kind != HTTP) {
        let (broker, mapping) = match stored_mapping(record) {
            Ok(mapping) => (stored_broker(record), mapping),
            Err(problem) => (Err(problem), Mapping::default()),
        };
        let declared = Declared {
            name: record.name.clone(),
            project: record.project,
            kind: kind(&record.kind),
            is_disabled: record.is_disabled,
            broker,
            mapping: Arc::new(mapping),
        };
        all.add(record.id, record.workers, &declared);
    }
    all
}

impl Declarations {
    fn add(&mut self, source: SourceId, workers: u16, declared: &Declared) {
        let workers = if declared.is_disabled { 1 } else { workers };
        self.consumers.extend((0..workers).map(|worker| (Consumer { source, worker }, declared.clone())));
    }
}

/// The broker of a source of the database.
///
/// # Errors
/// A sentence without a secret.
pub(crate) fn stored_broker(record: &SourceRecord) -> Result<Broker, String> {
    // The parser's own words could quote a credential.
    serde_json::from_str(record.config.expose())
        .map_err(|_| "its stored settings are not JSON".to_owned())
        .and_then(|settings| Broker::parse(&record.kind, Some(&settings)))
}

fn stored_mapping(record: &SourceRecord) -> Result<Mapping, String> {
    serde_json::from_str(&record.mapping).map_err(|error| format!("its stored mapping: {error}"))
}

/// A kind's one name, for metrics and logs.
pub(crate) fn kind(name: &str) -> &'static str {
    Kind::named(name).map_or("unknown", Kind::as_str)
}

/// The id of a source that is declared in the configuration's file: the same in every process, since event ids
/// are derived from it. Frozen: changing this causes duplicates.
pub(crate) fn declared_id(project: ProjectId, name: &str) -> SourceId {
    SourceId::from_u128(ids::digest(&[b"source", &project.as_u128().to_be_bytes(), name.as_bytes()]))
}

#[cfg(test)]
mod tests;
