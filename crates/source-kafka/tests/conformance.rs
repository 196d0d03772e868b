//! The suite that every source must pass, against a real Kafka: one partition, through a wire that can be cut.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use std::num::NonZeroUsize;

use longshore_source::Context;
use longshore_source::conformance::{self, Harness};
use longshore_source_kafka::{KafkaConfig, KafkaSource};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::kafka::{Kafka, TestTopic};
use longshore_testkit::publication::Publication;
use serde_json::json;

struct Topics {
    kafka: Kafka,
    wire: ChaosProxy,
    brokers: String,
    topic: Option<TestTopic>,
}

impl Topics {
    async fn new() -> Self {
        let wanted = "start Kafka with `scripts/servers up DIR kafka`: it has a listener for this";
        let brokers = std::env::var("LONGSHORE_TEST_KAFKA_WIRE_BROKERS").expect(wanted);
        let listener = std::env::var("LONGSHORE_TEST_KAFKA_WIRE_LISTENER").expect(wanted);
        let wire = ChaosProxy::start_at(&brokers, &listener).await;
        Self { kafka: Kafka::connect().await, wire, brokers, topic: None }
    }

    fn topic(&self) -> &TestTopic {
        self.topic.as_ref().expect("the suite begins with a fresh queue")
    }
}

impl Harness for Topics {
    type Source = KafkaSource;

    async fn fresh_queue(&mut self) {
        if let Some(topic) = self.topic.take() {
            topic.delete().await;
        }
        self.topic = Some(self.kafka.topic(1).await);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> KafkaSource {
        let mut settings = self.topic().settings();
        settings["brokers"] = json!([self.brokers]);
        settings["max_in_flight"] = json!(max_in_flight.get());
        let config: KafkaConfig = serde_json::from_value(settings).unwrap();
        longshore_source_kafka::connect(config, Context::new("kafka", self.topic().name())).await.unwrap()
    }

    async fn publish(&mut self, bodies: Vec<String>) {
        self.topic().publish(bodies.into_iter().map(Publication::new)).await;
    }

    async fn break_connections(&mut self) -> bool {
        self.wire.cut();
        true
    }

    async fn left(&mut self) -> u64 {
        self.topic().left(self.topic().name()).await
    }

    fn keeps_a_position(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_conforms() {
    conformance::run(Topics::new().await).await;
}
