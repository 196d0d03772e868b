//! Tells a partition that has fallen silent from one that has nothing to say.
//!
//! The broker is asked where the partition ends. If, some looks later, the client has not even learnt of that end, then
//! nothing fetches it: its end is in every answer to a fetch, open transactions or not.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::time::Instant;

use crate::events::Events;
use crate::ledger::Claim;
use crate::rebalance::ANSWER;
use crate::shared::Shared;

#[derive(Debug)]
pub(crate) struct Watchdog {
    patience: Duration,
    /// Per claim: when it was asked for, and the end that was heard.
    suspects: HashMap<Claim, (Instant, u64)>,
}

impl Watchdog {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, suspects: HashMap::new() }
    }

    pub(crate) fn reset(&mut self) {
        self.suspects.clear();
    }

    /// The name of a partition that has stalled, if there is one.
    pub(crate) fn look(&mut self, consumer: &BaseConsumer<Events>, shared: &Shared) -> Option<String> {
        let silent: Vec<_> = shared
            .ledger()
            .partitions()
            .filter(|(_, partition)| {
                partition.rewind_at.is_none() && partition.last_read.elapsed() >= self.patience
            })
            .map(|(claim, partition)| {
                (claim, partition.topic.to_string(), partition.number, partition.known_end())
            })
            .collect();
        self.suspects.retain(|suspect, _| silent.iter().any(|(claim, ..)| claim == suspect));
        for (claim, topic, number, known) in silent {
            match self.suspects.get(&claim) {
                None => {}
                Some((asked, _)) if asked.elapsed() < self.patience => continue,
                Some((_, end)) if has_stalled(*end, known) => return Some(format!("{topic}/{number}")),
                Some(_) => {}
            }
            // Asked once per patience; a broker that is away has not stalled.
            let Ok((_, end)) = consumer.fetch_watermarks(&topic, number, ANSWER) else { return None };
            self.suspects.insert(claim, (Instant::now(), u64::try_from(end).unwrap_or_default()));
        }
        None
    }
}

/// `end` is what the broker said a while ago, `known` what the client has learnt by fetching.
const fn has_stalled(end: u64, known: Option<u64>) -> bool {
    match known {
        Some(known) => known < end,
        None => end > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_end_that_was_not_learnt_is_a_stall() {
        assert!(!has_stalled(7, Some(7)));
        assert!(!has_stalled(7, Some(9)));
        assert!(has_stalled(7, Some(6)));
        assert!(has_stalled(7, None));
        assert!(!has_stalled(0, None));
    }
}
