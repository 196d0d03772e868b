//! The in-memory source passes the suite that every source must pass, in real and in paused time.

use std::num::NonZeroUsize;
use std::time::Duration;

use longshore_source::conformance::{self, Harness};
use longshore_source::memory::{MemoryBroker, MemorySource, Publication};

const LEASE: Duration = Duration::from_secs(1);

struct Memory {
    broker: MemoryBroker,
}

impl Harness for Memory {
    type Source = MemorySource;

    async fn fresh_queue(&mut self) {
        self.broker = MemoryBroker::new(LEASE);
    }

    async fn connect(&mut self, max_in_flight: NonZeroUsize) -> MemorySource {
        MemorySource::connect(&self.broker, max_in_flight)
    }

    async fn publish(&mut self, bodies: Vec<String>) {
        for body in bodies {
            let message_id = Some(format!("id of {body}"));
            self.broker.publish(Publication { message_id, ..body.into() });
        }
    }

    async fn break_connections(&mut self) -> bool {
        self.broker.crash();
        true
    }

    async fn left(&mut self) -> u64 {
        let stats = self.broker.stats();
        assert_eq!(
            stats.published,
            stats.ready + stats.unacked + stats.acked,
            "a message is unaccounted for"
        );
        stats.ready
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_source_conforms() {
    conformance::run(Memory { broker: MemoryBroker::new(LEASE) }).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_source_conforms_in_paused_time() {
    conformance::run(Memory { broker: MemoryBroker::new(LEASE) }).await;
}
