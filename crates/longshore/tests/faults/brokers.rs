//! Which brokers a scenario runs on, and what a test may ask of each.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::chaos::ChaosProxy;
use serde_json::{Value, json};

use crate::stage::Stage;

/// A scenario as one test for each broker: `on!(scenario: rabbitmq, kafka)` makes `scenario::rabbitmq` and so on of
/// `async fn scenario(kind: BrokerKind)`.
macro_rules! on {
    ($scenario:ident: $($broker:ident),+ $(,)?) => {
        mod $scenario {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $broker() {
                    Box::pin(super::$scenario($crate::brokers::named(stringify!($broker)))).await;
                }
            )+
        }
    };
}
pub(crate) use on;

/// The broker of that name.
pub(crate) fn named(name: &str) -> BrokerKind {
    let all = [BrokerKind::Quorum].into_iter().chain(BrokerKind::ALL);
    let word = |kind: &BrokerKind| if *kind == BrokerKind::Quorum { "quorum" } else { kind.as_str() };
    all.into_iter().find(|kind| word(kind) == name).unwrap()
}

/// Messages per second that its server, the gateway and this test manage on a small machine.
pub(crate) const fn rate(kind: BrokerKind) -> u64 {
    match kind {
        BrokerKind::RabbitMq | BrokerKind::Quorum | BrokerKind::Kafka => 300,
        BrokerKind::Sqs | BrokerKind::PubSub => 100,
    }
}

/// A source whose acknowledgements can be kept from the broker while messages come in.
#[derive(Debug)]
pub(crate) struct Held {
    /// None on Kafka, whose clients go to the address that the broker itself names: there the positions are committed
    /// so seldom that what comes in right after a commit is not acknowledged for long.
    proxy: Option<ChaosProxy>,
}

impl Stage {
    /// The source's settings for tests: what a dead process held comes again soon. On Kafka its partitions are given
    /// away after 6 s in place of 45 s; on Pub/Sub its leases end after the least there is, 10 s.
    pub(crate) fn settings(&self) -> Value {
        let mut settings = self.queue.settings();
        match self.queue.kind() {
            BrokerKind::Kafka => settings["session_timeout"] = json!("6s"),
            BrokerKind::PubSub => settings["ack_deadline"] = json!(10),
            _ => {}
        }
        settings
    }

    /// As [`Stage::subscribe`], prepared for [`Held::hold`].
    pub(crate) async fn subscribe_held(&self) -> Held {
        if self.queue.kind() == BrokerKind::Kafka {
            let mut settings = self.settings();
            settings["commit_interval"] = json!("10s");
            self.subscribe_with(&settings).await;
            return Held { proxy: None };
        }
        Held { proxy: Some(self.subscribe_through_proxy().await) }
    }
}

impl Held {
    /// From now on the broker hears nothing of what is done. On Kafka: call it when everything is committed.
    pub(crate) fn hold(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.stall_upstream();
        }
    }

    /// What was kept back is lost; from now on everything passes again.
    pub(crate) fn release(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.cut();
            proxy.restore();
        }
    }
}

/// Of so many messages, how many come in at least while acknowledgements are held: over HTTP, whatever the polls bring
/// that wait already.
pub(crate) const fn incoming(kind: BrokerKind, messages: u64) -> u64 {
    match kind {
        BrokerKind::Sqs => 1,
        _ => messages,
    }
}
