//! The thread that polls the client: always, whatever the pipeline does, for a member that does not poll leaves the group.
//!
//! It is the only one that speaks to the client, so that commits, seeks and rebalances need no further order. What it
//! reads waits in the ledger, which is small; when nobody takes it for a second, everything is paused, and polling
//! goes on. Pausing at once would throw away what the client has fetched (librdkafka #2703).

use std::sync::Arc;
use std::time::Duration;

use longshore_source::SourceError;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{GroupProtocol, OffsetReset, Tombstones};
use crate::error::explain;
use crate::events::{Events, News};
use crate::ledger::{Claim, Ledger};
use crate::open::open;
use crate::rebalance::{ANSWER, commit};
use crate::record::Record;
use crate::shared::Shared;
use crate::stall::Watchdog;

/// How long one look for a record waits.
const LOOK: Duration = Duration::from_millis(20);
/// How many records are taken at a time, and how many bytes.
const ROUND: usize = 1_000;
const ROUND_BYTES: usize = 1024 * 1024;
/// What waits to be handed out, at most a round more.
const WAITING: usize = 2_000;
const WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How long nobody has to take anything before everything is paused.
const PRESSURE: Duration = Duration::from_secs(1);
/// How long a member that is to go waits until it is one.
const JOINING: Duration = Duration::from_secs(1);
/// How long the last commit is tried.
const LAST_COMMIT: Duration = Duration::from_secs(3);

pub(crate) struct Reader {
    shared: Arc<Shared>,
    consumer: BaseConsumer<Events>,
    full_since: Option<Instant>,
    committed_at: Instant,
    looked_at: Instant,
    news: Vec<News>,
    watchdog: Watchdog,
}

