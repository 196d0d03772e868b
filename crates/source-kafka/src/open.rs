//! Connects, authenticates and looks up what is to be read, so that what is wrong is said before anything starts.

use std::sync::Arc;
use std::time::Duration;

use longshore_source::{Context, SourceError};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use regex::Regex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::{AuthType, KafkaConfig, OffsetReset};
use crate::error::explain;
use crate::events::Events;
use crate::properties;
use crate::rebalance::ANSWER;
use crate::shared::Shared;

/// How long brokers may take to answer at all.
const CONNECT: Duration = Duration::from_secs(15);
/// How long news of a topic that was just created may take to reach every broker.
const PROPAGATION: Duration = Duration::from_secs(3);

/// A consumer that is connected and knows its topics, not subscribed yet; and what works but should be changed.
pub(crate) fn open(shared: &Arc<Shared>) -> Result<(BaseConsumer<Events>, Vec<String>), SourceError> {
    let config = &shared.config;
    let consumer: BaseConsumer<Events> = properties::client(config, &shared.context)
        .create_with_context(Events::new(Arc::clone(shared)))
        .map_err(|error| explain(&error, "setting up the client", ""))?;
    let mut warnings = warnings(config);
    match &config.topic_pattern {
        None => {
            let mut first = None;
            for topic in config.named_topics() {
                look_up(&consumer, Some(topic))?;
                first.get_or_insert(topic);
            }
            if let Some(topic) = first {
                look_at_group(&consumer, shared, topic)?;
            }
        }
        Some(pattern) => {
            let topics = look_up(&consumer, None)?;
            let found = Regex::new(&format!("^(?:{pattern})$"))
                .is_ok_and(|pattern| topics.iter().any(|topic| pattern.is_match(topic)));
            if !found {
                warnings.push(format!("no topic matches `{pattern}` yet"));
            }
            if let Some(topic) = topics.first() {
                look_at_group(&consumer, shared, topic)?;
            }
        }
    }
    Ok((consumer, warnings))
}

/// As [`open`], on a thread of its own, and closed again.
pub(crate) async fn check(config: &KafkaConfig) -> Result<Vec<String>, SourceError> {
    config.validate()?;
    let shared = Arc::new(Shared::new(config.clone(), Context::new("kafka", "check")));
    let (said, hears) = oneshot::channel();
    let look = move || {
        let opened = open(&shared);
        let _ = said.send(opened.map(|(consumer, warnings)| {
            drop(consumer);
            warnings
        }));
    };
    std::thread::Builder::new()
        .name("kafka-check".to_owned())
        .spawn(look)
        .map_err(|error| SourceError::Disconnected(format!("no thread: {error}")))?;
    hears.await.unwrap_or_else(|_| Err(SourceError::Disconnected("the check broke off".to_owned())))
}

/// The names of the topics: one that must exist, or all there are.
fn look_up(consumer: &BaseConsumer<Events>, topic: Option<&str>) -> Result<Vec<String>, SourceError> {
    let doing =
        topic.map_or_else(|| "looking up topics".to_owned(), |topic| format!("looking up topic `{topic}`"));
    let deadline = Instant::now() + CONNECT;
    let mut trouble = None;
    let propagated = Instant::now() + PROPAGATION;
    loop {
        // Serves what comes before a connection: tokens, and what is wrong.
        drop(consumer.poll(Duration::from_millis(20)));
        let asked = consumer.fetch_metadata(topic, Duration::from_secs(1));
        let error = match asked {
            Ok(metadata) => {
                let failed = metadata.topics().iter().find_map(|found| {
                    let named = topic == Some(found.name());
                    found.error().filter(|_| named).map(|code| KafkaError::MetadataFetch(code.into()))
                });
                match failed {
                    None => {
                        return Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect());
                    }
                    Some(error) if is_passing(&error) && Instant::now() < propagated => {
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                    Some(error) => return Err(explain(&error, &doing, "")),
                }
            }
            Err(error) => error,
        };
        drop(consumer.poll(Duration::from_millis(20)));
        trouble = consumer.context().trouble(&doing).or(trouble);
        if trouble.as_ref().is_some_and(|trouble| !trouble.is_transient()) || Instant::now() >= deadline {
            return Err(trouble.unwrap_or_else(|| explain(&error, &doing, "")));
        }
    }
}

/// Whether it may only be that not every broker has heard of the topic yet.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::UnknownTopicOrPartition)
    )
}

fn look_at_group(consumer: &BaseConsumer<Events>, shared: &Shared, topic: &str) -> Result<(), SourceError> {
    let group = shared.config.group(&shared.context);
    let doing = format!("looking up group `{group}`");
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(topic, 0);
    match consumer.committed_offsets(wanted, ANSWER) {
        Ok(_) => Ok(()),
        Err(error) => match explain(&error, &doing, "") {
            // Coordinators move; joining waits for them.
            SourceError::Disconnected(_) => Ok(()),
            refused => Err(refused),
        },
    }
}

fn warnings(config: &KafkaConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(auth) = &config.auth
        && !auth.tls
        && !config.tls.as_ref().is_some_and(|tls| tls.enabled)
        && auth.kind != AuthType::Scram
    {
        warnings.push("`auth` without TLS sends credentials that anybody on the way can read".to_owned());
    }
    if config.offset_reset == OffsetReset::Latest {
        warnings.push(
            "`offset_reset = \"latest\"` passes over what was published before the group's first start"
                .to_owned(),
        );
    }
    warnings
}
