//! How an endpoint does: whether it is slow, and how many attempts at once it has earned.
//!
//! **Speed.** Nothing is known of an endpoint before its first attempt has ended; from then on a moving average of how long
//! attempts take says whether it is fast or slow, with hysteresis: slow from [`SLOW_AFTER`] on, fast again below half of
//! it. A timeout counts as several times that, however short the endpoint's deadline. An endpoint of which nothing ends
//! for so long is slow at once.
//!
//! **Concurrency.** Two attempts before the first has ended. Then a few, one more with each answer and half as many
//! with each failure to answer; or, where the endpoint asks for it, by what it can bear ([`super::gradient`]).
//!
//! Pure: it is told what happened and asks no clock.

use std::time::Duration;

use longshore_core::AttemptOutcome;

use super::gradient::Gradient;
use super::lane::{Ended, Limit};

/// An endpoint is slow whose attempts take so long on average, or of which nothing has ended for so long.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);
/// No attempt counts for more: an endpoint that recovers is fast again after some twenty quick answers.
const SAMPLE_MOST: Duration = SLOW_AFTER.saturating_mul(4);
/// What one attempt weighs in the average: one timeout among quick answers makes nobody slow.
const WEIGHT: u32 = 8;
/// Attempts at once before anything is known: as many as hang there for a whole timeout if it is dead.
pub(super) const TRIAL: usize = 2;
/// Attempts at once after the first answer.
pub(super) const FIRST: usize = 8;

/// From which budget an endpoint's attempts take their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Track {
    /// It is quick.
    Fast,
    /// Nothing is known of it.
    Trial,
    /// It is slow or hangs.
    Slow,
}

#[derive(Debug)]
pub(super) struct Pace {
    track: Track,
    /// How long attempts take.
    average: Duration,
    /// Attempts at once it has earned, at least 1.
    earned: usize,
    gradient: Gradient,
}

impl Default for Pace {
    fn default() -> Self {
        Self { track: Track::Trial, average: Duration::ZERO, earned: TRIAL, gradient: Gradient::default() }
    }
}

impl Pace {
    pub(super) const fn track(&self) -> Track {
        self.track
    }

    /// How many attempts it may have in flight.
    pub(super) fn concurrency(&self, limit: Limit) -> usize {
        limit.most.min(self.earned)
    }

    /// Nothing has ended for [`SLOW_AFTER`], although something is in flight.
    pub(super) fn stalled(&mut self) {
        if self.track != Track::Slow {
            self.track = Track::Slow;
            self.average = self.average.max(SLOW_AFTER);
        }
    }

    /// An attempt has ended that was one of `in_flight`.
    pub(super) fn ended(&mut self, ended: Ended, in_flight: usize, limit: Limit) {
        let Ended::Tried { outcome, took } = ended else { return };
        let is_first = self.track == Track::Trial;
        self.measure(outcome, took);
        let most = limit.most.max(1);
        if is_first {
            self.earned = if outcome.status().is_some() { FIRST } else { 1 };
        } else if limit.is_adaptive {
            self.earned = self.gradient.next(outcome, took, self.earned, in_flight);
        } else if outcome.status().is_some() {
            self.earned += 1;
        } else {
            self.earned /= 2;
        }
        self.earned = self.earned.clamp(1, most);
    }

    fn measure(&mut self, outcome: AttemptOutcome, took: Duration) {
        let sample = if outcome == AttemptOutcome::Timeout { SAMPLE_MOST } else { took.min(SAMPLE_MOST) };
        self.average = match self.track {
            Track::Trial => sample,
            Track::Fast | Track::Slow => (self.average * (WEIGHT - 1) + sample) / WEIGHT,
        };
        self.track = match self.track {
            Track::Slow if self.average >= SLOW_AFTER / 2 => Track::Slow,
            Track::Fast | Track::Trial if self.average >= SLOW_AFTER => Track::Slow,
            _ => Track::Fast,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { most: 20, is_adaptive: false, gather: None };
    const QUICK: Duration = Duration::from_millis(10);
    const TIMEOUT: Ended =
        Ended::Tried { outcome: AttemptOutcome::Timeout, took: Duration::from_millis(500) };

    fn answer(took: Duration) -> Ended {
        Ended::Tried { outcome: AttemptOutcome::Response { status: 500, retry_after: None }, took }
    }

    fn after(ended: impl IntoIterator<Item = Ended>) -> Pace {
        let mut pace = Pace::default();
        ended.into_iter().for_each(|ended| pace.ended(ended, 1, LIMIT));
        pace
    }

    fn track(ended: impl IntoIterator<Item = Ended>) -> Track {
        after(ended).track()
    }

    #[test]
    fn the_first_attempt_tells_how_it_does() {
        assert_eq!(track([]), Track::Trial);
        assert_eq!(track([Ended::Unsent]), Track::Trial);
        assert_eq!(track([answer(QUICK)]), Track::Fast);
        assert_eq!(track([answer(SLOW_AFTER)]), Track::Slow);
        assert_eq!(track([TIMEOUT]), Track::Slow, "however short its deadline");
        assert_eq!(after([]).concurrency(LIMIT), TRIAL);
        assert_eq!(after([answer(QUICK)]).concurrency(LIMIT), FIRST);
        assert_eq!(after([TIMEOUT]).concurrency(LIMIT), 1);
    }

    #[test]
    fn one_timeout_among_quick_answers_makes_nobody_slow_and_three_do() {
        assert_eq!(track([answer(QUICK), TIMEOUT]), Track::Fast);
        assert_eq!(track([answer(QUICK), TIMEOUT, TIMEOUT, TIMEOUT]), Track::Slow);
    }

    #[test]
    fn who_was_slow_is_fast_again_at_half_the_threshold() {
        let recovering = |quick| {
            let slow = std::iter::repeat_n(TIMEOUT, 50);
            track(slow.chain(std::iter::repeat_n(answer(QUICK), quick)))
        };
        assert_eq!(recovering(10), Track::Slow, "the average is below the threshold, but not by half");
        assert_eq!(recovering(20), Track::Fast);

        let halfway = answer(SLOW_AFTER * 3 / 4);
        assert_eq!(track(std::iter::repeat_n(halfway, 50)), Track::Fast);
        assert_eq!(track([TIMEOUT].into_iter().chain(std::iter::repeat_n(halfway, 50))), Track::Slow);
    }

    #[test]
    fn who_stalls_is_slow_at_once() {
        let mut pace = after([answer(QUICK)]);
        pace.stalled();
        assert_eq!(pace.track(), Track::Slow);

        pace.ended(answer(QUICK), 1, LIMIT);
        assert_eq!(pace.track(), Track::Slow);
        (0..8).for_each(|_| pace.ended(answer(QUICK), 1, LIMIT));
        assert_eq!(pace.track(), Track::Fast);
    }

    #[test]
    fn concurrency_stays_between_one_and_the_limit() {
        let pace = after(std::iter::repeat_n(answer(QUICK), 100));
        assert_eq!(pace.concurrency(LIMIT), 20);
        assert_eq!(pace.concurrency(Limit { most: 3, ..LIMIT }), 3);
        assert_eq!(after(std::iter::repeat_n(TIMEOUT, 10)).concurrency(LIMIT), 1);
    }
}
