//! `longshore events`: events as they are stored.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use longshore_core::{Clock, EventId, ProjectId, SystemClock, Timestamp};
use longshore_store::Store;
use longshore_store::control::{Direction, EventFilter, EventRecord, PageRequest, Sight};
use serde_json::json;

use super::endpoints::find_project;
use crate::cli::{EventsCommand, TailArgs};
use crate::commands::{open_schema, require_schema};
use crate::config::Config;
use crate::failure::say;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// What is looked at again each time: an event's id has the time that its producer gave it, which may be a little ago.
const OVERLAP: Duration = Duration::from_secs(30);
/// Events of one look.
const MOST: u32 = 200;
/// Events that are remembered as shown.
const REMEMBERED: usize = 20_000;

/// Runs one of its commands.
pub(super) async fn run(command: &EventsCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let done = match command {
        EventsCommand::Tail(args) => tail(&store, args).await,
    };
    store.close().await;
    done
}

async fn tail(store: &Store, args: &TailArgs) -> anyhow::Result<()> {
    let (project, _) = find_project(store, &args.project).await?;
    let begun = SystemClock.now().before(args.since);
    let mut shown = VecDeque::new();
    let mut count = 0;
    loop {
        for record in look(store, project, args, begun, &mut shown).await? {
            say(&line(&record, args.json));
            count += 1;
            if args.count.is_some_and(|most| count >= most) {
                return Ok(());
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What has come since the last look, oldest first.
async fn look(
    store: &Store,
    project: ProjectId,
    args: &TailArgs,
    begun: Timestamp,
    shown: &mut VecDeque<EventId>,
) -> anyhow::Result<Vec<EventRecord>> {
    let from = begun.max(SystemClock.now().before(OVERLAP.max(args.since)));
    let filter =
        EventFilter { event_type: args.event_type.clone(), from: Some(from), ..EventFilter::default() };
    let request = PageRequest { limit: MOST, cursor: None, direction: Direction::Next, is_ascending: false };
    let page =
        store.events_page(&Sight::project(project), &filter, &request).await.context("cannot read events")?;
    let is_first = shown.is_empty();
    let mut fresh: Vec<EventRecord> = page.items.into_iter().map(|listed| listed.record).collect();
    fresh.retain(|record| !shown.contains(&record.event.id));
    // Not among the objects that a program reads.
    if fresh.len() == MOST as usize && !is_first && !args.json {
        say(&format!("… more than {MOST} came at once; the last ones:"));
    }
    fresh.reverse();
    shown.extend(fresh.iter().map(|record| record.event.id));
    let surplus = shown.len().saturating_sub(REMEMBERED);
    shown.drain(..surplus);
    Ok(fresh)
}

/// For people: when, what, which, how large; for programs without what it holds.
fn line(record: &EventRecord, json: bool) -> String {
    let event = &record.event;
    if json {
        return json!({
            "uid": event.id.to_string(),
            "event_type": event.event_type,
            "received_at": event.received_at.to_string(),
            "source": record.source_name,
            "idempotency_key": event.idempotency_key,
            "is_duplicate": record.is_duplicate,
            "endpoints": record.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "bytes": event.body.len(),
        })
        .to_string();
    }
    let duplicate = if record.is_duplicate { "  duplicate" } else { "" };
    format!(
        "{}  {}  {}  {} B, to {} endpoints{duplicate}",
        event.received_at,
        event.id,
        event.event_type,
        event.body.len(),
        record.endpoints.len()
    )
}
