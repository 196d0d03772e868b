//! A clock on tokio's time: it stands still while a test has paused time, and jumps with `advance`.

use longshore_core::{Clock, Timestamp};
use tokio::time::Instant;

/// The time passed on tokio's clock since this one was made, added to a fixed start. Clones show the same time.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: Timestamp,
    made: Instant,
}

impl TokioClock {
    /// A clock that starts at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn new() -> Self {
        Self::starting_at(Timestamp::from_secs(1_767_225_600))
    }

    /// A clock that starts at `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, made: Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.start.after(self.made.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stands_still_until_time_is_advanced() {
        let clock = TokioClock::new();
        let start = clock.now();

        assert_eq!(start.to_string(), "2026-01-01T00:00:00Z");
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().since(start), Duration::from_secs(90));
    }
}
