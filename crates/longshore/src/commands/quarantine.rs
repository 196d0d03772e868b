//! `longshore quarantine`: messages that could become no event. Looked at, sent again, discarded.

mod names;
mod replay;
mod show;

use std::io::Write;

use anyhow::{Context, bail};
use longshore_core::{Clock, QuarantineId, SystemClock};
use longshore_store::{QuarantineFilter, QuarantineItem, QuarantineKey, Store};

use crate::cli::{QuarantineCommand, QuarantineFilterArgs, QuarantineListArgs, QuarantineSelection};
use crate::commands::{open_schema, open_store, require_schema};
use crate::config::Config;
use crate::failure::say;
pub(crate) use names::Names;

/// Rows read at once.
const PAGE: u32 = 1_000;

/// Runs one of its commands.
pub(super) async fn run(command: QuarantineCommand, config: Config) -> anyhow::Result<()> {
    // Only a replay reads what is sealed: endpoints come with their secrets.
    let store = match &command {
        QuarantineCommand::Replay(_) => open_store(&config).await?,
        _ => open_schema(&config).await?,
    };
    require_schema(&store).await?;
    let names = Names::load(&store, &config).await?;
    let done = match command {
        QuarantineCommand::List(args) => list(&store, &names, &args).await,
        QuarantineCommand::Show { id, raw } => show_one(&store, &names, id, raw).await,
        QuarantineCommand::Replay(selection) => {
            let ids = selected(&store, &names, selection).await?;
            replay::run(&store, &names, ids).await
        }
        QuarantineCommand::Discard { selection, yes } => discard(&store, &names, selection, yes).await,
    };
    store.close().await;
    done
}

async fn list(store: &Store, names: &Names, args: &QuarantineListArgs) -> anyhow::Result<()> {
    let mut filter = filter(names, &args.filter)?;
    filter.with_replayed = args.replayed;
    let items = read(store, &filter, Some(args.limit)).await?;
    if args.json {
        for item in &items {
            say(&show::json(item, names));
        }
        return Ok(());
    }
    let counts = store.count_quarantined(&filter).await.context("cannot count")?;
    say(show::table(&items, names).trim_end());
    say(&show::sum(&counts, items.len()));
    Ok(())
}

async fn show_one(store: &Store, names: &Names, id: QuarantineId, raw: bool) -> anyhow::Result<()> {
    let entry = store.quarantine_entry(id).await.context("cannot read the message")?;
    let Some(entry) = entry else {
        bail!("no message {id} in quarantine: it was discarded, or its retention is over");
    };
    if raw {
        let mut out = std::io::stdout().lock();
        return out.write_all(&entry.body).and_then(|()| out.flush()).context("cannot write the body");
    }
    say(show::whole(&entry, names).trim_end());
    Ok(())
}

async fn discard(
    store: &Store,
    names: &Names,
    selection: QuarantineSelection,
    is_sure: bool,
) -> anyhow::Result<()> {
    let is_all = selection.all;
    let ids = selected(store, names, selection).await?;
    if is_all && !is_sure {
        bail!("this deletes {} messages for good; repeat it with `--yes`", ids.len());
    }
    let mut deleted = 0;
    for chunk in ids.chunks(PAGE as usize) {
        let done = store.discard_quarantined(chunk).await;
        deleted += done.with_context(|| format!("stopped after {deleted}; run the command again"))?;
    }
    say(&format!("{deleted} discarded"));
    if !is_all && deleted < ids.len() as u64 {
        bail!("{} of the ids are not in quarantine", ids.len() as u64 - deleted);
    }
    Ok(())
}

/// The messages that are meant, oldest first when they are found by a filter.
async fn selected(
    store: &Store,
    names: &Names,
    selection: QuarantineSelection,
) -> anyhow::Result<Vec<QuarantineId>> {
    if !selection.all {
        return Ok(selection.ids);
    }
    let found = read(store, &filter(names, &selection.filter)?, None).await?;
    Ok(found.iter().rev().map(|item| item.id).collect())
}

/// Newest first; all of them unless there is a limit.
async fn read(
    store: &Store,
    filter: &QuarantineFilter,
    limit: Option<u32>,
) -> anyhow::Result<Vec<QuarantineItem>> {
    let mut items = Vec::new();
    let mut after: Option<QuarantineKey> = None;
    let mut left = limit.unwrap_or(u32::MAX);
    while left > 0 {
        let page = store.quarantined(filter, after, left.min(PAGE)).await.context("cannot list")?;
        left -= u32::try_from(page.items.len()).unwrap_or(left);
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(items)
}

fn filter(names: &Names, args: &QuarantineFilterArgs) -> anyhow::Result<QuarantineFilter> {
    let now = SystemClock.now();
    let project = args.project.as_deref().map(|text| names.project(text)).transpose()?;
    Ok(QuarantineFilter {
        project,
        source: args.source.as_deref().map(|text| names.source(text, project)).transpose()?,
        reason: args.reason.map(|reason| reason.as_str().to_owned()),
        from: args.newer_than.map(|age| now.before(age)),
        until: args.older_than.map(|age| now.before(age)),
        with_replayed: false,
    })
}
