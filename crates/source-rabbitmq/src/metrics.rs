//! What this source counts. Handles are made once, so that counting a message costs one atomic addition.

use metrics::{Counter, Gauge, Label, counter, gauge};

use crate::config::RabbitMqConfig;

#[derive(Clone)]
pub(crate) struct Meters {
    /// Messages handed to the pipeline.
    pub(crate) received: Counter,
    /// Connections that were made anew.
    pub(crate) reconnects: Counter,
    /// Acknowledged at the broker.
    pub(crate) acked: Counter,
    /// Given back to the broker.
    pub(crate) requeued: Counter,
    /// Settled after their connection was gone: the broker delivers them again.
    pub(crate) stale: Counter,
    /// Handed out and not settled at the broker yet.
    pub(crate) in_flight: Gauge,
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
        }
    }
}
