//! Ordering keys: what may be handed out, acknowledged and given back, and when. Pure, but for the clock of tokio.
//!
//! Pub/Sub sends the messages of one ordering key in order and to one subscriber, several at a time; when one of them is
//! given back or its lease ends, it and every later one of the key come again
//! (<https://cloud.google.com/pubsub/docs/ordering>). Invariants: a message is never acknowledged before an earlier
//! one of its key; while one is held back for a retry, no later one is handed out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::AckId;

/// For how long after a return messages may still come that were sent before it.
const PIPE: Duration = Duration::from_secs(1);

/// The keys that have something out. `S` is a settlement, which is kept until the service may know of it.
#[derive(Debug)]
pub(crate) struct Order<S> {
    keys: HashMap<String, Key<S>>,
}

#[derive(Debug)]
struct Key<S> {
    /// Handed out, in order.
    out: VecDeque<Entry<S>>,
    /// Something is held back before a retry.
    held: Option<Held<S>>,
    /// Something was given back a moment ago.
    returned: Option<Returned>,
}

#[derive(Debug)]
struct Entry<S> {
    id: AckId,
    message_id: String,
    state: State<S>,
}

#[derive(Debug)]
enum State<S> {
    Open,
    /// To be acknowledged after those before it.
    Waiting(S),
    Sending,
}

#[derive(Debug)]
struct Held<S> {
    due: Instant,
    /// The message that must come first again.
    first: String,
    settlements: Vec<S>,
    ids: Vec<AckId>,
}

#[derive(Debug)]
struct Returned {
    first: String,
    until: Instant,
    /// Given back once more already.
    seen: HashSet<String>,
}

/// What to do with a message that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    HandOut,
    /// It goes back together with the one that is held; nothing to do.
    Park,
    /// It was sent before the one in front of it went back: it goes back too.
    Return,
}

/// What goes back to the service now.
#[derive(Debug)]
pub(crate) struct Release<S> {
    pub(crate) ids: Vec<AckId>,
    pub(crate) settlements: Vec<S>,
}

impl<S> Default for Order<S> {
    fn default() -> Self {
        Self { keys: HashMap::new() }
    }
}

impl<S> Default for Key<S> {
    fn default() -> Self {
        Self { out: VecDeque::new(), held: None, returned: None }
    }
}

impl<S> Order<S> {
    /// Decides about a message that has come.
    pub(crate) fn admit(&mut self, key: &str, message_id: &str, id: &AckId) -> Admission {
        let now = Instant::now();
        let state = self.keys.entry(key.to_owned()).or_default();
        if let Some(held) = &mut state.held {
            held.ids.push(AckId::clone(id));
            return Admission::Park;
        }
        if let Some(returned) = state.returned.take_if(|returned| returned.until > now)
            && returned.first != message_id
        {
            let returned = state.returned.insert(returned);
            if returned.seen.insert(message_id.to_owned()) {
                return Admission::Return;
            }
            // It comes although it went back: the one in front of it is gone, e.g. to the dead-letter topic.
        }
        state.returned = None;
        let entry = Entry { id: AckId::clone(id), message_id: message_id.to_owned(), state: State::Open };
        state.out.push_back(entry);
        Admission::HandOut
    }

    /// `id` is durable. Returns what may be acknowledged now: nothing, or a run of messages from the front.
    ///
    /// # Errors
    /// The settlement: the message went back already, together with an earlier one, and cannot be acknowledged.
    pub(crate) fn ack(&mut self, key: &str, id: &AckId, settlement: S) -> Result<Vec<S>, S> {
        let entry =
            self.keys.get_mut(key).and_then(|state| state.out.iter_mut().find(|entry| entry.id == *id));
        let Some(entry) = entry else { return Err(settlement) };
        entry.state = State::Waiting(settlement);
        Ok(self.next(key))
    }

    /// What was returned for `key` before is acknowledged, or never will be. Returns the next run.
    pub(crate) fn sent(&mut self, key: &str) -> Vec<S> {
        if let Some(state) = self.keys.get_mut(key) {
            while state.out.pop_front_if(|entry| matches!(entry.state, State::Sending)).is_some() {}
        }
        let next = self.next(key);
        self.tidy(key);
        next
    }

    /// `id` shall come again, not before `due`; and with it every later one that is out.
    ///
    /// # Errors
    /// The settlement: it is on its way back already.
    pub(crate) fn retry(&mut self, key: &str, id: &AckId, due: Instant, settlement: S) -> Result<(), S> {
        let state = self.keys.get_mut(key);
        let Some((state, index)) = state.and_then(|state| {
            let index = state.out.iter().position(|entry| entry.id == *id)?;
            Some((state, index))
        }) else {
            return Err(settlement);
        };
        let later = state.out.split_off(index);
        let first = later.front().map(|entry| entry.message_id.clone()).unwrap_or_default();
        let mut held = state.held.take().unwrap_or_else(|| Held {
            due,
            first: String::new(),
            settlements: Vec::new(),
            ids: Vec::new(),
        });
        held.due = held.due.max(due);
        held.first = first;
        held.settlements.push(settlement);
        for entry in later {
            held.ids.push(entry.id);
            if let State::Waiting(settlement) = entry.state {
                held.settlements.push(settlement);
            }
        }
        state.held = Some(held);
        Ok(())
    }

