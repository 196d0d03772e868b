//! Whether this process is alive and ready, as cheap shared state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A beat that is older means that the event loop does not turn.
const BEAT_LIMIT: Duration = Duration::from_secs(15);
/// Postgres may be away that long before this process calls itself unready: restarts of it should not flap
/// the whole fleet.
const DATABASE_GRACE: Duration = Duration::from_secs(5);
/// In [`Inner::database_away_since_ms`]: it answers.
const ANSWERS: u64 = u64::MAX;

/// Why a process is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Reason {
    /// Not everything has started.
    Starting = 1,
    /// Migrations are pending.
    SchemaPending = 2,
    /// Projects, endpoints and subscriptions have not been loaded yet.
    ConfigNotLoaded = 4,
    /// It was told to stop.
    Draining = 8,
    /// Postgres has not answered for some seconds.
    DatabaseAway = 16,
}

impl Reason {
    const ALL: [Self; 5] =
        [Self::Starting, Self::SchemaPending, Self::ConfigNotLoaded, Self::Draining, Self::DatabaseAway];
}

/// The health of this process; clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    reasons: AtomicU8,
    last_beat_ms: AtomicU64,
    database_away_since_ms: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// The health of a process that has just begun: alive, and [`Reason::Starting`].
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            reasons: AtomicU8::new(Reason::Starting as u8),
            last_beat_ms: AtomicU64::new(0),
            database_away_since_ms: AtomicU64::new(ANSWERS),
        }))
    }

    /// Says that the event loop turns. Call it once a second or so from an otherwise idle task.
    pub fn beat(&self) {
        self.0.last_beat_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// Notes a reason not to be ready.
    pub fn set(&self, reason: Reason) {
        self.0.reasons.fetch_or(reason as u8, Ordering::Relaxed);
    }

    /// Takes a reason back.
    pub fn clear(&self, reason: Reason) {
        self.0.reasons.fetch_and(!(reason as u8), Ordering::Relaxed);
    }

    /// Says whether Postgres answered. It counts as away once it has not for some seconds.
    pub fn database(&self, answers: bool) {
        let since = &self.0.database_away_since_ms;
        if answers {
            since.store(ANSWERS, Ordering::Relaxed);
        } else {
            // The first failure in a row is the one that counts; losing the race means that somebody noted it.
            let _ = since.compare_exchange(ANSWERS, self.elapsed_ms(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether the event loop turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_alive_at(self.elapsed_ms())
    }

    /// Why this process is not ready; empty when it is.
    #[must_use]
    pub fn unready(&self) -> Vec<Reason> {
        self.unready_at(self.elapsed_ms())
    }

    fn is_alive_at(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.0.last_beat_ms.load(Ordering::Relaxed)) < millis(BEAT_LIMIT)
    }

    fn unready_at(&self, now_ms: u64) -> Vec<Reason> {
        let mut reasons = self.0.reasons.load(Ordering::Relaxed);
        let away_since = self.0.database_away_since_ms.load(Ordering::Relaxed);
        if away_since != ANSWERS && now_ms.saturating_sub(away_since) >= millis(DATABASE_GRACE) {
            reasons |= Reason::DatabaseAway as u8;
        }
        Reason::ALL.into_iter().filter(|reason| reasons & *reason as u8 != 0).collect()
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.0.started.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_and_go() {
        let health = Health::new();
        assert_eq!(health.unready(), [Reason::Starting]);

        health.set(Reason::Draining);
        health.set(Reason::Draining);
        health.clear(Reason::Starting);

        assert_eq!(health.unready(), [Reason::Draining]);
        health.clear(Reason::Draining);
        assert_eq!(health.unready(), []);
    }

    #[test]
    fn a_short_absence_of_the_database_is_forgiven() {
        let health = Health::new();
        health.clear(Reason::Starting);
        let now = health.elapsed_ms();
        health.database(false);
        let failed = health.0.database_away_since_ms.load(Ordering::Relaxed);
        health.database(false);

        assert_eq!(health.0.database_away_since_ms.load(Ordering::Relaxed), failed);
        assert_eq!(health.unready_at(now), []);
        assert_eq!(health.unready_at(failed + millis(DATABASE_GRACE) - 1), []);
        assert_eq!(health.unready_at(failed + millis(DATABASE_GRACE)), [Reason::DatabaseAway]);
        health.database(true);
        assert_eq!(health.unready_at(u64::MAX), []);
    }

    #[test]
    fn a_stalled_event_loop_is_not_alive() {
        let health = Health::new();
        health.beat();
        let beat = health.0.last_beat_ms.load(Ordering::Relaxed);

        assert!(health.is_alive());
        assert!(health.is_alive_at(beat + millis(BEAT_LIMIT) - 1));
        assert!(!health.is_alive_at(beat + millis(BEAT_LIMIT)));
    }
}
