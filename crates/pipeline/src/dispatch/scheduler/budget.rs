//! Who may take the attempt slots of a process.
//!
//! Endpoints that are slow or unknown share one budget, of which the slow ones leave a part to the unknown; fast ones have
//! all the rest to themselves, and that budget too while nobody waits for it. Retries of endpoints that have nothing else to
//! send have their share of each.
//! Invariant: never more slots taken than there are, and no more than their budget by slow and unknown endpoints together.

use super::pace::Track;

/// The slow leave this part of the budget to endpoints of which nothing is known.
const FOR_UNKNOWN: usize = 4;

#[derive(Debug)]
pub(super) struct Budget {
    slots: usize,
    /// Those of slow and unknown endpoints together.
    slow: usize,
    /// Retries at once of endpoints that have nothing else to send, by track.
    retries_most: [usize; 3],
    in_flight: [usize; 3],
    retries: [usize; 3],
}

impl Budget {
    /// Of so many slots; the shares are parts of 1.
    pub(super) fn new(slots: usize, slow_share: f64, retry_share: f64) -> Self {
        let part = |of: usize, share: f64| ((of as f64 * share) as usize).clamp(1, of.max(1));
        let slow = part(slots, slow_share);
        Self {
            slots,
            slow,
            retries_most: [slots, slow, slow].map(|of| part(of, retry_share)),
            in_flight: [0; 3],
            retries: [0; 3],
        }
    }

    /// Whether an endpoint of that track may start an attempt. `others_wait`: endpoints that are not fast do.
    pub(super) fn has_room(&self, track: Track, others_wait: bool) -> bool {
        let [fast, trial, slow] = self.in_flight;
        fast + trial + slow < self.slots
            && match track {
                Track::Fast => !others_wait || fast < (self.slots - self.slow).max(1),
                Track::Trial => trial + slow < self.slow,
                Track::Slow => trial + slow < self.slow && slow < self.slow - self.slow / FOR_UNKNOWN,
            }
    }

    /// Whether retries of that track have less than their share.
    pub(super) const fn may_retry(&self, track: Track) -> bool {
        self.retries[track as usize] < self.retries_most[track as usize]
    }

    pub(super) const fn take(&mut self, track: Track, is_of_share: bool) {
        self.in_flight[track as usize] += 1;
        self.retries[track as usize] += is_of_share as usize;
    }

    pub(super) const fn give_back(&mut self, track: Track, is_of_share: bool) {
        self.in_flight[track as usize] -= 1;
        self.retries[track as usize] -= is_of_share as usize;
    }

    /// Slots taken by endpoints that were slow or unknown when they took them.
    pub(super) const fn not_fast(&self) -> usize {
        self.in_flight[Track::Trial as usize] + self.in_flight[Track::Slow as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes slots of that track until there are no more, and says how many.
    fn fill(budget: &mut Budget, track: Track, others_wait: bool) -> usize {
        (0..)
            .take_while(|_| {
                let has_room = budget.has_room(track, others_wait);
                if has_room {
                    budget.take(track, false);
                }
                has_room
            })
            .count()
    }

    #[test]
    fn the_slow_and_the_unknown_never_hold_more_than_their_budget() {
        let mut budget = Budget::new(100, 0.25, 0.25);
        assert_eq!(fill(&mut budget, Track::Slow, true), 19);
        assert_eq!(fill(&mut budget, Track::Trial, true), 6);
        assert_eq!(fill(&mut budget, Track::Fast, true), 75);

        let mut budget = Budget::new(100, 0.25, 0.25);
        assert_eq!(fill(&mut budget, Track::Trial, true), 25);
        assert_eq!(fill(&mut budget, Track::Slow, true), 0);
        assert_eq!(budget.not_fast(), 25);
    }

    #[test]
    fn the_fast_have_everything_while_nobody_else_waits() {
        let mut budget = Budget::new(100, 0.25, 0.25);
        assert_eq!(fill(&mut budget, Track::Fast, false), 100);
        budget.give_back(Track::Fast, false);
        assert!(!budget.has_room(Track::Fast, true));
        assert!(budget.has_room(Track::Slow, true), "what becomes free goes to who has a right to it");
    }

    #[test]
    fn every_track_has_a_slot_however_few_there_are() {
        for slots in 1..5 {
            for track in [Track::Fast, Track::Trial, Track::Slow] {
                assert!(Budget::new(slots, 0.25, 0.25).has_room(track, true), "{track:?} of {slots}");
            }
        }
    }

    #[test]
    fn retries_have_their_share_of_each_track() {
        let mut budget = Budget::new(100, 0.25, 0.1);
        for (track, most) in [(Track::Fast, 10), (Track::Trial, 2), (Track::Slow, 2)] {
            let taken = (0..).take_while(|_| {
                let may = budget.may_retry(track);
                if may {
                    budget.take(track, true);
                }
                may
            });
            assert_eq!(taken.count(), most, "{track:?}");
            budget.give_back(track, true);
            assert!(budget.may_retry(track));
        }
    }
}
