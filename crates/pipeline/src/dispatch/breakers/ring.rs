//! Counts of the last minutes, in a few buckets.

use std::time::Duration;

use tokio::time::Instant;

const BUCKETS: usize = 10;

/// Attempts and failures within a window that slides on by a tenth of itself.
#[derive(Debug)]
pub(super) struct Ring {
    width: Duration,
    /// The end of the newest bucket.
    end: Instant,
    newest: usize,
    buckets: [(u32, u32); BUCKETS],
}

impl Ring {
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        let width = (window / BUCKETS as u32).max(Duration::from_millis(1));
        Self { width, end: now + width, newest: 0, buckets: [(0, 0); BUCKETS] }
    }

    /// Counts an attempt.
    pub(super) fn add(&mut self, is_failure: bool, now: Instant) {
        self.turn(now);
        let (requests, failures) = &mut self.buckets[self.newest];
        *requests = requests.saturating_add(1);
        *failures = failures.saturating_add(u32::from(is_failure));
    }

    /// Attempts and failures in the window.
    pub(super) fn sum(&mut self, now: Instant) -> (u32, u32) {
        self.turn(now);
        self.buckets.iter().fold((0, 0), |sum: (u32, u32), bucket| {
            (sum.0.saturating_add(bucket.0), sum.1.saturating_add(bucket.1))
        })
    }

    fn turn(&mut self, now: Instant) {
        if now < self.end {
            return;
        }
        let past = now.duration_since(self.end).as_nanos() / self.width.as_nanos() + 1;
        for _ in 0..past.min(BUCKETS as u128) {
            self.newest = (self.newest + 1) % BUCKETS;
            self.buckets[self.newest] = (0, 0);
        }
        self.end += self.width * u32::try_from(past).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_window_does_not_count() {
        let start = Instant::now();
        let mut ring = Ring::new(10 * SECOND, start);

        ring.add(true, start);
        ring.add(false, start + 5 * SECOND);
        assert_eq!(ring.sum(start + 9 * SECOND), (2, 1));
        assert_eq!(ring.sum(start + 10 * SECOND), (1, 0));
        assert_eq!(ring.sum(start + 15 * SECOND), (0, 0));
        ring.add(true, start + 1_000 * SECOND);
        assert_eq!(ring.sum(start + 1_000 * SECOND), (1, 1));
        assert_eq!(ring.sum(start + 1_011 * SECOND), (0, 0));
    }
}
