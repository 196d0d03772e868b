//! Replays in groups of one source, and the account of it.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use anyhow::{Context, bail};
use longshore_core::ports::Replayable;
use longshore_core::{Clock, IdGenerator, QuarantineId, SourceId, SystemClock};
use longshore_pipeline::ingest::replay::{Replayed, replay};
use longshore_store::Store;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::names::Names;
use super::show::printable;
use crate::failure::say;

/// Messages in memory at once, and between two signs of progress.
const CHUNK: usize = 100;
/// From so many messages on there are signs of progress.
const MANY: usize = 1_000;

/// What became of how many.
#[derive(Default)]
struct Sum {
    stored: usize,
    duplicate: usize,
    known: usize,
    faulty: usize,
    /// Gone, replayed by somebody else, or not to be replayed.
    left_out: usize,
}

impl Sum {
    fn done(&self) -> usize {
        self.stored + self.duplicate + self.known + self.faulty + self.left_out
    }

    fn text(&self) -> String {
        let mut parts = vec![format!("{} stored", self.stored)];
        for (count, what) in [
            (self.duplicate, "stored as duplicates, not delivered"),
            (self.known, "known already"),
            (self.faulty, "still no event"),
            (self.left_out, "left out"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.join(", ")
    }

    fn count(&mut self, id: QuarantineId, became: &Replayed) {
        let told = match became {
            Replayed::Stored(event) => {
                self.stored += 1;
                format!("stored as event {event}")
            }
            Replayed::Duplicate(event) => {
                self.duplicate += 1;
                format!("stored as event {event}, not delivered: its idempotency key was seen before")
            }
            Replayed::Known(event) => {
                self.known += 1;
                event.map_or_else(
                    || "is an event already".to_owned(),
                    |event| format!("is event {event} already"),
                )
            }
            Replayed::Faulty { reason, detail } => {
                self.faulty += 1;
                format!("still no event: {reason}: {}", printable(detail))
            }
            Replayed::Gone => {
                self.left_out += 1;
                "left out: somebody else replayed or discarded it".to_owned()
            }
        };
        say(&format!("{id}  {told}"));
    }
}

/// Replays the messages in their order.
pub(super) async fn run(store: &Store, names: &Names, ids: Vec<QuarantineId>) -> anyhow::Result<()> {
    let mut sum = Sum::default();
    // Ids of events and deliveries that nobody else makes: from the operating system's randomness.
    let generator = IdGenerator::new(SystemClock.now(), StdRng::from_os_rng());
    let mut asked = HashSet::with_capacity(ids.len());
    let ids: Vec<QuarantineId> = ids.into_iter().filter(|id| asked.insert(*id)).collect();
    for chunk in ids.chunks(CHUNK) {
        let done = replay_chunk(store, names, chunk, &generator, &mut sum).await;
        done.with_context(|| {
            format!(
                "stopped ({}); run the command again: nothing that was replayed is replayed twice",
                sum.text()
            )
        })?;
        if ids.len() >= MANY {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{} of {}", sum.done(), ids.len());
        }
    }
    say(&sum.text());
    if sum.faulty + sum.left_out > 0 {
        bail!("{} messages were not replayed; the lines above say why", sum.faulty + sum.left_out);
    }
    Ok(())
}

async fn replay_chunk(
    store: &Store,
    names: &Names,
    ids: &[QuarantineId],
    generator: &IdGenerator,
    sum: &mut Sum,
) -> anyhow::Result<()> {
    let found = store.replayable(ids).await.context("cannot read the messages")?;
    let there: HashSet<QuarantineId> = found.iter().map(|message| message.id).collect();
    for id in ids.iter().filter(|id| !there.contains(id)) {
        sum.left_out += 1;
        say(&format!("{id}  left out: {}", why_not(store, *id).await?));
    }
    let mut by_source: HashMap<SourceId, Vec<Replayable>> = HashMap::new();
    let mut order = Vec::new();
    for message in found {
        let group = by_source.entry(message.source).or_default();
        if group.is_empty() {
            order.push(message.source);
        }
        group.push(message);
    }
    for source in order {
        let messages = by_source.remove(&source).unwrap_or_default();
        match names.origin(source) {
            Ok(origin) => {
                let told = |id, became: Replayed| sum.count(id, &became);
                replay(store, &origin, &names.rules, messages, generator, &SystemClock, told).await?;
            }
            Err(problem) => {
                for message in messages {
                    sum.left_out += 1;
                    say(&format!("{}  left out: {problem}", message.id));
                }
            }
        }
    }
    Ok(())
}

async fn why_not(store: &Store, id: QuarantineId) -> anyhow::Result<String> {
    let entry = store.quarantine_entry(id).await.context("cannot read the message")?;
    Ok(match entry {
        None => "not in quarantine".to_owned(),
        Some(entry) if entry.item.replayed_at.is_some() => match entry.item.event {
            Some(event) => format!("replayed before, as event {event}"),
            None => "replayed before".to_owned(),
        },
        Some(entry) if entry.item.source.is_none() => "it did not come from a source".to_owned(),
        Some(_) => "it was stored by a version that did not keep what a replay needs; publish it again \
                    (`quarantine show ID --raw` has the body)"
            .to_owned(),
    })
}
