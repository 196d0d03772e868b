//! The suite that every source must pass, against a server: a plain subscription, and one that counts deliveries and
//! acknowledges exactly once.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use std::num::NonZeroUsize;

use longshore_source::Context;
use longshore_source::conformance::{self, Harness};
use longshore_source_pubsub::{PubSubConfig, PubSubSource};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::publication::Publication;
use longshore_testkit::pubsub::{PubSub, SubscriptionOptions, TestSubscription};

struct Subscriptions {
    server: PubSub,
    wire: ChaosProxy,
    options: SubscriptionOptions,
    current: Option<TestSubscription>,
}

impl Subscriptions {
    async fn of(options: SubscriptionOptions) -> Self {
        let server = PubSub::connect().await;
        let wire = ChaosProxy::start(server.endpoint()).await;
        Self { server, wire, options, current: None }
    }

    fn current(&self) -> &TestSubscription {
        self.current.as_ref().expect("the suite begins with a fresh queue")
    }
}

impl Harness for Subscriptions {
    type Source = PubSubSource;

    async fn fresh_queue(&mut self) {
        if let Some(last) = self.current.take() {
            last.delete().await;
        }
        self.current = Some(self.server.subscription_with(self.options.clone()).await);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> PubSubSource {
        let settings = self.current().settings_at(&self.wire.addr().to_string());
        let config: PubSubConfig = serde_json::from_value(settings).unwrap();
        let max_in_flight = u32::try_from(max_in_flight.get()).unwrap();
        let config = PubSubConfig { max_in_flight, ack_deadline: 10, ..config };
        longshore_source_pubsub::connect(config, Context::new("pubsub", self.current().id())).await.unwrap()
    }

    async fn publish(&mut self, bodies: Vec<String>) {
        self.current().publish(bodies.into_iter().map(Publication::new)).await;
    }

    async fn break_connections(&mut self) -> bool {
        self.wire.cut();
        true
    }

    async fn left(&mut self) -> u64 {
        self.current().left().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_subscription_conforms() {
    conformance::run(Subscriptions::of(SubscriptionOptions::default()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_with_exactly_once_and_dead_letters_conforms() {
    let options =
        SubscriptionOptions { exactly_once: true, dead_letter: Some(100), ..SubscriptionOptions::default() };
    conformance::run(Subscriptions::of(options).await).await;
}
