//! A consumer that only takes and commits.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::PATIENCE;

/// Takes `count` messages of a topic, commits them and leaves the group.
pub(super) fn drain(brokers: &str, group: &str, topic: &str, count: u64) -> KafkaResult<Duration> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    let (mut started, mut last) = (None, Instant::now());
    for _ in 0..count {
        let message = loop {
            match consumer.poll(Duration::from_millis(100)) {
                Some(message) => break message?,
                None if last.elapsed() > PATIENCE => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
                }
                None => {}
            }
        };
        drop(message);
        last = Instant::now();
        started.get_or_insert(last);
    }
    consumer.commit_consumer_state(CommitMode::Sync)?;
    let took = started.map_or(Duration::ZERO, |started| started.elapsed());
    consumer.unsubscribe();
    Ok(took)
}
