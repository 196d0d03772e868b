//! The suite that every source must pass, against a real RabbitMQ: classic and quorum queues.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

mod support;

use std::num::NonZeroUsize;

use longshore_source::conformance::{self, Harness};
use longshore_source_rabbitmq::{RabbitMqConfig, RabbitMqSource};
use support::{Broker, Wire, connect, unique};

struct Queues {
    broker: Broker,
    wire: Wire,
    kind: &'static str,
    queue: Option<String>,
}

impl Queues {
    async fn of(kind: &'static str) -> Self {
        Self { broker: Broker::connect().await, wire: Wire::start().await, kind, queue: None }
    }

    fn name(&self) -> &str {
        self.queue.as_deref().expect("the suite begins with a fresh queue")
    }

    async fn finish(&mut self) {
        if let Some(queue) = self.queue.take() {
            self.broker.delete(&queue).await;
        }
    }
}

impl Harness for &mut Queues {
    type Source = RabbitMqSource;

    async fn fresh_queue(&mut self) {
        self.finish().await;
        let queue = unique("conformance");
        self.broker.declare(&queue, self.kind).await;
        self.queue = Some(queue);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> RabbitMqSource {
        let prefetch = u16::try_from(max_in_flight.get()).unwrap();
        connect(RabbitMqConfig { prefetch, ..self.wire.config(self.name()) }).await.unwrap()
    }

    async fn publish(&mut self, bodies: Vec<String>) {
        self.broker.publish(self.name(), bodies).await;
    }

    async fn break_connections(&mut self) -> bool {
        self.wire.cut();
        true
    }

    async fn left(&mut self) -> u64 {
        self.broker.settled(self.name()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classic_queue_conforms() {
    let mut queues = Queues::of("classic").await;
    conformance::run(&mut queues).await;
    queues.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_conforms() {
    let mut queues = Queues::of("quorum").await;
    conformance::run(&mut queues).await;
    queues.finish().await;
}
