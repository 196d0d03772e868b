//! Topics on a real Kafka for tests: a topic of its own for each, publishing, transactions, what a group has left.
//!
//! It touches nothing but topics with unique names. Every topic has a group of the same name, for the source under
//! test.

mod drain;

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::publication::Publication;
use crate::{server_url, unique};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The broker under test.
#[derive(Clone)]
pub struct Kafka {
    brokers: String,
    admin: std::sync::Arc<AdminClient<DefaultClientContext>>,
    producer: FutureProducer,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Kafka {
    /// The broker that `LONGSHORE_TEST_KAFKA_BROKERS` names.
    ///
    /// # Panics
    /// When the variable is not set or the broker does not answer.
    pub async fn connect() -> Self {
        Self::connect_to(&server_url("LONGSHORE_TEST_KAFKA_BROKERS")).await
    }

    /// A broker by its addresses, `host:port,…`, without authentication.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn connect_to(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("client.id", "longshore-testkit");
        let admin = config.create().expect("the settings of an admin client are valid");
        let producer = config
            .clone()
            .set("linger.ms", "2")
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "10000000")
            .set("queue.buffering.max.messages", "1000000")
            .create()
            .expect("the settings of a producer are valid");
        let this = Self { brokers: brokers.to_owned(), admin: std::sync::Arc::new(admin), producer };
        let producer = this.producer.clone();
        let answer = blocking(move || producer.client().fetch_metadata(None, PATIENCE).map(|_| ())).await;
        if let Err(error) = answer {
            panic!("Kafka at `{brokers}` does not answer: {error}");
        }
        this
    }

    /// The addresses, `host:port,…`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates a topic with a name of its own.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn topic(&self, partitions: i32) -> TestTopic {
        self.topic_with(partitions, &[]).await
    }

    /// As [`Self::topic`], with settings of the topic, e.g. `cleanup.policy`.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn topic_with(&self, partitions: i32, settings: &[(&str, &str)]) -> TestTopic {
        self.named_topic(&unique::name("topic"), partitions, settings).await
    }

    /// As [`Self::topic_with`], with a name that the caller has made unique.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub async fn named_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> TestTopic {
        let topic = self.existing(name);
        topic.create(partitions, settings).await;
        topic
    }

    /// A topic that exists already, e.g. after an outage, or that something else creates.
    #[must_use]
    pub fn existing(&self, name: &str) -> TestTopic {
        TestTopic { name: name.to_owned(), kafka: self.clone() }
    }
}

/// A topic on the broker. Lives until [`Self::delete`].
#[derive(Clone, Debug)]
pub struct TestTopic {
    name: String,
    kafka: Kafka,
}

