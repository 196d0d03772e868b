//! The order within message groups of a FIFO queue, on the way back to it. Pure.
//!
//! SQS hands out no more of a group while one of its messages is out, so what is out of a group came with one receive
//! call: a *lot*. Invariants: a message is deleted only when every earlier one of its lot is deleted or is deleted by
//! the same request; once one is given back, every later one of its lot is given back too, acknowledged or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What one receive call brought of one group.
#[derive(Debug)]
pub(crate) struct Lot {
    id: u64,
    size: usize,
    /// The first message that was given back: it and all later ones are to come again.
    broken_from: AtomicUsize,
}

impl Lot {
    pub(crate) fn new(id: u64, size: usize) -> Arc<Self> {
        Arc::new(Self { id, size, broken_from: AtomicUsize::new(usize::MAX) })
    }
}

/// A message's place in its lot.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) lot: Arc<Lot>,
    pub(crate) index: usize,
}

impl Place {
    /// Whether an earlier one of the group was given back meanwhile, so that this one must not go before it.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.index > self.lot.broken_from.load(Ordering::Acquire)
    }
}

/// What is to be told to the broker, in order, by one request each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act<T> {
    Delete(Vec<T>),
    Return(Vec<(T, Duration)>),
}

/// What is known of the lots that are out.
#[derive(Debug)]
pub(crate) struct Groups<T> {
    open: HashMap<u64, Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    /// The first one that is not on its way to be deleted.
    next: usize,
    /// Acknowledged, behind one that is not settled or not yet deleted.
    waiting: BTreeMap<usize, T>,
    /// How many have not been passed on.
    left: usize,
    /// Whether a deletion is under way.
    busy: bool,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self { open: HashMap::new() }
    }
}

impl<T> Groups<T> {
    pub(crate) fn ack(&mut self, place: &Place, message: T) -> Option<Act<T>> {
        let open = self.open(&place.lot);
        if place.is_overtaken() {
            open.left -= 1;
            let act = Act::Return(vec![(message, Duration::ZERO)]);
            self.forget_if_done(place.lot.id);
            return Some(act);
        }
        open.waiting.insert(place.index, message);
        open.release()
    }

    pub(crate) fn give_back(&mut self, place: &Place, message: T, after: Duration) -> Act<T> {
        place.lot.broken_from.fetch_min(place.index, Ordering::AcqRel);
        let open = self.open(&place.lot);
        let later = open.waiting.split_off(&place.index);
        let mut messages = vec![(message, after)];
        messages.extend(later.into_values().map(|message| (message, Duration::ZERO)));
        open.left -= messages.len();
        self.forget_if_done(place.lot.id);
        Act::Return(messages)
    }

    /// A deletion that was asked for is over, well or not.
    pub(crate) fn deleted(&mut self, lot: &Lot) -> Option<Act<T>> {
        let open = self.open.get_mut(&lot.id)?;
        open.busy = false;
        let act = open.release();
        self.forget_if_done(lot.id);
        act
    }

    /// How many are acknowledged and not yet on their way.
    pub(crate) fn waiting(&self) -> usize {
        self.open.values().map(|open| open.waiting.len()).sum()
    }

    fn open(&mut self, lot: &Lot) -> &mut Open<T> {
        self.open.entry(lot.id).or_insert_with(|| Open {
            next: 0,
            waiting: BTreeMap::new(),
            left: lot.size,
            busy: false,
        })
    }

    fn forget_if_done(&mut self, id: u64) {
        if self.open.get(&id).is_some_and(|open| open.left == 0 && !open.busy) {
            self.open.remove(&id);
        }
    }
}

impl<T> Open<T> {
    /// What can be deleted now: the unbroken row of acknowledged ones behind those that are deleted.
    fn release(&mut self) -> Option<Act<T>> {
        if self.busy {
            return None;
        }
        let mut row = Vec::new();
        while let Some(message) = self.waiting.remove(&self.next) {
            row.push(message);
            self.next += 1;
        }
        if row.is_empty() {
            return None;
        }
        self.left -= row.len();
        self.busy = true;
        Some(Act::Delete(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(size: usize) -> Vec<Place> {
        let lot = Lot::new(7, size);
        (0..size).map(|index| Place { lot: Arc::clone(&lot), index }).collect()
    }

    #[test]
    fn a_later_one_waits_for_the_earlier_to_be_deleted() {
        let (mut groups, at) = (Groups::default(), places(3));

        assert_eq!(groups.ack(&at[1], 1), None);
        assert_eq!(groups.ack(&at[0], 0), Some(Act::Delete(vec![0, 1])));
        assert_eq!(groups.ack(&at[2], 2), None, "the first deletion is still under way");
        assert_eq!(groups.deleted(&at[0].lot), Some(Act::Delete(vec![2])));
        assert_eq!(groups.deleted(&at[0].lot), None);
        assert!(groups.open.is_empty());
    }

    #[test]
    fn what_is_behind_one_that_is_given_back_is_given_back_too() {
        let (mut groups, at) = (Groups::default(), places(4));
        let zero = Duration::ZERO;

        assert_eq!(groups.ack(&at[2], 2), None);
        let delay = Duration::from_secs(5);
        assert_eq!(groups.give_back(&at[1], 1, delay), Act::Return(vec![(1, delay), (2, zero)]));
        assert!(at[3].is_overtaken() && !at[0].is_overtaken());
        assert_eq!(groups.ack(&at[3], 3), Some(Act::Return(vec![(3, zero)])));
        assert_eq!(groups.ack(&at[0], 0), Some(Act::Delete(vec![0])));
        assert_eq!(groups.deleted(&at[0].lot), None);
        assert!(groups.open.is_empty());
    }
}
