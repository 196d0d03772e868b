//! The guard against retry storms: retries that fail stay a bounded share of what an endpoint gets.
//!
//! What it is for: an endpoint that comes back from an outage, or is on its knees, meets fresh events and some retries,
//! not thousands of retries at once. What it does not do: count attempts or drop anything; a retry that it holds up
//! waits a little longer. Invariant: over any span, the retries let through that failed are at most the burst, plus
//! `per_second` times the span, plus the share of what was sent otherwise.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use rand::Rng;

use super::RetryShare;
use crate::clock::Timestamp;

/// What an endpoint that was calm may get at once, in seconds of `per_second`.
const BURST_SECONDS: f64 = 5.0;
/// A retry that is held up waits at least this long.
const LEAST_WAIT: Duration = Duration::from_millis(500);
/// And at most this long.
const MOST_WAIT: Duration = Duration::from_secs(300);
/// Endpoints remembered at most; beyond, those at rest are forgotten.
const REMEMBERED: usize = 10_000;

/// Token buckets, one per endpoint that had retries lately. Fresh attempts and retries that succeed put tokens in.
#[derive(Debug)]
pub struct RetryGuard<E> {
    buckets: HashMap<E, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    share: RetryShare,
    tokens: f64,
    /// Retries held up that have not had their time yet, by estimate: what spreads those that follow.
    queue: f64,
    at: Timestamp,
}

impl<E> Default for RetryGuard<E> {
    fn default() -> Self {
        Self { buckets: HashMap::new() }
    }
}

impl<E: Copy + Eq + Hash> RetryGuard<E> {
    /// Asks for a retry; `Some` is how long it has to wait before it asks again.
    pub fn hold_up(
        &mut self,
        endpoint: E,
        share: RetryShare,
        now: Timestamp,
        rng: &mut impl Rng,
    ) -> Option<Duration> {
        if self.buckets.len() >= REMEMBERED && !self.buckets.contains_key(&endpoint) {
            self.buckets.retain(|_, bucket| !bucket.rests(now));
        }
        let bucket = self.buckets.entry(endpoint).or_insert_with(|| Bucket::full(share, now));
        bucket.share = share;
        bucket.refill(now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return None;
        }
        bucket.queue += 1.0;
        // Evenly over the time that those before it need, so that each asks about once.
        let behind = Duration::from_secs_f64(bucket.queue / f64::from(share.per_second));
        let spread = behind.min(MOST_WAIT - LEAST_WAIT).mul_f64(rng.random_range(0.5..=1.0));
        Some(LEAST_WAIT + spread)
    }

    /// Tells of an attempt that was made: a first one, or a retry that succeeded.
    pub fn note(&mut self, endpoint: E, is_retry: bool) {
        // Who has had no retries lately has a full bucket anyway.
        if let Some(bucket) = self.buckets.get_mut(&endpoint) {
            let percent = f64::from(bucket.share.percent);
            let gained = if is_retry { 1.0 } else { percent / (100.0 - percent) };
            bucket.tokens = (bucket.tokens + gained).min(bucket.most());
        }
    }
}

impl Bucket {
    fn full(share: RetryShare, now: Timestamp) -> Self {
        let mut bucket = Self { share, tokens: 0.0, queue: 0.0, at: now };
        bucket.tokens = bucket.most();
        bucket
    }

    fn most(&self) -> f64 {
        (f64::from(self.share.per_second) * BURST_SECONDS).max(1.0)
    }

