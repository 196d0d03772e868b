//! A consumer without a gateway: what the SQS server and the machine leave of a latency.

use std::sync::Arc;
use std::time::Duration;

use longshore_testkit::broker::{BrokerKind, Queue};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::load::{Load, broadcast};

/// Receive calls that are open at once, as many as two consumers of a source have.
const POLLERS: usize = 4;
/// After the last message was published.
const LAST: Duration = Duration::from_millis(500);

/// A queue of its own with a publisher and a consumer.
pub(crate) struct Bare {
    queue: Arc<Queue>,
    load: Load,
    stop: CancellationToken,
    pollers: Vec<JoinHandle<Vec<(u64, Instant)>>>,
}

impl Bare {
    /// Publishes `rate` messages a second and receives them.
    pub(crate) async fn start(rate: u64) -> Self {
        let queue = Arc::new(Queue::create(BrokerKind::Sqs).await);
        let (load, stop) = (Load::start(&queue, rate, broadcast), CancellationToken::new());
        let pollers = (0..POLLERS).map(|_| tokio::spawn(poll(Arc::clone(&queue), stop.clone()))).collect();
        Self { queue, load, stop, pollers }
    }

    /// Ends it; gives the time from publishing to receipt of every message, sorted.
    pub(crate) async fn stop(self) -> Vec<Duration> {
        let published = self.load.stop().await.confirmed;
        sleep(LAST).await;
        self.stop.cancel();
        let mut latencies = Vec::new();
        for poller in self.pollers {
            let received = poller.await.unwrap();
            latencies.extend(received.into_iter().map(|(n, at)| at.saturating_duration_since(published[&n])));
        }
        self.queue.remove().await;
        assert!(latencies.len() >= published.len(), "{} of {} came", latencies.len(), published.len());
        latencies.sort_unstable();
        latencies
    }
}

async fn poll(queue: Arc<Queue>, stop: CancellationToken) -> Vec<(u64, Instant)> {
    let Queue::Sqs(queue) = &*queue else { unreachable!("it is a queue of SQS") };
    let mut received = Vec::new();
    while !stop.is_cancelled() {
        let bodies = queue.take_and_delete().await;
        let at = Instant::now();
        let number = |body: String| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            body["data"]["n"].as_u64().unwrap()
        };
        received.extend(bodies.into_iter().map(|body| (number(body), at)));
    }
    received
}