impl Reader {
    /// Runs until the source is closed, dropped or over. `ready` hears whether it could begin, `over` whether
    /// everything that was settled is committed.
    pub(crate) fn run(
        shared: Arc<Shared>,
        ready: oneshot::Sender<Result<Vec<String>, SourceError>>,
        over: oneshot::Sender<bool>,
    ) {
        // However this ends, whoever waits for a message is told.
        let _ended = Ended(Arc::clone(&shared));
        let consumer = match open(&shared).and_then(|(consumer, warnings)| {
            subscribe(&consumer, &shared)?;
            Ok((consumer, warnings))
        }) {
            Ok((consumer, warnings)) => {
                if ready.send(Ok(warnings)).is_err() {
                    shared.finish();
                }
                consumer
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let now = Instant::now();
        let watchdog = Watchdog::new(shared.config.stall_timeout);
        let mut this = Self {
            shared,
            consumer,
            full_since: None,
            committed_at: now,
            looked_at: now,
            news: Vec::new(),
            watchdog,
        };
        while !this.shared.is_to_finish() && !this.shared.has_ended() {
            this.turn();
        }
        let committed = this.commit_last();
        this.leave();
        let shared = Arc::clone(&this.shared);
        shared.finish();
        // Gives the partitions back and leaves the group; waits for the broker.
        drop(this);
        let _ = over.send(committed);
    }

    /// Everything that is settled, while the group moves or not. Polls meanwhile, for that is how a member learns where
    /// the group has got to.
    fn commit_last(&mut self) -> bool {
        let begun = Instant::now();
        // Who goes away while it is being let in stays in the broker's list, and keeps its partitions for a session.
        while !self.consumer.context().has_joined() && begun.elapsed() < JOINING {
            self.take_round(LOOK);
        }
        while !self.commit(CommitMode::Sync) {
            if begun.elapsed() > LAST_COMMIT {
                return false;
            }
            self.take_round(Duration::from_millis(50));
        }
        true
    }

    /// A cooperative member without partitions says nothing when it closes (librdkafka 2.12 skips the whole rebalance
    /// then): it would stay in the broker's list, and every rebalance would wait for it for as long as a session. A
    /// static member stays on purpose.
    fn leave(&self) {
        let config = &self.shared.config;
        if config.group_instance_id.is_none()
            && config.group_protocol == GroupProtocol::Classic
            && self.consumer.assignment().is_ok_and(|assigned| assigned.count() == 0)
        {
            self.consumer.unsubscribe();
        }
    }

    fn turn(&mut self) {
        self.see_to_news();
        self.rewind();
        if self.committed_at.elapsed() >= self.shared.config.commit_interval {
            self.committed_at = Instant::now();
            self.commit(CommitMode::Async);
        }
        if self.is_full() {
            self.wait_for_room();
        } else {
            self.full_since = None;
            self.pause(false);
            self.read();
        }
        if self.looked_at.elapsed() >= Duration::from_secs(1) {
            self.looked_at = Instant::now();
            self.watch();
        }
    }

    /// While the source is closing nothing more is wanted.
    fn is_full(&self) -> bool {
        let (count, bytes) = self.shared.ledger().waiting();
        // Once paused, it must be worth while to begin again.
        let share = if self.consumer.context().is_paused() { 2 } else { 1 };
        self.shared.is_closing() || count * share >= WAITING || bytes * share >= WAITING_BYTES
    }

    fn wait_for_room(&mut self) {
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= PRESSURE || self.shared.is_closing() {
            self.pause(true);
            // Serves everything but records, which would be put with the others if there were one.
            self.take_round(Duration::from_millis(1));
        }
        let shared = &self.shared;
        let closing = shared.is_closing();
        shared.wait(LOOK, |ledger| !closing && has_room(ledger));
    }

    fn pause(&mut self, pause: bool) {
        let events = self.consumer.context();
        if events.is_paused() == pause {
            return;
        }
        events.set_paused(pause);
        self.shared.ledger().disturb();
        let list = match self.consumer.assignment() {
            Ok(list) => list,
            Err(error) => return tracing::error!(%error, "the client does not tell its partitions"),
        };
        let done = if pause { self.consumer.pause(&list) } else { self.resume(&list) };
        if let Err(error) = done {
            tracing::warn!(source.name = self.shared.context.name, %error, pause, "pausing or resuming failed");
        }
        tracing::debug!(source.name = self.shared.context.name, pause, "paused or resumed");
    }

    /// All but those that wait for a retry.
    fn resume(&self, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let mut free = TopicPartitionList::with_capacity(list.count());
        let ledger = self.shared.ledger();
        for element in list.elements() {
            let held = ledger.find(element.topic(), element.partition()).is_some_and(|(_, found)| found.held);
            if !held {
                free.add_partition(element.topic(), element.partition());
            }
        }
        drop(ledger);
        self.consumer.resume(&free)
    }

    fn read(&mut self) {
        self.take_round(LOOK);
    }

    /// Takes what is there, waiting at most `wait` for the first.
    fn take_round(&mut self, wait: Duration) {
        let mut round = Vec::new();
        let mut bytes = 0;
        let mut next = self.consumer.poll(wait);
        let mut problem = None;
        loop {
            match next {
                None => break,
                Some(Ok(message)) => {
                    bytes += message.payload().map_or(0, <[u8]>::len);
                    round.push(message);
                    if round.len() >= ROUND || bytes >= ROUND_BYTES {
                        break;
                    }
                }
                Some(Err(error)) => {
                    problem = Some(error);
                    break;
                }
            }
            next = self.consumer.poll(Duration::ZERO);
        }
        if !round.is_empty() {
            self.put(&round);
        }
        drop(round);
        if let Some(error) = problem {
            self.trouble(&error);
        }
    }

    fn put(&self, round: &[BorrowedMessage<'_>]) {
        let skip_tombstones = self.shared.config.tombstones == Tombstones::Skip;
        let mut found: Vec<Found<'_>> = Vec::new();
        {
            let ledger = self.shared.ledger();
            for message in round {
                let (topic, number) = (message.topic(), message.partition());
                if !found.iter().any(|found| found.is(topic, number)) {
                    let claim =
                        ledger.find(topic, number).map(|(claim, found)| (claim, Arc::clone(&found.log)));
                    found.push(Found { topic, number, claim });
                }
            }
        }
        // Outside the lock: this is where the work is.
        let mut records = Vec::with_capacity(round.len());
        for message in round {
            let place = found.iter().find(|found| found.is(message.topic(), message.partition()));
            if let Some(Found { topic, claim: Some((claim, log)), .. }) = place {
                records.extend(Record::copy(message, *claim, topic, log, skip_tombstones));
            }
        }
        self.consumer.context().up();
        if self.shared.is_closing() {
            return;
        }
        self.shared.ledger().put(records, Instant::now());
        self.shared.arrived.notify_one();
    }

    fn trouble(&self, error: &KafkaError) {
        let name = &self.shared.context.name;
        let doing = format!("reading as group `{}`", self.shared.config.group(&self.shared.context));
        let events = self.consumer.context();
        let sorted = events.trouble(&doing).unwrap_or_else(|| explain(error, &doing, ""));
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset) => {
                self.shared.out_of_range.increment(1);
                self.shared.end(Some(explain(error, &doing, "")));
            }
            Some(Code::PollExceeded) => {
                tracing::warn!(
                    source.name = name,
                    "this process stood still for too long and left the group; joining again"
                );
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
                let (code, reason) = match self.consumer.client().fatal_error() {
                    Some((code, reason)) => (KafkaError::MessageConsumptionFatal(code), reason),
                    None => (error.clone(), String::new()),
                };
                self.shared.end(Some(explain(&code, &doing, &reason)));
            }
            _ if sorted.is_transient() => {}
            // It may be put right at the broker, and then goes on.
            _ => self.shared.context.status.failing(&sorted.to_string()),
        }
    }

    fn commit(&self, mode: CommitMode) -> bool {
        let mut ledger = self.shared.ledger();
        // What is on its way may still fail; who waits for the answer wants to be sure.
        let commits =
            if matches!(mode, CommitMode::Sync) { ledger.unconfirmed() } else { ledger.uncommitted() };
        drop(ledger);
        commit(&self.consumer, &commits, mode)
    }

    /// Goes back in partitions from which something was given back; until it is time they are not read.
    fn rewind(&self) {
        let mut due = Vec::new();
        let mut hold = Vec::new();
        {
            let ledger = self.shared.ledger();
            for (claim, partition) in ledger.partitions() {
                let Some(at) = partition.rewind_at else { continue };
                let place = (claim, Arc::clone(&partition.topic), partition.number);
                if at <= Instant::now() {
                    due.extend(ledger.rewind_to(claim).map(|offset| (place, offset)));
                } else if !partition.held {
                    hold.push(place);
                }
            }
        }
        for (claim, topic, number) in hold {
            if self.consumer.pause(&one(&topic, number)).is_ok()
                && let Some(partition) = self.shared.ledger().partition_mut(claim)
            {
                partition.held = true;
            }
        }
        for ((claim, topic, number), offset) in due {
            if !self.seek(&topic, number, offset) {
                continue; // with the next turn
            }
            let was_held = self.shared.ledger().partition_mut(claim).is_some_and(|partition| partition.held);
            if was_held && !self.consumer.context().is_paused() {
                let _ = self.consumer.resume(&one(&topic, number));
            }
            self.shared.ledger().rewound(claim);
        }
    }

    fn seek(&self, topic: &str, number: i32, offset: u64) -> bool {
        let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        match self.consumer.seek(topic, number, offset, ANSWER) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(source.name = self.shared.context.name, topic, number, %error, "cannot go back yet");
                false
            }
        }
    }

    fn see_to_news(&mut self) {
        self.news.extend(self.consumer.context().news());
        let todo = std::mem::take(&mut self.news);
        for news in todo {
            let done = match &news {
                News::Recreated(topic) => self.restart(topic, None, OffsetReset::Earliest),
                News::OutOfRange(topic, number) => self.out_of_range(topic, *number),
            };
            if !done {
                self.news.push(news);
            }
        }
    }

    /// Records are gone that were never read. Where reading goes on is said by the settings; that it does is said aloud.
    fn out_of_range(&self, topic: &str, number: i32) -> bool {
        let done = self.restart(topic, Some(number), self.shared.config.offset_reset);
        if done {
            self.shared.out_of_range.increment(1);
            let problem = format!(
                "the group's position in `{topic}/{number}` is not there any more: records may be lost; reading goes on \
                 at the {} record. Is retention too short, or was the topic created again?",
                if self.shared.config.offset_reset == OffsetReset::Latest { "next" } else { "first" }
            );
            tracing::error!(source.name = self.shared.context.name, topic, partition = number, "{problem}");
            self.shared.context.status.failing(&problem);
        }
        done
    }

    /// Begins anew with a topic, or one partition of it: nothing that is known of it holds any more.
    fn restart(&self, topic: &str, only: Option<i32>, reset: OffsetReset) -> bool {
        let places: Vec<(Claim, i32)> = self
            .shared
            .ledger()
            .partitions()
            .filter(|(_, partition)| {
                *partition.topic == *topic && only.is_none_or(|only| partition.number == only)
            })
            .map(|(claim, partition)| (claim, partition.number))
            .collect();
        if places.is_empty() {
            return true;
        }
        let events = self.consumer.context();
        let stored = events.watermarks();
        for (_, number) in places {
            let watermark = stored.get(&format!("{topic}/{number}")).copied();
            let start = events.afresh(&self.consumer, (topic, number), watermark, reset);
            let Some(next) = start.next else { return false };
            let mut ledger = self.shared.ledger();
            ledger.revoke(|name, at| name == topic && at == number);
            let claim = ledger.claim(topic.into(), number, start, Instant::now());
            // Until the client has gone there, nothing it reads is for this claim.
            ledger.restart(claim, next, Instant::now());
        }
        self.commit(CommitMode::Async);
        true
    }

    /// Builds the consumer anew if a partition has records and yields none.
    fn watch(&mut self) {
        if self.consumer.context().is_paused() {
            self.watchdog.reset();
            return;
        }
        let Some(stalled) = self.watchdog.look(&self.consumer, &self.shared) else { return };
        self.shared.stalls.increment(1);
        tracing::error!(
            source.name = self.shared.context.name,
            partition = stalled,
            "a partition has stalled; building the consumer anew"
        );
        let problem =
            format!("partition `{stalled}` has records and yields none; the consumer is built anew");
        self.shared.context.status.failing(&problem);
        match open(&self.shared)
            .and_then(|(consumer, _)| subscribe(&consumer, &self.shared).map(|()| consumer))
        {
            Ok(consumer) => {
                self.commit(CommitMode::Sync);
                drop(std::mem::replace(&mut self.consumer, consumer));
                // What the old one still held is nobody's now.
                self.shared.ledger().revoke(|_, _| true);
                self.watchdog.reset();
                self.shared.context.status.reconnected();
            }
            Err(error) => self.shared.context.status.failing(&error.to_string()),
        }
    }
}

/// Tells that the thread is over, also when it panics.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

/// A partition of which a round has records, and under which claim, if it is ours.
struct Found<'a> {
    topic: &'a str,
    number: i32,
    claim: Option<(Claim, Arc<str>)>,
}

impl Found<'_> {
    fn is(&self, topic: &str, number: i32) -> bool {
        self.number == number && self.topic == topic
    }
}

fn has_room(ledger: &Ledger) -> bool {
    let (count, bytes) = ledger.waiting();
    count * 2 < WAITING && bytes * 2 < WAITING_BYTES
}

fn subscribe(consumer: &BaseConsumer<Events>, shared: &Shared) -> Result<(), SourceError> {
    let topics = shared.config.subscription();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(|error| explain(&error, "subscribing", ""))
}

fn one(topic: &str, number: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, number);
    list
}
