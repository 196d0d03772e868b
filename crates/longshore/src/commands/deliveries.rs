//! `longshore deliveries`: what ended is tried again.

use anyhow::{Context, anyhow};
use longshore_core::{Clock, DeliveryId, EndpointId, ProjectId, SystemClock};
use longshore_store::Store;
use longshore_store::control::{DeliveryFilter, Direction, PageRequest, Sight};

use super::endpoints::find_project;
use crate::cli::{DeliveriesCommand, RetryArgs};
use crate::commands::{open_schema, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Deliveries that are changed at once.
const STEP: u32 = 500;

/// Runs one of its commands.
pub(super) async fn run(command: &DeliveriesCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_schema(config).await?;
    require_schema(&store).await?;
    let done = match command {
        DeliveriesCommand::Retry(args) => retry(&store, args).await,
    };
    store.close().await;
    done
}

async fn retry(store: &Store, args: &RetryArgs) -> anyhow::Result<()> {
    let (project, place) = find_project(store, &args.project).await?;
    // What ends from now on is not meant, or this would never be done.
    let until = args.to.unwrap_or_else(|| SystemClock.now());
    let filter = DeliveryFilter {
        endpoints: endpoints(store, project, &place, &args.endpoints).await?,
        event: args.event,
        states: args.states.iter().map(|state| state.as_str().to_owned()).collect(),
        event_type: args.event_type.clone(),
        from_us: args.from.map(longshore_core::Timestamp::as_micros),
        until_us: Some(until.as_micros()),
        ..DeliveryFilter::default()
    };
    let mut request =
        PageRequest { limit: STEP, cursor: None, direction: Direction::Next, is_ascending: true };
    let (mut found, mut retried) = (0, 0);
    loop {
        let page = store
            .deliveries_page(&Sight::project(project), &filter, &request)
            .await
            .context("cannot find them")?;
        let ids: Vec<DeliveryId> = page.items.iter().map(|delivery| delivery.id).collect();
        found += ids.len();
        if !args.dry_run {
            let again = store.deliver_again(project, &ids, &args.states).await;
            retried += again.with_context(|| format!("{retried} are tried again, then this failed"))?.len();
        }
        match ids.last() {
            Some(last) if page.has_next => request.cursor = Some(last.as_uuid()),
            _ => break,
        }
    }
    say(&match (args.dry_run, found - retried) {
        (true, _) => format!("{found} would be tried again"),
        (false, 0) => format!("{retried} are tried again"),
        (false, left) => format!(
            "{retried} are tried again; {left} are left alone: their event is gone, or their endpoint is gone or \
             switched off"
        ),
    });
    Ok(())
}

/// Endpoints by name or id.
async fn endpoints(
    store: &Store,
    project: ProjectId,
    place: &str,
    wanted: &[String],
) -> anyhow::Result<Vec<EndpointId>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let known = store.endpoint_summaries(project).await.context("cannot read the endpoints")?;
    let mut ids = Vec::new();
    for text in wanted {
        let before = ids.len();
        let is_meant = |id: EndpointId, name: &str| name == text || id.to_string().eq_ignore_ascii_case(text);
        ids.extend(known.iter().filter(|one| is_meant(one.id, &one.name)).map(|one| one.id));
        if ids.len() == before {
            return Err(anyhow!("project `{place}` has no endpoint `{text}`"));
        }
    }
    Ok(ids)
}
