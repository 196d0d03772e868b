//! Concurrency that follows what an endpoint can bear, for endpoints with `adaptive_concurrency`.
//!
//! Compares how long answers take now with how long they take at best. Near the best, one more attempt at once per round
//! of answers; far from it, or with errors (5xx, 429, no answer), fewer, at most once per round. The best is a
//! minimum that rises slowly, so that an endpoint that has become slower for good is found to be so.

use std::time::Duration;

use longshore_core::AttemptOutcome;

/// What one answer weighs in the average.
const WEIGHT: u32 = 8;
/// By which part the best rises with each answer: it doubles in some 350.
const RISE: u32 = 512;
/// Differences below this are noise.
const NOISE: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Gradient {
    /// How long answers take; zero before the first.
    average: Duration,
    /// How long they take at best.
    best: Duration,
    /// Answers since the last rise.
    since_rise: usize,
    /// Attempts that were in flight at the last cut and have not ended: they tell of the time before it.
    before_cut: usize,
}

impl Gradient {
    /// The concurrency after an attempt that has ended so, one of `in_flight` where `earned` are allowed.
    pub(super) fn next(
        &mut self,
        outcome: AttemptOutcome,
        took: Duration,
        earned: usize,
        in_flight: usize,
    ) -> usize {
        let is_told_before = self.before_cut > 0;
        self.before_cut = self.before_cut.saturating_sub(1);
        let Some(status) = outcome.status() else {
            return if is_told_before { earned } else { self.cut(earned / 2, in_flight) };
        };
        self.measure(took);
        let is_far = self.average > 2 * self.best + NOISE;
        if status >= 500 || status == 429 || is_far {
            return if is_told_before { earned } else { self.cut(earned * 3 / 4, in_flight) };
        }
        let is_near = self.average <= self.best * 3 / 2 + NOISE;
        // What is not used is not proven.
        if is_near && in_flight * 2 > earned {
            self.since_rise += 1;
        }
        if self.since_rise < earned {
            return earned;
        }
        self.since_rise = 0;
        earned + 1
    }

    fn cut(&mut self, to: usize, in_flight: usize) -> usize {
        self.before_cut = in_flight.saturating_sub(1);
        self.since_rise = 0;
        to.max(1)
    }

    fn measure(&mut self, took: Duration) {
        if self.average.is_zero() {
            (self.average, self.best) = (took, took);
            return;
        }
        self.average = (self.average * (WEIGHT - 1) + took) / WEIGHT;
        self.best = (self.best + self.best / RISE).min(self.average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: AttemptOutcome = AttemptOutcome::Response { status: 200, retry_after: None };
    const BUSY: AttemptOutcome = AttemptOutcome::Response { status: 429, retry_after: None };
    const TENTH: Duration = Duration::from_millis(100);

    /// Rounds of `earned` answers each against an endpoint with room for so many at once: beyond, it takes longer in
    /// proportion.
    fn rounds(gradient: &mut Gradient, earned: usize, room: usize, count: usize) -> usize {
        (0..count).fold(earned, |earned, _| {
            let took = TENTH * u32::try_from(earned.max(room)).unwrap() / u32::try_from(room).unwrap();
            (0..earned).fold(earned, |now, _| gradient.next(OK, took, now, now))
        })
    }

    #[test]
    fn it_rises_by_one_a_round_while_answers_are_as_quick_as_ever() {
        assert_eq!(rounds(&mut Gradient::default(), 8, 1_000, 10), 18);
    }

    #[test]
    fn it_settles_near_what_the_endpoint_can_bear() {
        let mut gradient = Gradient::default();
        let settled: Vec<usize> = (0..20).map(|_| rounds(&mut gradient, 8, 10, 5)).collect();
        assert!(settled.iter().all(|earned| (5..=30).contains(earned)), "{settled:?}");
    }

    #[test]
    fn answers_of_one_bad_moment_cut_once() {
        for (bad, cut) in [(BUSY, 15), (AttemptOutcome::Timeout, 10)] {
            let mut gradient = Gradient::default();
            let mut earned = 20;
            for in_flight in (1..=20).rev() {
                earned = gradient.next(bad, TENTH, earned, in_flight);
            }
            assert_eq!(earned, cut);
            earned = gradient.next(bad, TENTH, earned, earned);
            assert!(earned < cut, "the next moment cuts again");
        }
    }

    #[test]
    fn it_never_goes_below_one() {
        let mut gradient = Gradient::default();
        assert_eq!((0..50).fold(20, |earned, _| gradient.next(AttemptOutcome::Timeout, TENTH, earned, 1)), 1);
    }

    #[test]
    fn what_is_not_used_does_not_rise() {
        let mut gradient = Gradient::default();
        assert_eq!((0..500).fold(20, |earned, _| gradient.next(OK, TENTH, earned, 1)), 20);
    }

    #[test]
    fn an_endpoint_slower_for_good_is_found_to_be_so() {
        let mut gradient = Gradient::default();
        let mut earned = (0..100).fold(20, |earned, _| gradient.next(OK, TENTH, earned, earned));
        for _ in 0..3_000 {
            earned = gradient.next(OK, 4 * TENTH, earned, earned);
        }
        let low = earned;
        let high = (0..200).fold(earned, |earned, _| gradient.next(OK, 4 * TENTH, earned, earned));
        assert!(high > low, "{low} to {high}");
    }
}
