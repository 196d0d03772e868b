//! What the client tells: its log, its statistics, its errors. Everything here runs on the reading thread, inside `poll`.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_source::SourceError;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;

use crate::config::Isolation;
use crate::error::explain;
use crate::ledger::Seen;
use crate::shared::Shared;

/// What the reading thread has to see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The topic is another one under the same name.
    Recreated(String),
    /// Where a partition is to be read from is not there.
    OutOfRange(String, i32),
}

/// The context of one consumer.
pub(crate) struct Events {
    pub(crate) shared: Arc<Shared>,
    news: Mutex<Vec<News>>,
    /// The last error, with the client's own words.
    last: Mutex<Option<(KafkaError, String)>>,
    down: AtomicBool,
    /// Whether everything is paused because nobody takes what was read.
    paused: AtomicBool,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            news: Mutex::default(),
            last: Mutex::default(),
            down: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        }
    }

    pub(crate) fn news(&self) -> Vec<News> {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last error that the client reported, sorted.
    pub(crate) fn trouble(&self, doing: &str) -> Option<SourceError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.map(|(error, reason)| explain(&error, doing, &reason))
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// A broker answers.
    pub(crate) fn up(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            self.shared.context.status.reconnected();
            tracing::info!(source.name = self.shared.context.name, "connected again");
        }
    }

    fn tell(&self, news: News) {
        let mut all = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains(&news) {
            all.push(news);
        }
    }
}

impl ClientContext for Events {
    // The event comes only with the mechanism OAUTHBEARER.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: Level, facility: &str, message: &str) {
        let name = &self.shared.context.name;
        match level {
            Level::Debug => {
                if let Some(topic) = recreated(message) {
                    tracing::warn!(source.name = name, topic, "the topic was deleted and created again");
                    self.tell(News::Recreated(topic.to_owned()));
                }
            }
            Level::Info | Level::Notice => tracing::debug!(source.name = name, facility, message, "client"),
            Level::Warning if facility == "OFFSET" && message.contains("offset reset (at ") => {
                if let Some((topic, partition)) = out_of_range(message) {
                    self.tell(News::OutOfRange(topic.to_owned(), partition));
                }
            }
            _ => tracing::warn!(source.name = name, facility, message, "client"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.up();
        }
        let committed_only = self.shared.config.isolation == Isolation::ReadCommitted;
        let mut ledger = self.shared.ledger();
        let mut lag = None;
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                let end = if committed_only { partition.ls_offset } else { partition.hi_offset };
                let seen = Seen {
                    next: partition.next_offset,
                    end,
                    high: partition.hi_offset,
                    fetched: partition.fetchq_cnt,
                };
                if let Some(behind) = ledger.seen(&topic.topic, partition.partition, seen, self.is_paused()) {
                    *lag.get_or_insert(0) += behind;
                }
            }
        }
        drop(ledger);
        self.shared.context.status.lag(lag);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let status = &self.shared.context.status;
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown | Code::Authentication | Code::SSL | Code::Resolve) => {
                self.down.store(true, Ordering::Relaxed);
                status.failing(reason);
            }
            Some(Code::BrokerTransportFailure) => {
                self.down.store(true, Ordering::Relaxed);
                status.connecting();
            }
            _ => {}
        }
        tracing::warn!(source.name = self.shared.context.name, reason, "trouble with a broker");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" says less than why.
        if last.is_none() || error.rdkafka_error_code() != Some(Code::AllBrokersDown) {
            *last = Some((error, reason.to_owned()));
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.shared.runtime.block_on(self.shared.tokens.next());
        token.map_err(|problem| {
            tracing::warn!(source.name = self.shared.context.name, problem, "no token");
            self.shared.context.status.failing(&problem);
            problem.into()
        })
    }
}

/// The topic's name in "Topic orders changed id from … to …" (`rd_kafka_topic_metadata_update`). The first id that is learnt
/// replaces one that is zero. Tests fail if another release says it in other words.
fn recreated(message: &str) -> Option<&str> {
    let (before, ids) = message.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    (!ids.starts_with("AAAAAAAAAAAAAAAAAAAAA")).then_some(topic)
}

/// Topic and partition in "orders [3]: offset reset (at offset 7…" (`rd_kafka_offset_reset`).
fn out_of_range(message: &str) -> Option<(&str, i32)> {
    let (before, _) = message.split_once("]: offset reset (at ")?;
    let (topic, partition) = before.rsplit_once(" [")?;
    let topic = topic.rsplit_once(' ').map_or(topic, |(_, topic)| topic);
    Some((topic, partition.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_words_are_understood() {
        let changed = "[thrd:main]: Topic orders changed id from gfbQe8wLQ0WmRSXUu8x9bw to 1Vb0";
        assert_eq!(recreated(changed), Some("orders"));
        let first = "[thrd:main]: Topic orders changed id from AAAAAAAAAAAAAAAAAAAAAA to gfbQ";
        assert_eq!(recreated(first), None);
        let reset = "[thrd:main]: orders [3]: offset reset (at offset 7 (leader epoch 0), broker 1) to offset \
                     BEGINNING: fetch failed due to requested offset not available on the broker: Broker: Offset \
                     out of range";
        assert_eq!(out_of_range(reset), Some(("orders", 3)));
        assert_eq!(out_of_range("[thrd:main]: something else"), None);
    }
}
