//! Partitions come and go. Everything here runs on the reading thread, inside `poll`.
//!
//! Invariants: a partition that goes is committed as far as it is settled, unless it was lost, for then it belongs to
//! somebody else already; what is settled later commits nothing. One that comes starts where the stored messages
//! end, if that is known and is about this very topic.

use std::collections::HashSet;
use std::time::Duration;

use longshore_source::{NextOffsets, SourceError};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::time::{Instant, timeout};

use crate::config::{GroupProtocol, OffsetReset};
use crate::error::is_commit_to_repeat;
use crate::events::Events;
use crate::ledger::{Commit, Start};

/// How long a question to the broker may take while nothing else goes on.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// Into how many questions that is divided where one may stay without an answer.
const COMMITTED_TRIES: u32 = 10;
/// What brokers and librdkafka take when `session_timeout` is not given.
const SESSION: Duration = Duration::from_secs(45);
/// What stands before a stale watermark in the metadata of a committed offset. Frozen: other releases read it.
const STALE: &str = "longshore stale=";

/// How often the last commit of partitions that go is tried, and how long is waited in between: the group moves, and
/// may refuse it for a moment (librdkafka #3306).
const COMMIT_TRIES: usize = 3;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);

/// A partition by topic and number.
pub(crate) type Place = (String, i32);

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let places = places(list);
        self.shared.rebalances.increment(1);
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(consumer, &places, list);
            let done = if cooperative { consumer.incremental_assign(list) } else { consumer.assign(list) };
            if self.is_paused() {
                // The client forgets that they were paused.
                let _ = consumer.pause(list);
            }
            self.shared.context.status.consuming();
            done
        } else {
            self.revoked(consumer, &places);
            if cooperative { consumer.incremental_unassign(list) } else { consumer.unassign() }
        };
        if let Err(error) = done {
            tracing::error!(source.name = self.shared.context.name, %error, "the client does not take its partitions");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let failed = result.err();
        let mut ledger = self.shared.ledger();
        for element in offsets.elements() {
            let error = failed.clone().or_else(|| element.error().err());
            let Some(error) = error else {
                if let Offset::Offset(next) = element.offset() {
                    ledger.confirmed(element.topic(), element.partition(), next.unsigned_abs());
                }
                continue;
            };
            // It is made again with the next round; if the partition has gone, nobody waits for it.
            ledger.commit_failed(element.topic(), element.partition());
            if !is_commit_to_repeat(&error) {
                tracing::warn!(source.name = self.shared.context.name, %error, "a commit failed");
            }
        }
    }
}