    /// When the next of those that are held is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.keys.values().filter_map(|state| state.held.as_ref()).map(|held| held.due).min()
    }

    /// What is due at `now`; everything that is held without it.
    pub(crate) fn release(&mut self, now: Option<Instant>) -> Vec<Release<S>> {
        let until = Instant::now() + PIPE;
        let mut released = Vec::new();
        for state in self.keys.values_mut() {
            let due = |held: &mut Held<S>| now.is_none_or(|now| held.due <= now);
            if let Some(held) = state.held.take_if(due) {
                released.push(Release { ids: held.ids, settlements: held.settlements });
                state.returned = Some(Returned { first: held.first, until, seen: HashSet::new() });
            }
        }
        released
    }

    /// How many wait to be acknowledged after an earlier one.
    pub(crate) fn waiting(&self) -> usize {
        let entries = self.keys.values().flat_map(|state| &state.out);
        entries.filter(|entry| matches!(entry.state, State::Waiting(_))).count()
    }

    /// Forgets keys with nothing out. Call it now and then: a key that was returned is kept for a moment.
    pub(crate) fn sweep(&mut self) {
        let now = Instant::now();
        self.keys.retain(|_, state| !state.is_idle(now));
    }

    fn next(&mut self, key: &str) -> Vec<S> {
        let Some(state) = self.keys.get_mut(key) else { return Vec::new() };
        let mut run = Vec::new();
        for entry in &mut state.out {
            match std::mem::replace(&mut entry.state, State::Sending) {
                State::Waiting(settlement) => run.push(settlement),
                // One run at a time: two calls may arrive in any order.
                other => {
                    entry.state = other;
                    break;
                }
            }
        }
        run
    }

    fn tidy(&mut self, key: &str) {
        let now = Instant::now();
        if self.keys.get(key).is_some_and(|state| state.is_idle(now)) {
            self.keys.remove(key);
        }
    }
}

impl<S> Key<S> {
    fn is_idle(&self, now: Instant) -> bool {
        let returned = self.returned.as_ref().is_some_and(|returned| returned.until > now);
        self.out.is_empty() && self.held.is_none() && !returned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn id(name: &str) -> AckId {
        name.into()
    }

    fn out(order: &mut Order<&'static str>, names: &[&str]) {
        for name in names {
            assert_eq!(order.admit("k", name, &id(name)), Admission::HandOut, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_one_is_never_acknowledged_before_an_earlier_one() {
        let mut order = Order::default();
        out(&mut order, &["1", "2", "3", "4"]);

        assert_eq!(order.ack("k", &id("2"), "two"), Ok(vec![]));
        assert_eq!(order.ack("k", &id("1"), "one"), Ok(vec!["one", "two"]));
        // Two calls could overtake each other.
        assert_eq!(order.ack("k", &id("3"), "three"), Ok(vec![]));
        assert_eq!(order.sent("k"), ["three"]);
        assert_eq!(order.ack("k", &id("4"), "four"), Ok(vec![]));
        assert_eq!(order.sent("k"), ["four"]);
        assert!(order.sent("k").is_empty());
        assert!(order.keys.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_takes_every_later_one_with_it_and_none_is_handed_out_meanwhile() {
        let mut order = Order::default();
        out(&mut order, &["1", "2", "3"]);
        assert_eq!(order.ack("k", &id("3"), "three"), Ok(vec![]));
        let due = Instant::now() + HOUR;

        assert_eq!(order.retry("k", &id("2"), due, "two"), Ok(()));
        assert_eq!(order.admit("k", "4", &id("4")), Admission::Park);
        assert_eq!(order.admit("other", "5", &id("5")), Admission::HandOut);
        assert_eq!(order.ack("k", &id("1"), "one"), Ok(vec!["one"]));
        assert_eq!(order.next_due(), Some(due));
        assert!(order.release(Some(Instant::now())).is_empty());

        let mut released = order.release(Some(due));
        let released = released.pop().unwrap();
        assert_eq!(released.ids, [id("2"), id("3"), id("4")]);
        assert_eq!(released.settlements, ["two", "three"]);
        // What an earlier message's token says of a later one that went back counts no more.
        assert_eq!(order.ack("k", &id("3"), "three"), Err("three"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_under_way_during_a_return_goes_back_once() {
        let mut order = Order::default();
        out(&mut order, &["1", "2"]);
        assert_eq!(order.retry("k", &id("1"), Instant::now(), "one"), Ok(()));
        assert_eq!(order.release(None).len(), 1);

        assert_eq!(order.admit("k", "3", &id("3")), Admission::Return);
        assert_eq!(order.admit("k", "1", &id("1'")), Admission::HandOut);
        assert_eq!(order.admit("k", "2", &id("2'")), Admission::HandOut);

        // The head is gone to the dead-letter topic: the next one comes again instead of it.
        assert_eq!(order.retry("k", &id("1'"), Instant::now(), "one"), Ok(()));
        assert_eq!(order.release(None).len(), 1);
        assert_eq!(order.admit("k", "2", &id("2''")), Admission::Return);
        assert_eq!(order.admit("k", "2", &id("2'''")), Admission::HandOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_retry_joins_the_one_that_is_held() {
        let mut order = Order::default();
        out(&mut order, &["1", "2", "3"]);
        assert_eq!(order.retry("k", &id("2"), Instant::now() + HOUR, "two"), Ok(()));
        assert_eq!(order.retry("k", &id("3"), Instant::now(), "three"), Err("three"));
        assert_eq!(order.retry("k", &id("1"), Instant::now(), "one"), Ok(()));

        assert_eq!(order.next_due(), Some(Instant::now() + HOUR));
        let released = order.release(None).pop().unwrap();
        assert_eq!((released.ids.len(), released.settlements), (3, vec!["two", "one"]));
        order.sweep();
        assert_eq!(order.keys.len(), 1);
        tokio::time::advance(2 * PIPE).await;
        order.sweep();
        assert!(order.keys.is_empty());
    }
}
