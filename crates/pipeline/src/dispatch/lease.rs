//! Keeps this process's lease alive; without one, no attempt is started.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::DeliveryQueue;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;

/// How long this process may rely on its claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    valid_until: Instant,
    /// Grows each time the lease was lost: what is held under an older one belongs to others.
    pub(super) generation: u64,
}

impl Lease {
    /// A lease that ends `span` from now.
    pub(super) fn starting_now(span: Duration) -> Self {
        Self { valid_until: Instant::now() + span, generation: 0 }
    }

    /// Whether attempts may be started.
    pub(super) fn is_valid(&self) -> bool {
        Instant::now() < self.valid_until
    }
}

/// Renews the lease four times per `span` until `stop`.
pub(super) async fn keep_alive<Q: DeliveryQueue>(
    queue: Arc<Q>,
    ledger: Ledger,
    lease: watch::Sender<Lease>,
    span: Duration,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(span / 4);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut owner = queue.owner();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // Measured from before the call: the database's clock starts later.
        let asked = Instant::now();
        let renewed = tokio::time::timeout(span, queue.heartbeat(ledger.oldest())).await;
        // The owner tells a loss even when the call failed after it had noticed.
        let before = std::mem::replace(&mut owner, queue.owner());
        if before != owner {
            lease.send_modify(|lease| lease.generation += 1);
        }
        match renewed {
            Ok(Ok(_)) => lease.send_modify(|lease| lease.valid_until = asked + span),
            Ok(Err(error)) => tracing::debug!(%error, "lease not renewed"),
            Err(_) => tracing::debug!("lease not renewed in time"),
        }
        metrics::gauge!("dispatch_lease_is_valid").set(f64::from(u8::from(lease.borrow().is_valid())));
        let (held, bytes) = ledger.held();
        metrics::gauge!("dispatch_held_deliveries").set(held as f64);
        metrics::gauge!("dispatch_held_bytes").set(bytes as f64);
    }
}