impl Events {
    fn revoked(&self, consumer: &BaseConsumer<Self>, places: &[Place]) {
        let lost = consumer.assignment_lost();
        tracing::info!(
            source.name = self.shared.context.name,
            count = places.len(),
            lost,
            "partitions revoked"
        );
        let places: HashSet<&Place> = places.iter().collect();
        let among = |topic: &str, number: i32| places.contains(&(topic.to_owned(), number));
        if lost {
            self.shared.ledger().revoke(among);
            return;
        }
        self.shared.ledger().withhold(among);
        let deadline = Instant::now() + self.patience();
        while !self.shared.is_to_finish() && self.shared.ledger().is_out(among) {
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                break;
            };
            self.shared.wait(left.min(Duration::from_millis(50)), |ledger| !ledger.is_out(among));
        }
        // From here on, what is settled is too late; only then is the rest committed.
        let commits = self.shared.ledger().revoke(among);
        for _ in 0..COMMIT_TRIES {
            if commit(consumer, &commits, CommitMode::Sync) {
                return;
            }
            std::thread::sleep(COMMIT_PAUSE);
        }
        // Whoever reads them now starts further back, and redeliveries are recognised.
        tracing::warn!(
            source.name = self.shared.context.name,
            "the last positions of partitions that go are not committed"
        );
    }

    /// How long partitions that go wait for what is out of them: others wait for us meanwhile.
    fn patience(&self) -> Duration {
        self.shared.config.session_timeout.unwrap_or(SESSION) / 4
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, places: &[Place], list: &mut TopicPartitionList) {
        tracing::info!(source.name = self.shared.context.name, count = places.len(), "partitions assigned");
        let starts = self.starts(consumer, places);
        let mut ledger = self.shared.ledger();
        for ((topic, number), start) in places.iter().zip(starts) {
            ledger.claim(topic.as_str().into(), *number, start, Instant::now());
            if let Some(next) = start.next.and_then(|next| i64::try_from(next).ok()) {
                let _ = list.set_partition_offset(topic, *number, Offset::Offset(next));
            }
        }
        drop(ledger);
        self.shared.reads(places.iter().map(|(topic, _)| topic.as_str()));
    }

    /// Where each partition is read from.
    fn starts(&self, consumer: &BaseConsumer<Self>, places: &[Place]) -> Vec<Start> {
        if places.is_empty() || self.shared.is_to_finish() {
            return vec![Start::default(); places.len()];
        }
        let stored = self.watermarks();
        let committed = match self.committed(consumer, places) {
            Ok(committed) => committed,
            Err(error) => {
                // The client asks again by itself, and starts at what it is told.
                tracing::warn!(source.name = self.shared.context.name, %error, "the group's positions are not known");
                return vec![Start::default(); places.len()];
            }
        };
        let mut starts = Vec::with_capacity(places.len());
        for (topic, number) in places {
            let watermark = stored.get(&format!("{topic}/{number}")).copied();
            let found = committed.find_partition(topic, *number);
            let start = match found.as_ref().map(|element| (element.offset(), element.metadata())) {
                Some((Offset::Offset(offset), metadata)) => {
                    let stale = metadata.strip_prefix(STALE).and_then(|stale| stale.parse().ok());
                    let committed = u64::try_from(offset).unwrap_or_default();
                    self.resumed(consumer, (topic, *number), committed, watermark, stale)
                }
                // A partition that is new to a topic we read has been written to since it is there.
                _ if self.shared.has_read(topic) => {
                    self.afresh(consumer, (topic, *number), watermark, OffsetReset::Earliest)
                }
                _ => self.afresh(consumer, (topic, *number), watermark, self.shared.config.offset_reset),
            };
            starts.push(start);
        }
        starts
    }

    /// What the group has committed. With KIP-848 a question that was asked under a member's last epoch stays without an
    /// answer, while one that is asked after the next heartbeat has one at once; hence several short ones.
    fn committed(&self, consumer: &BaseConsumer<Self>, places: &[Place]) -> KafkaResult<TopicPartitionList> {
        let tries = match self.shared.config.group_protocol {
            GroupProtocol::Classic => 1,
            GroupProtocol::Consumer => COMMITTED_TRIES,
        };
        let mut outcome = Ok(TopicPartitionList::new());
        for _ in 0..tries {
            let mut wanted = TopicPartitionList::with_capacity(places.len());
            for (topic, number) in places {
                wanted.add_partition(topic, *number);
            }
            outcome = consumer.committed_offsets(wanted, ANSWER / tries);
            if outcome.is_ok() || self.shared.is_to_finish() {
                break;
            }
        }
        outcome
    }

    /// The group has a position. The stored messages may be ahead of it, by what was not committed in time.
    fn resumed(
        &self,
        consumer: &BaseConsumer<Self>,
        (topic, number): (&str, i32),
        committed: u64,
        watermark: Option<u64>,
        stale_watermark: Option<u64>,
    ) -> Start {
        let here = Start { next: Some(committed), commit: false, stale_watermark };
        let ahead = watermark.filter(|ahead| *ahead > committed && Some(*ahead) != stale_watermark);
        let Some(ahead) = ahead else { return here };
        match consumer.fetch_watermarks(topic, number, ANSWER) {
            Ok((low, high)) if (low.max(0) as u64..=high.max(0) as u64).contains(&ahead) => {
                Start { next: Some(ahead), commit: true, stale_watermark }
            }
            _ => here,
        }
    }

    /// The group has no position: it is new, or the topic is. Whatever is stored under this name is about another
    /// topic, and is remembered as such together with the first position.
    pub(crate) fn afresh(
        &self,
        consumer: &BaseConsumer<Self>,
        (topic, number): (&str, i32),
        watermark: Option<u64>,
        reset: OffsetReset,
    ) -> Start {
        let stale_watermark = watermark;
        match consumer.fetch_watermarks(topic, number, ANSWER) {
            Ok(_) if reset == OffsetReset::Error => {
                self.shared.end(Some(SourceError::Misconfigured(format!(
                    "the group has no position in `{topic}/{number}` and `offset_reset` is `error`; set it to \
                     `earliest` or `latest`, or set the group's offsets with Kafka's own tools"
                ))));
                Start { next: None, commit: false, stale_watermark }
            }
            Ok((low, high)) => {
                let next = if reset == OffsetReset::Latest { high } else { low };
                Start { next: u64::try_from(next).ok(), commit: true, stale_watermark }
            }
            Err(_) => Start { next: None, commit: false, stale_watermark },
        }
    }

    /// What the store knows. Without it the group's own positions are good, and redeliveries are recognised.
    pub(crate) fn watermarks(&self) -> NextOffsets {
        let loaded = self
            .shared
            .runtime
            .block_on(async { timeout(ANSWER, self.shared.context.watermarks.load()).await });
        let problem = match loaded {
            Ok(Ok(known)) => return known,
            Ok(Err(problem)) => problem,
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(source.name = self.shared.context.name, problem, "stored positions are not known");
        NextOffsets::new()
    }
}

/// Commits. What fails at once, or when it was waited for, is lost only where nobody can repeat it: for a partition that
/// goes.
pub(crate) fn commit(consumer: &BaseConsumer<Events>, commits: &[Commit], mode: CommitMode) -> bool {
    if commits.is_empty() {
        return true;
    }
    let mut list = TopicPartitionList::with_capacity(commits.len());
    for commit in commits {
        let mut element = list.add_partition(&commit.topic, commit.number);
        let _ = element.set_offset(Offset::Offset(i64::try_from(commit.next).unwrap_or(i64::MAX)));
        if let Some(stale) = commit.stale_watermark {
            element.set_metadata(format!("{STALE}{stale}"));
        }
    }
    let shared = &consumer.context().shared;
    let Err(error) = consumer.commit(&list, mode) else {
        if matches!(mode, CommitMode::Sync) {
            let mut ledger = shared.ledger();
            commits.iter().for_each(|commit| ledger.confirmed(&commit.topic, commit.number, commit.next));
        }
        return true;
    };
    let mut ledger = shared.ledger();
    for commit in commits {
        ledger.commit_failed(&commit.topic, commit.number);
    }
    drop(ledger);
    if is_commit_to_repeat(&error) {
        tracing::debug!(source.name = shared.context.name, %error, "a commit is made again");
    } else {
        tracing::warn!(source.name = shared.context.name, %error, "a commit failed");
    }
    false
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}