    fn refill(&mut self, now: Timestamp) {
        let gained = now.since(self.at).as_secs_f64() * f64::from(self.share.per_second);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + gained).min(self.most());
        self.queue = (self.queue - gained).max(0.0);
    }

    /// Whether it would be full by now: then to forget it changes nothing.
    fn rests(&self, now: Timestamp) -> bool {
        now.since(self.at).as_secs_f64() > BURST_SECONDS + self.queue / f64::from(self.share.per_second)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const SHARE: RetryShare = RetryShare { percent: 50, per_second: 20 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// How many of so many retries are let through, one after the other at that instant.
    fn let_through(guard: &mut RetryGuard<u8>, retries: usize, now: Timestamp) -> usize {
        let mut rng = SmallRng::seed_from_u64(1);
        (0..retries).filter(|_| guard.hold_up(1, SHARE, now, &mut rng).is_none()).count()
    }

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut guard = RetryGuard::default();

        assert_eq!(let_through(&mut guard, 1_000, at(0)), 100);
        assert_eq!(let_through(&mut guard, 1_000, at(0)), 0);
        assert_eq!(let_through(&mut guard, 1_000, at(1_000)), 20);
        assert_eq!(let_through(&mut guard, 1_000, at(3_600_000)), 100);
    }

    #[test]
    fn fresh_attempts_earn_their_share_and_successful_retries_cost_nothing() {
        let mut guard = RetryGuard::default();
        let_through(&mut guard, 1_000, at(0));

        (0..50).for_each(|_| guard.note(1, false));
        assert_eq!(
            let_through(&mut guard, 1_000, at(0)),
            50,
            "at 50 percent, one retry for each fresh attempt"
        );
        (0..10).for_each(|_| guard.note(1, true));
        assert_eq!(let_through(&mut guard, 1_000, at(0)), 10);
        (0..1_000).for_each(|_| guard.note(1, false));
        assert_eq!(let_through(&mut guard, 1_000, at(0)), 100, "no more is saved than the burst");
    }

    #[test]
    fn an_endpoints_storm_is_its_own() {
        let mut guard = RetryGuard::default();
        let mut rng = SmallRng::seed_from_u64(1);
        let_through(&mut guard, 1_000, at(0));

        assert_eq!(guard.hold_up(2, SHARE, at(0), &mut rng), None);
        assert!(guard.hold_up(1, SHARE, at(0), &mut rng).is_some());
    }

    #[test]
    fn those_held_up_are_spread_over_the_time_that_they_need() {
        let mut guard = RetryGuard::default();
        let mut rng = SmallRng::seed_from_u64(1);
        let_through(&mut guard, 100, at(0));

        let waits: Vec<Duration> =
            (0..2_000).filter_map(|_| guard.hold_up(1, SHARE, at(0), &mut rng)).collect();

        assert_eq!(waits.len(), 2_000);
        assert!(waits.iter().all(|wait| (LEAST_WAIT..=MOST_WAIT).contains(wait)));
        // 2,000 at 20 a second are 100 s.
        assert!(waits.iter().max().unwrap() > &Duration::from_secs(60));
        assert!(waits.iter().max().unwrap() <= &Duration::from_millis(100_500));
        let flood = (0..1_000_000).filter_map(|_| guard.hold_up(1, SHARE, at(0), &mut rng)).max();
        assert!(flood.unwrap() <= MOST_WAIT);
    }

    #[test]
    fn each_is_let_through_after_few_askings() {
        let mut guard = RetryGuard::default();
        let mut rng = SmallRng::seed_from_u64(7);
        let mut asking: Vec<(Timestamp, u32)> = vec![(at(0), 0); 2_000];
        let mut asked = 0_u32;
        while let Some((index, _)) = asking.iter().enumerate().min_by_key(|(_, (at, _))| *at) {
            let (now, times) = asking.swap_remove(index);
            asked += 1;
            assert!(times < 50, "asked {times} times");
            if let Some(wait) = guard.hold_up(1, SHARE, now, &mut rng) {
                asking.push((now.after(wait), times + 1));
            }
        }
        assert!(asked < 4 * 2_000, "{asked} askings for 2,000 retries");
    }

    #[test]
    fn who_rests_is_forgotten() {
        let mut guard = RetryGuard::default();
        let mut rng = SmallRng::seed_from_u64(1);
        for endpoint in 0..=u32::try_from(REMEMBERED).unwrap() {
            guard.hold_up(endpoint, SHARE, at(i64::from(endpoint) * 10), &mut rng);
        }

        assert!(guard.buckets.len() < REMEMBERED);
    }
}
