//! Which brokers a scenario runs on, and what a test may ask of each.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::chaos::ChaosProxy;

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
    proxy: ChaosProxy,
}

impl Stage {
    /// As [`Stage::subscribe`], prepared for [`Held::hold`].
    pub(crate) async fn subscribe_held(&self) -> Held {
        Held { proxy: self.subscribe_through_proxy().await }
    }
}

impl Held {
    /// From now on the broker hears nothing of what is done.
    pub(crate) fn hold(&self) {
        self.proxy.stall_upstream();
    }

    /// What was kept back is lost; from now on everything passes again.
    pub(crate) fn release(&self) {
        self.proxy.cut();
        self.proxy.restore();
    }
}
