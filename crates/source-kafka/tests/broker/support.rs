//! Sources on topics of their own.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use longshore_source::{Context, Message, NextOffsets, Receipt, Source as _, SourceError, Watermarks};
use longshore_source_kafka::{KafkaConfig, KafkaSource};
use longshore_testkit::kafka::TestTopic;
use longshore_testkit::publication::Publication;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

/// Longer than anything that is expected takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The settings of a topic's source, with others over them.
pub(crate) fn config(topic: &TestTopic, over: Value) -> KafkaConfig {
    let mut settings = topic.settings();
    if let (Some(settings), Value::Object(over)) = (settings.as_object_mut(), over) {
        settings.extend(over);
        settings.retain(|_, value| !value.is_null());
    }
    serde_json::from_value(settings).unwrap()
}

pub(crate) async fn connect(config: KafkaConfig) -> Result<KafkaSource, SourceError> {
    longshore_source_kafka::connect(config, Context::new("kafka", "orders")).await
}

pub(crate) async fn source(topic: &TestTopic, over: Value) -> KafkaSource {
    connect(config(topic, over)).await.unwrap()
}

pub(crate) fn bodies(range: std::ops::Range<usize>) -> impl Iterator<Item = Publication> {
    range.map(|number| Publication::new(format!("{number}")))
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}

pub(crate) fn numbers(messages: &[Message]) -> Vec<usize> {
    messages.iter().map(|message| text(message).parse().unwrap()).collect()
}

pub(crate) fn many() -> NonZeroUsize {
    NonZeroUsize::new(1_000).unwrap()
}

/// Receives exactly `count` messages.
pub(crate) async fn take(source: &mut KafkaSource, count: usize) -> Vec<Message> {
    let mut taken: Vec<Message> = Vec::new();
    while taken.len() < count {
        let max = NonZeroUsize::new(count - taken.len()).unwrap();
        let more = timeout(LIMIT, source.recv(max)).await;
        taken.extend(more.unwrap_or_else(|_| panic!("only {} of {count} came", taken.len())).unwrap());
    }
    taken
}

pub(crate) fn ack(messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

/// Whether nothing comes for half a second.
pub(crate) async fn is_quiet(source: &mut KafkaSource) -> bool {
    timeout(Duration::from_millis(500), source.recv(NonZeroUsize::MIN)).await.is_err()
}

pub(crate) async fn close(source: KafkaSource) {
    source.close(LIMIT).await.unwrap();
}

/// Waits until `look` gives something.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until a group has committed these offsets.
pub(crate) async fn commits(topic: &TestTopic, offsets: &[Option<i64>]) {
    eventually("the commit", async || (topic.committed(topic.name()).await == offsets).then_some(())).await;
}

/// What the store would know.
#[derive(Clone, Debug)]
pub(crate) struct Stored(Arc<HashMap<String, u64>>);

impl Stored {
    pub(crate) fn context(topic: &TestTopic, partition: i32, next: u64) -> Context {
        let known = HashMap::from([(format!("{}/{partition}", topic.name()), next)]);
        Context { watermarks: Arc::new(Self(Arc::new(known))), ..Context::new("kafka", "orders") }
    }
}

impl Watermarks for Stored {
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(self.0.as_ref().clone())))
    }
}

pub(crate) fn none() -> Value {
    json!({})
}
