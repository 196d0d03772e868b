//! Keeps a lease alive while somebody still works on the message.
//!
//! For brokers that redeliver by time. It does not know how a lease is extended; the source's closure does.
//! Invariant: when the guard is gone nothing is extended any more, so that a message nobody works on comes back.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Extends a lease for as long as this guard lives; dropping it stops that.
#[derive(Debug)]
#[must_use = "dropping the guard stops the extension"]
pub struct Extension {
    task: JoinHandle<()>,
}

impl Extension {
    /// Runs `extend` each half `lease`, the first time after half a lease. A run that takes longer than that delays
    /// the next one; `extend` handles its own failures. Needs a tokio runtime.
    pub fn start<F, Fut>(lease: Duration, mut extend: F) -> Self
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let half = (lease / 2).max(Duration::from_millis(1));
        let task = tokio::spawn(async move {
            let mut ticks = interval_at(Instant::now() + half, half);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                extend().await;
            }
        });
        Self { task }
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn extends_each_half_lease_and_stops_with_the_guard() {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let guard = Extension::start(Duration::from_secs(10), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async {}
        });

        tokio::time::sleep(Duration::from_millis(4_999)).await;
        assert_eq!(count.load(Ordering::SeqCst), 0);
        tokio::time::sleep(Duration::from_millis(10_002)).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);

        drop(guard);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }
}