impl TestTopic {
    /// Its name, and that of the group in [`Self::settings`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The broker's addresses, `host:port,…`.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.kafka.brokers
    }

    /// The `kafka` table of a source that reads this topic in a group of its own.
    #[must_use]
    pub fn settings(&self) -> Value {
        json!({
            "brokers": self.kafka.brokers.split(',').collect::<Vec<_>>(),
            "topic_name": self.name,
            "consumer_group_id": self.name,
        })
    }

    /// Publishes and returns when the broker has acknowledged every message. By key: the same key, the same
    /// partition.
    ///
    /// # Panics
    /// When the broker is away or refuses a message.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Publication>) {
        self.send(&self.kafka.producer, None, messages).await;
    }

    /// As [`Self::publish`], to one partition.
    ///
    /// # Panics
    /// When the broker is away or refuses a message.
    pub async fn publish_to(&self, partition: i32, messages: impl IntoIterator<Item = Publication>) {
        self.send(&self.kafka.producer, Some(partition), messages).await;
    }

    /// Publishes in one transaction, which is committed or aborted.
    ///
    /// # Panics
    /// When the broker is away or refuses a step.
    pub async fn publish_transaction(&self, messages: impl IntoIterator<Item = Publication>, commit: bool) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.brokers)
            .set("transactional.id", unique::name("transaction"))
            .create()
            .expect("the settings of a producer are valid");
        let step = |what: &'static str, done: KafkaResult<()>| {
            done.unwrap_or_else(|error| panic!("{what} failed: {error}"));
        };
        let starting = producer.clone();
        let started = blocking(move || {
            starting.init_transactions(PATIENCE)?;
            starting.begin_transaction()
        });
        step("beginning a transaction", started.await);
        self.send(&producer, None, messages).await;
        let ending = producer.clone();
        let ended = blocking(move || {
            if commit { ending.commit_transaction(PATIENCE) } else { ending.abort_transaction(PATIENCE) }
        });
        step("ending a transaction", ended.await);
    }

    /// Gives the topic that many partitions, more than it has.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn grow(&self, partitions: i32) {
        let count = usize::try_from(partitions).expect("a count");
        let more = [NewPartitions::new(&self.name, count)];
        expect_done(self.kafka.admin.create_partitions(&more, &options()).await, "adding partitions");
    }

    /// Deletes the topic, and waits until the broker does not know it any more.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete(&self) {
        expect_done(self.kafka.admin.delete_topics(&[&self.name], &options()).await, "deleting the topic");
    }

    /// Deletes the topic and creates another one of the same name.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn recreate(&self, partitions: i32) {
        self.delete().await;
        self.create(partitions, &[]).await;
    }

    /// Deletes the records of a partition below an offset, as retention does.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn delete_records(&self, partition: i32, below: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(&self.name, partition, Offset::Offset(below))
            .expect("an offset that was published");
        let deleted = self.kafka.admin.delete_records(&offsets, &options()).await;
        drop(deleted.unwrap_or_else(|error| panic!("deleting records failed: {error}")));
    }

    /// The first offset and the next one of a partition.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn bounds(&self, partition: i32) -> (i64, i64) {
        let (producer, name) = (self.kafka.producer.clone(), self.name.clone());
        blocking(move || producer.client().fetch_watermarks(&name, partition, PATIENCE))
            .await
            .unwrap_or_else(|error| panic!("the topic's offsets cannot be asked: {error}"))
    }

    /// Per partition, the offset that a group has committed, if any.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn committed(&self, group: &str) -> Vec<Option<i64>> {
        let (brokers, group, name) = (self.kafka.brokers.clone(), group.to_owned(), self.name.clone());
        blocking(move || committed(&brokers, &group, &name))
            .await
            .unwrap_or_else(|error| panic!("the group's offsets cannot be asked: {error}"))
    }

    /// Commits an offset for a group that has no member.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn commit(&self, group: &str, partition: i32, offset: i64) {
        let (brokers, group, name) = (self.kafka.brokers.clone(), group.to_owned(), self.name.clone());
        let done = blocking(move || {
            let consumer: BaseConsumer = observer(&brokers, &group)?;
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&name, partition, Offset::Offset(offset))?;
            consumer.commit(&offsets, rdkafka::consumer::CommitMode::Sync)
        });
        done.await.unwrap_or_else(|error| panic!("committing failed: {error}"));
    }

    /// How many offsets lie between what a group has committed and the end.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub async fn left(&self, group: &str) -> u64 {
        let mut left = 0;
        for (partition, committed) in self.committed(group).await.into_iter().enumerate() {
            let (low, high) = self.bounds(i32::try_from(partition).expect("few partitions")).await;
            left += high - committed.unwrap_or(low).max(low);
        }
        u64::try_from(left).unwrap_or_else(|_| panic!("a group has committed beyond the end by {}", -left))
    }

    /// Takes and commits that many messages for a group and returns how long it took from the first of them on: what
    /// the broker allows at most.
    ///
    /// # Panics
    /// When the broker is away, or does not have as many.
    pub async fn drain(&self, group: &str, count: u64) -> Duration {
        let (brokers, group, name) = (self.kafka.brokers.clone(), group.to_owned(), self.name.clone());
        blocking(move || drain::drain(&brokers, &group, &name, count))
            .await
            .unwrap_or_else(|error| panic!("draining failed: {error}"))
    }

    async fn create(&self, partitions: i32, settings: &[(&str, &str)]) {
        let begun = Instant::now();
        loop {
            let mut topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
            topic.config.extend_from_slice(settings);
            let created = self.kafka.admin.create_topics([&topic], &options()).await;
            match created.as_deref() {
                // Its predecessor is still being deleted.
                Ok([Err((_, RDKafkaErrorCode::TopicAlreadyExists))]) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => return expect_done(created, "creating the topic"),
            }
        }
    }

    async fn send(
        &self,
        producer: &FutureProducer,
        partition: Option<i32>,
        messages: impl IntoIterator<Item = Publication>,
    ) {
        let mut pending = Vec::new();
        for message in messages {
            pending.push(enqueue(producer, &self.name, partition, &message).await);
        }
        for delivery in pending {
            let delivered = delivery.await.expect("the producer lives until everything is delivered");
            if let Err((error, _)) = delivered {
                panic!("publishing failed: {error}");
            }
        }
    }
}

async fn enqueue(
    producer: &FutureProducer,
    topic: &str,
    partition: Option<i32>,
    message: &Publication,
) -> DeliveryFuture {
    loop {
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (name, value) in &message.headers {
            headers = headers.insert(Header { key: name, value: Some(value) });
        }
        let mut record = FutureRecord::<str, [u8]>::to(topic).headers(headers);
        record.payload = message.body.as_deref();
        record.key = message.key.as_deref();
        record.timestamp = message.timestamp_ms;
        record.partition = partition;
        match producer.send_result(record) {
            Ok(delivery) => return delivery,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err((error, _)) => panic!("publishing failed: {error}"),
        }
    }
}

fn observer(brokers: &str, group: &str) -> KafkaResult<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
}

fn committed(brokers: &str, group: &str, topic: &str) -> KafkaResult<Vec<Option<i64>>> {
    let consumer = observer(brokers, group)?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    let mut wanted = TopicPartitionList::new();
    for partition in 0..count {
        wanted.add_partition(topic, i32::try_from(partition).expect("few partitions"));
    }
    let found = consumer.committed_offsets(wanted, PATIENCE)?;
    let mut offsets = vec![None; count];
    for element in found.elements() {
        if let (Offset::Offset(offset), Ok(at)) = (element.offset(), usize::try_from(element.partition())) {
            offsets[at] = Some(offset);
        }
    }
    Ok(offsets)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn expect_done(outcome: KafkaResult<Vec<Result<String, (String, RDKafkaErrorCode)>>>, doing: &str) {
    match outcome {
        Ok(results) => {
            for result in results {
                result.unwrap_or_else(|(name, code)| panic!("{doing} `{name}` failed: {code}"));
            }
        }
        Err(error) => panic!("{doing} failed: {error}"),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("nothing in there panics")
}
