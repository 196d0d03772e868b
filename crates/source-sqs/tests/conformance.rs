//! The suite that every source must pass, against a real SQS server: standard and FIFO queues.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use std::num::NonZeroUsize;

use longshore_source::Context;
use longshore_source::conformance::{self, Harness};
use longshore_source_sqs::{SqsConfig, SqsSource, connect};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::publication::Publication;
use longshore_testkit::sqs::{Sqs, TestQueue};

struct Queues {
    server: Sqs,
    proxy: ChaosProxy,
    is_fifo: bool,
    queue: Option<TestQueue>,
}

impl Queues {
    async fn of(is_fifo: bool) -> Self {
        let server = Sqs::connect().await;
        let proxy = ChaosProxy::start(ChaosProxy::authority(server.endpoint())).await;
        Self { server, proxy, is_fifo, queue: None }
    }

    fn current(&self) -> &TestQueue {
        self.queue.as_ref().expect("the suite begins with a fresh queue")
    }

    async fn finish(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.delete().await;
        }
    }
}

impl Harness for &mut Queues {
    type Source = SqsSource;

    async fn fresh_queue(&mut self) {
        self.finish().await;
        let queue = if self.is_fifo { self.server.fifo_queue().await } else { self.server.queue().await };
        self.queue = Some(queue);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> SqsSource {
        let settings = self.current().settings_at(&self.proxy.url(self.server.endpoint()));
        let config = serde_json::from_value::<SqsConfig>(settings).unwrap();
        let max_in_flight = u32::try_from(max_in_flight.get()).unwrap();
        // The server does not notice a consumer that hangs up, and gives its poll what comes: keep that short.
        let config = SqsConfig { max_in_flight, wait_time: 1, ..config };
        connect(config, Context::new("sqs", self.current().name())).await.unwrap()
    }

    /// In a FIFO queue each in a group of its own: the suite settles them in any order.
    async fn publish(&mut self, bodies: Vec<String>) {
        let grouped = |body: String| {
            let message = Publication::new(body.clone());
            if self.is_fifo { message.key(body.replace(' ', "-")) } else { message }
        };
        self.current().publish(bodies.into_iter().map(grouped)).await;
    }

    async fn publish_in_order(&mut self, bodies: Vec<String>) {
        self.current().publish(bodies.into_iter().map(|body| Publication::new(body).key("one"))).await;
    }

    async fn break_connections(&mut self) -> bool {
        self.proxy.cut();
        true
    }

    async fn left(&mut self) -> u64 {
        self.current().left().await
    }

    fn flow_count(&self) -> usize {
        1_000
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_queue_conforms() {
    let mut queues = Queues::of(false).await;
    conformance::run(&mut queues).await;
    queues.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_conforms() {
    let mut queues = Queues::of(true).await;
    conformance::run(&mut queues).await;
    queues.finish().await;
}
