//! `longshore lanes`: what stopped in an ordered delivery. Looked at, tried again, given up.

use std::fmt::Write;

use anyhow::{Context, anyhow, bail};
use longshore_core::{LaneId, ProjectId};
use longshore_store::{StoppedDelivery, Store};
use serde_json::json;

use crate::cli::{LanesCommand, LanesListArgs};
use crate::commands::{open_schema, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Runs one of its commands.
pub(super) async fn run(command: &LanesCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let done = match command {
        LanesCommand::List(args) => list(&store, args).await,
        LanesCommand::Resume { selection } => resume(&store, &selection.lanes).await,
        LanesCommand::Discard { selection } => discard(&store, &selection.lanes).await,
    };
    store.close().await;
    done
}

async fn list(store: &Store, args: &LanesListArgs) -> anyhow::Result<()> {
    let project = match &args.project {
        Some(text) => Some(project(store, text).await?),
        None => None,
    };
    let stopped = store.stopped_deliveries(project, args.limit).await.context("cannot list")?;
    if args.json {
        stopped.iter().for_each(|delivery| say(&as_json(delivery)));
    } else if stopped.is_empty() {
        say("nothing waits for anybody");
    } else {
        say(table(&stopped).trim_end());
        if stopped.len() == args.limit as usize {
            say(&format!("the first {}; there may be more, see `--limit`", stopped.len()));
        }
    }
    Ok(())
}

async fn resume(store: &Store, lanes: &[LaneId]) -> anyhow::Result<()> {
    let (mut total, mut idle) = (0, Vec::new());
    for lane in lanes {
        let resumed = store.resume_lane(*lane).await.with_context(|| format!("cannot resume {lane}"))?;
        total += resumed;
        idle.extend((resumed == 0).then_some(*lane));
    }
    say(&format!("{total} tried again"));
    refuse_idle(&idle)
}

async fn discard(store: &Store, lanes: &[LaneId]) -> anyhow::Result<()> {
    let (mut total, mut idle) = (0, Vec::new());
    for lane in lanes {
        let ended =
            store.discard_stopped(*lane).await.with_context(|| format!("cannot discard of {lane}"))?;
        total += ended;
        idle.extend((ended == 0).then_some(*lane));
    }
    say(&format!("{total} discarded"));
    refuse_idle(&idle)
}

fn refuse_idle(idle: &[LaneId]) -> anyhow::Result<()> {
    if !idle.is_empty() {
        let lanes: Vec<String> = idle.iter().map(ToString::to_string).collect();
        bail!("nothing waits for anybody in {}; see `longshore lanes list`", lanes.join(", "));
    }
    Ok(())
}

async fn project(store: &Store, text: &str) -> anyhow::Result<ProjectId> {
    let directory = store.directory().await.context("cannot read projects")?;
    let found = directory.projects.iter().find(|(id, name)| name == text || id.to_string() == text);
    found.map(|(id, _)| *id).ok_or_else(|| anyhow!("no project `{text}`"))
}

const fn state(delivery: &StoppedDelivery) -> &'static str {
    if delivery.blocked_at.is_some() { "blocked" } else { "parked" }
}

fn as_json(delivery: &StoppedDelivery) -> String {
    json!({
        "lane": delivery.lane.to_string(),
        "state": state(delivery),
        "delivery": delivery.delivery.to_string(),
        "project": delivery.project.to_string(),
        "endpoint": delivery.endpoint.to_string(),
        "endpoint_name": delivery.endpoint_name,
        "attempts": delivery.attempts,
        "sequence": delivery.sequence,
        "waiting": delivery.waiting,
        "blocked_at": delivery.blocked_at.map(|at| at.to_string()),
    })
    .to_string()
}

/// One line per delivery under a heading.
fn table(stopped: &[StoppedDelivery]) -> String {
    let mut text = format!(
        "{:26}  {:7}  {:26}  {:>8}  {:>8}  {:20}  ENDPOINT\n",
        "LANE", "STATE", "DELIVERY", "ATTEMPTS", "WAITING", "SINCE"
    );
    for delivery in stopped {
        let since = delivery.blocked_at.map_or_else(
            || "-".to_owned(),
            |at| at.to_string().chars().take(19).chain(['Z']).collect::<String>(),
        );
        let endpoint = delivery.endpoint_name.clone().unwrap_or_else(|| delivery.endpoint.to_string());
        let endpoint: String =
            endpoint.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{:26}  {:7}  {:26}  {:>8}  {:>8}  {since:20}  {endpoint}",
            delivery.lane.to_string(),
            state(delivery),
            delivery.delivery.to_string(),
            delivery.attempts,
            delivery.waiting
        );
    }
    text
}
