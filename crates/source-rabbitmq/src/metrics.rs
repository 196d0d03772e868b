//! What this source counts. Handles are made once, so that counting a message costs one atomic addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use metrics::{Counter, Gauge, Label, counter, gauge};

use crate::config::RabbitMqConfig;

#[derive(Clone)]
pub(crate) struct Meters {
    received: Counter,
    reconnects: Counter,
    acked: Counter,
    requeued: Counter,
    stale: Counter,
    /// Shared by every source with these labels, hence only ever moved by differences.
    in_flight: Gauge,
    /// What this source has added to `in_flight`.
    out: Arc<AtomicU32>,
}

impl Meters {
    pub(crate) fn new(config: &RabbitMqConfig) -> Self {
        let mut labels = vec![Label::from_static_parts("kind", "rabbitmq")];
        if let Some(name) = &config.name {
            labels.push(Label::new("source", name.clone()));
        }
        let settled = |how: &'static str| {
            let mut labels = labels.clone();
            labels.push(Label::from_static_parts("how", how));
            counter!("source_settled_total", labels)
        };
        Self {
            acked: settled("ack"),
            requeued: settled("requeue"),
            stale: settled("stale"),
            received: counter!("source_received_total", labels.clone()),
            reconnects: counter!("source_reconnects_total", labels.clone()),
            in_flight: gauge!("source_in_flight", labels),
            out: Arc::default(),
        }
    }

    /// A connection was made anew.
    pub(crate) fn reconnected(&self) {
        self.reconnects.increment(1);
    }

    /// Messages were handed out.
    pub(crate) fn received(&self, count: usize) {
        let count = narrow(count);
        self.received.increment(count.into());
        self.in_flight.increment(count);
        self.out.fetch_add(count, Ordering::Relaxed);
    }

    /// Messages were acknowledged at the broker.
    pub(crate) fn acked(&self, count: usize) {
        self.settled(&self.acked, count);
    }

    /// Messages were given back to the broker.
    pub(crate) fn requeued(&self, count: usize) {
        self.settled(&self.requeued, count);
    }

    /// Messages were settled after their connection was gone: the broker delivers them again.
    pub(crate) fn stale(&self, count: usize) {
        self.settled(&self.stale, count);
    }

    /// The source has ended: what it still had out is nobody's any more.
    pub(crate) fn ended(&self) {
        self.in_flight.decrement(self.out.swap(0, Ordering::Relaxed));
    }

    fn settled(&self, how: &Counter, count: usize) {
        let count = narrow(count);
        how.increment(count.into());
        self.in_flight.decrement(count);
        self.out.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Far fewer than four billion messages are out at once.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
