//! Values that live for a while, each made by one caller while others wait for it.
//!
//! What it does not do: refresh ahead, or keep its lock while a value is made. Invariants: at most one caller makes a
//! key's value at a time; one that gives up leaves the making to the next; never more than `capacity` entries.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Values by key.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: Mutex<HashMap<K, Arc<Slot<V>>>>,
    capacity: usize,
}

/// A value and its end, once it is made.
type Slot<V> = OnceCell<(V, Instant)>;

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Mutex::default(), capacity }
    }

    /// The key's value if it lives and `is_good`; otherwise the one that `make` makes, for as long as it says.
    pub(super) async fn get<Q>(
        &self,
        key: &Q,
        is_good: impl Fn(&V) -> bool,
        make: impl Future<Output = (V, Duration)>,
    ) -> V
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let slot = self.slot(key, is_good);
        let made = slot.get_or_init(|| async {
            let (value, life) = make.await;
            (value, Instant::now() + life)
        });
        made.await.0.clone()
    }

    /// Forgets the key's value if it is such a one.
    pub(super) fn forget<Q>(&self, key: &Q, is_such: impl Fn(&V) -> bool)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut entries = self.entries();
        if entries.get(key).and_then(|slot| slot.get()).is_some_and(|(value, _)| is_such(value)) {
            entries.remove(key);
        }
    }

    fn slot<Q>(&self, key: &Q, is_good: impl Fn(&V) -> bool) -> Arc<Slot<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = Instant::now();
        let mut entries = self.entries();
        if let Some(slot) = entries.get(key)
            && slot.get().is_none_or(|(value, end)| now < *end && is_good(value))
        {
            return Arc::clone(slot);
        }
        if entries.len() >= self.capacity {
            entries.retain(|_, slot| slot.get().is_none_or(|(_, end)| now < *end));
        }
        if entries.len() >= self.capacity {
            // All alive: some go, and enough of them that this does not happen with every new key.
            let mut kept = self.capacity - self.capacity.div_ceil(8);
            entries.retain(|_, _| {
                let is_kept = kept > 0;
                kept = kept.saturating_sub(1);
                is_kept
            });
        }
        Arc::clone(entries.entry(key.to_owned()).insert_entry(Arc::default()).get())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot<V>>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn count(cache: &Cache<String, usize>, key: &str, made: &AtomicUsize, life: Duration) -> usize {
        let make = async {
            tokio::time::sleep(SECOND / 10).await;
            (made.fetch_add(1, Ordering::Relaxed) + 1, life)
        };
        cache.get(key, |_| true, make).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_makes_what_all_wait_for_and_it_lives_as_long_as_it_says() {
        let (cache, made) = (Cache::new(10), AtomicUsize::new(0));

        let (a, b) = tokio::join!(count(&cache, "a", &made, SECOND), count(&cache, "a", &made, SECOND));
        assert_eq!((a, b, count(&cache, "a", &made, SECOND).await), (1, 1, 1));

        tokio::time::advance(SECOND).await;
        assert_eq!(count(&cache, "a", &made, SECOND).await, 2);
        assert_eq!(cache.get("a", |value| *value != 2, async { (9, SECOND) }).await, 9);
        cache.forget("a", |value| *value == 2);
        assert_eq!(count(&cache, "a", &made, SECOND).await, 9);
        cache.forget("a", |value| *value == 9);
        assert_eq!(count(&cache, "a", &made, SECOND).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_the_making_to_the_next() {
        let (cache, made) = (Cache::new(10), AtomicUsize::new(0));
        let quitter = tokio::time::timeout(SECOND / 20, count(&cache, "a", &made, SECOND));

        let (quit, value) = tokio::join!(quitter, count(&cache, "a", &made, SECOND));

        assert!(quit.is_err());
        assert_eq!(value, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded() {
        let (cache, made) = (Cache::new(8), AtomicUsize::new(0));
        for key in 0..100 {
            count(&cache, &key.to_string(), &made, 1000 * SECOND).await;
            assert!(cache.entries().len() <= 8);
        }
        assert!(cache.entries().contains_key("99"));
    }
}
