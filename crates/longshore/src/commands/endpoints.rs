//! `longshore endpoints`: one endpoint by name, looked at and changed by hand.

mod roll;
mod show;

use anyhow::{Context, anyhow, bail};
use longshore_core::ProjectId;
use longshore_core::endpoint::EndpointStatus;
use longshore_store::Store;
use longshore_store::endpoints::EndpointSummary;
use serde_json::{Value, json};

use super::table::table;
use crate::cli::{EndpointsCommand, ListArgs, NamedEndpoint};
use crate::commands::{open_schema, open_store, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Runs one of the commands.
pub(super) async fn run(command: &EndpointsCommand, config: &Config) -> anyhow::Result<()> {
    // Only secrets need the master key.
    let store = match command {
        EndpointsCommand::Show(_) | EndpointsCommand::RollSecret(_) => open_store(config).await?,
        _ => open_schema(config).await?,
    };
    require_schema(&store).await?;
    match command {
        EndpointsCommand::List { project, list: args } => list(&store, project, args).await?,
        EndpointsCommand::Show(named) => show::run(&store, named).await?,
        EndpointsCommand::Pause(named) => set_status(&store, named, EndpointStatus::Paused).await?,
        EndpointsCommand::Activate(named) => set_status(&store, named, EndpointStatus::Active).await?,
        EndpointsCommand::RollSecret(args) => roll::run(&store, args).await?,
    }
    store.close().await;
    Ok(())
}

/// An endpoint and where it is.
struct Found {
    project: ProjectId,
    /// The project's name.
    place: String,
    endpoint: EndpointSummary,
}

impl Found {
    /// For people.
    fn name(&self) -> String {
        format!("endpoint `{}/{}`", self.place, self.endpoint.name)
    }
}

/// The endpoint that is meant: by name, else by id.
async fn find(store: &Store, named: &NamedEndpoint) -> anyhow::Result<Found> {
    let (project, place) = find_project(store, &named.project).await?;
    let endpoints = store.endpoint_summaries(project).await.context("cannot read the endpoints")?;
    let text = &named.endpoint;
    let mut named = endpoints.iter().filter(|endpoint| endpoint.name == *text);
    let found = match (named.next(), named.next()) {
        (Some(_), Some(_)) => bail!("project `{place}` has several endpoints `{text}`; name one by its id"),
        (Some(found), None) => Some(found),
        (None, _) => endpoints.iter().find(|endpoint| endpoint.id.to_string().eq_ignore_ascii_case(text)),
    };
    let endpoint = found.cloned().ok_or_else(|| anyhow!("project `{place}` has no endpoint `{text}`"))?;
    Ok(Found { project, place, endpoint })
}

pub(super) async fn find_project(store: &Store, text: &str) -> anyhow::Result<(ProjectId, String)> {
    let projects = store.directory().await.context("cannot read the projects")?.projects;
    let by_name = projects.iter().find(|(_, name)| name == text);
    let by_id = || projects.iter().find(|(id, _)| id.to_string().eq_ignore_ascii_case(text));
    by_name.or_else(by_id).cloned().ok_or_else(|| anyhow!("no project `{text}`"))
}

async fn list(store: &Store, project: &str, args: &ListArgs) -> anyhow::Result<()> {
    let (project, place) = find_project(store, project).await?;
    let endpoints = store.endpoint_summaries(project).await.context("cannot read the endpoints")?;
    if args.json {
        let lines: Vec<Value> = endpoints.iter().map(as_json).collect();
        say(&serde_json::to_string_pretty(&lines)?);
    } else if endpoints.is_empty() {
        say(&format!("project `{place}` has no endpoints"));
    } else {
        let rows: Vec<_> = endpoints.iter().map(row).collect();
        say(&table(["NAME", "ID", "STATUS", "REASON", "OWNER", "URL"], &rows));
    }
    Ok(())
}

fn row(endpoint: &EndpointSummary) -> [String; 6] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        endpoint.name.clone(),
        endpoint.id.to_string(),
        endpoint.status.to_string(),
        or_none(&endpoint.status_reason),
        or_none(&endpoint.owner_id),
        endpoint.url.clone(),
    ]
}

/// An endpoint for programs, without its keys.
fn as_json(endpoint: &EndpointSummary) -> Value {
    json!({
        "id": endpoint.id.to_string(),
        "name": endpoint.name,
        "is_managed": endpoint.is_managed,
        "url": endpoint.url,
        "owner_id": endpoint.owner_id,
        "status": endpoint.status,
        "status_reason": endpoint.status_reason,
        "status_changed_at": endpoint.status_changed_at.map(|at| at.to_string()),
    })
}

async fn set_status(store: &Store, named: &NamedEndpoint, status: EndpointStatus) -> anyhow::Result<()> {
    let mut found = find(store, named).await?;
    let before = store.set_endpoint_status(found.project, found.endpoint.id, status).await;
    let before = before.context("nothing was changed")?.ok_or_else(|| anyhow!("{} is gone", found.name()))?;
    if named.list.json {
        found = find(store, named).await?;
        say(&serde_json::to_string_pretty(&as_json(&found.endpoint))?);
    } else if before == status {
        say(&format!("{} is {status} already", found.name()));
    } else {
        say(&format!("{}: {before} → {status}", found.name()));
    }
    Ok(())
}
