//! Projects and sources by name, from both places where sources are declared.

use std::collections::HashMap;

use anyhow::{Context, anyhow, bail};
use longshore_core::{ProjectId, SourceId};
use longshore_pipeline::dispatch::egress::EgressRules;
use longshore_pipeline::ingest::{Origin, fixed};
use longshore_source::Status;
use longshore_store::{NamedSource, Store};

use crate::config::Config;
use crate::sources::declared::{declared_id, kind};

/// Projects and declared sources.
pub(crate) struct Names {
    projects: HashMap<ProjectId, String>,
    sources: HashMap<SourceId, NamedSource>,
    /// Which URLs `dynamic` events may name.
    pub(crate) rules: EgressRules,
}

impl Names {
    /// Reads the database's, and adds the configuration's.
    pub(crate) async fn load(store: &Store, config: &Config) -> anyhow::Result<Self> {
        let directory = store.directory().await.context("cannot read projects and sources")?;
        let mut sources: HashMap<SourceId, NamedSource> =
            directory.sources.into_iter().map(|source| (source.id, source)).collect();
        for declared in &config.sources {
            let found = directory.projects.iter().find(|(id, name)| {
                *name == declared.project || id.to_string().eq_ignore_ascii_case(&declared.project)
            });
            let Some(&(project, _)) = found else { continue };
            let id = declared_id(project, &declared.name);
            let (name, kind) = (declared.name.clone(), declared.kind.clone());
            let mapping = serde_json::to_string(&declared.mapping)?;
            sources.insert(id, NamedSource { id, project, name, kind, mapping });
        }
        let rules = crate::egress::rules(config);
        Ok(Self { projects: directory.projects.into_iter().collect(), sources, rules })
    }

    /// The project of that name or id.
    pub(super) fn project(&self, text: &str) -> anyhow::Result<ProjectId> {
        let by_name = self.projects.iter().find(|(_, name)| *name == text).map(|(id, _)| *id);
        by_name
            .or_else(|| text.parse().ok().filter(|id| self.projects.contains_key(id)))
            .ok_or_else(|| anyhow!("no project `{text}`"))
    }

    /// The source of that name or id. An id need not be declared any more: its messages may still be there.
    pub(super) fn source(&self, text: &str, project: Option<ProjectId>) -> anyhow::Result<SourceId> {
        let of_project = |source: &&NamedSource| project.is_none_or(|project| source.project == project);
        let mut named = self.sources.values().filter(of_project).filter(|source| source.name == text);
        match (named.next(), named.next()) {
            (Some(source), None) => Ok(source.id),
            (Some(_), Some(_)) => {
                bail!("several projects have a source `{text}`; say which with `--project`")
            }
            (None, _) => text.parse().map_err(|_| anyhow!("no source `{text}`")),
        }
    }

    /// A project for people.
    pub(super) fn of_project(&self, id: ProjectId) -> String {
        self.projects.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// A source for people.
    pub(super) fn of_source(&self, id: Option<SourceId>) -> String {
        let Some(id) = id else { return "-".to_owned() };
        self.sources.get(&id).map_or_else(|| id.to_string(), |source| source.name.clone())
    }

    /// What decodes the messages of a source: the one place where a replay learns how a source is declared now.
    pub(crate) fn origin(&self, id: SourceId) -> anyhow::Result<Origin> {
        let source = self.sources.get(&id).ok_or_else(|| {
            anyhow!("its source {id} is not declared any more: nothing says how to decode it")
        })?;
        let kind = kind(&source.kind);
        let status = Status::new(kind, &source.name);
        let mapping = serde_json::from_str(&source.mapping)
            .with_context(|| format!("the mapping of source `{}` cannot be read", source.name))?;
        Ok(Origin { source: Some((id, source.project)), kind, status, mapping: fixed(mapping) })
    }
}
