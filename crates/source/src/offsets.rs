//! Which offset of a log may be committed: the highest one below which nothing is unsettled.
//!
//! Pure. It does not commit anything; the source does, and checks [`Contiguous::revoke`]'s fence and commits
//! under one lock. Invariant: an offset is yielded only when every offset tracked before it has been settled, and
//! nothing is yielded after the revocation.

use std::collections::VecDeque;

/// Tracks the offsets of one partition or stream, in the order in which they were read.
///
/// Gaps are normal (compaction, transaction markers): only what was tracked counts.
#[derive(Debug, Default)]
pub struct Contiguous {
    /// What is not yielded yet, ascending; whether it is settled.
    open: VecDeque<(u64, bool)>,
    last: Option<u64>,
    committable: Option<u64>,
    revoked: bool,
}

impl Contiguous {
    /// A tracker that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `offset` was read. Returns false, and notes nothing, when it is not above every offset noted
    /// before, or when the partition is revoked: such a message is not ours to settle.
    pub fn track(&mut self, offset: u64) -> bool {
        if self.revoked || self.last.is_some_and(|last| offset <= last) {
            return false;
        }
        self.last = Some(offset);
        self.open.push_back((offset, false));
        true
    }

    /// Notes that `offset` is settled. Returns the highest offset up to which everything is, if that moved.
    /// An offset that was never tracked, or is settled already, changes nothing.
    pub fn settle(&mut self, offset: u64) -> Option<u64> {
        if self.revoked {
            return None;
        }
        let at = self.open.binary_search_by_key(&offset, |&(open, _)| open).ok()?;
        self.open.get_mut(at)?.1 = true;
        let mut moved = None;
        while let Some((offset, _)) = self.open.pop_front_if(|&mut (_, settled)| settled) {
            moved = Some(offset);
        }
        if moved.is_some() {
            self.committable = moved;
        }
        moved
    }

    /// Ends this tracker: from now on nothing is tracked and nothing is yielded, whatever is settled late. Returns
    /// the last committable offset, for the last commit of a partition that is given away in good order.
    pub fn revoke(&mut self) -> Option<u64> {
        self.revoked = true;
        self.open.clear();
        self.committable.take()
    }

    /// The highest offset up to which everything is settled.
    #[must_use]
    pub const fn committable(&self) -> Option<u64> {
        self.committable
    }

    /// The lowest offset that is tracked and not settled: where reading starts again after a failure.
    #[must_use]
    pub fn lowest_open(&self) -> Option<u64> {
        self.open.front().map(|&(offset, _)| offset)
    }

    /// How many offsets are tracked and not yielded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether everything that was tracked is yielded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hole_holds_the_line() {
        let mut offsets = Contiguous::new();
        for offset in [3, 4, 9] {
            assert!(offsets.track(offset));
        }

        assert_eq!(offsets.settle(9), None);
        assert_eq!(offsets.settle(3), Some(3));
        assert_eq!(offsets.lowest_open(), Some(4));
        assert_eq!(offsets.settle(4), Some(9));
        assert_eq!((offsets.len(), offsets.committable()), (0, Some(9)));
    }

    #[test]
    fn an_offset_that_went_backwards_is_not_ours() {
        let mut offsets = Contiguous::new();
        assert!(offsets.track(7));

        assert!(!offsets.track(7));
        assert!(!offsets.track(6));
        assert_eq!(offsets.settle(6), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Track(u64),
        Settle(usize),
        SettleUnknown(u64),
        Revoke,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (1u64..5).prop_map(Step::Track),
            8 => any::<usize>().prop_map(Step::Settle),
            1 => any::<u64>().prop_map(Step::SettleUnknown),
            1 => Just(Step::Revoke),
        ]
    }

    proptest! {
        /// Against the plainest model there is: the set of what is tracked and the set of what is settled.
        #[test]
        fn yields_exactly_the_highest_offset_below_which_all_is_settled(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut offsets = Contiguous::new();
            let (mut tracked, mut settled) = (Vec::new(), BTreeSet::new());
            let (mut yielded, mut revoked) = (None, false);
            for step in steps {
                let offset = match step {
                    Step::Track(gap) => {
                        let next = tracked.last().map_or(0, |last| last + gap);
                        prop_assert_eq!(offsets.track(next), !revoked);
                        if !revoked {
                            tracked.push(next);
                        }
                        continue;
                    }
                    Step::Revoke => {
                        offsets.revoke();
                        revoked = true;
                        continue;
                    }
                    Step::Settle(nth) if tracked.is_empty() => nth as u64,
                    Step::Settle(nth) => tracked[nth % tracked.len()],
                    Step::SettleUnknown(offset) => offset,
                };
                let got = offsets.settle(offset);
                if revoked {
                    prop_assert_eq!(got, None);
                    continue;
                }
                if tracked.contains(&offset) {
                    settled.insert(offset);
                }
                let line = tracked.iter().take_while(|offset| settled.contains(offset)).last().copied();
                prop_assert_eq!(got, if line == yielded { None } else { line });
                yielded = line;
                prop_assert_eq!(offsets.committable(), line);
                prop_assert_eq!(offsets.len(), tracked.len() - tracked.iter().take_while(|o| settled.contains(o)).count());
            }
        }
    }
}
