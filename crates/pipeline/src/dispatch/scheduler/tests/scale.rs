//! A thousand endpoints on virtual time: attempts take as long as their endpoint says, and nothing else takes any.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use longshore_core::AttemptOutcome;
use tokio::time::Instant;

use super::super::{Ended, Picked, Scheduler, Slot};
use super::bed::{delivery, limit, status};

const SLOTS: usize = 1_024;
const TIMEOUT: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_millis(20);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(1);

/// How an endpoint takes attempts: by the last digits of its number.
fn ended(endpoint: u128, others: u128) -> Ended {
    let (hanging, failing) = (others, 2 * others);
    match endpoint % 1_000 {
        id if id < hanging => Ended::Tried { outcome: AttemptOutcome::Timeout, took: TIMEOUT },
        id if id < failing => Ended::Tried { outcome: status(500), took: QUICK },
        _ => Ended::Tried { outcome: status(200), took: QUICK },
    }
}

/// A world of ticks.
struct World {
    scheduler: Scheduler,
    start: Instant,
    now: u32,
    /// What becomes due, by tick: endpoint and attempts so far.
    due: BTreeMap<u32, Vec<(u128, u16)>>,
    ending: BTreeMap<u32, Vec<(u128, u16, Slot, Ended)>>,
    /// Since when the fresh deliveries of each endpoint wait, in order.
    waiting: HashMap<u128, Vec<u32>>,
    /// Endpoints that hang, and as many that fail.
    others: u128,
    /// Ticks that fresh deliveries to healthy endpoints waited, by project.
    waits: HashMap<u128, Vec<u32>>,
    /// Most slots of hanging endpoints at once.
    hanging_most: usize,
    hanging: usize,
}

impl World {
    fn new(slots: usize, others: u128) -> Self {
        Self {
            scheduler: Scheduler::new(slots, 0.25, 0.25),
            start: Instant::now(),
            now: 0,
            due: BTreeMap::new(),
            ending: BTreeMap::new(),
            waiting: HashMap::new(),
            others,
            waits: HashMap::new(),
            hanging_most: 0,
            hanging: 0,
        }
    }

    /// A delivery of that endpoint, the thousand of its number being its project.
    fn publish(&mut self, tick: u32, endpoint: u128) {
        self.due.entry(tick).or_default().push((endpoint, 0));
    }

    fn run(&mut self, ticks: u32) {
        for tick in 0..ticks {
            self.now = tick;
            for (endpoint, attempts, slot, ended) in self.ending.remove(&tick).unwrap_or_default() {
                self.hanging -= usize::from(self.is_hanging(endpoint));
                self.scheduler.done(slot, ended, limit(50));
                let is_success = matches!(ended, Ended::Tried { outcome, .. } if outcome.is_success());
                if !is_success && attempts < 5 {
                    let at = tick + (RETRY_AFTER.as_millis() / TICK.as_millis()) as u32;
                    self.due.entry(at).or_default().push((endpoint, attempts + 1));
                }
            }
            for (endpoint, attempts) in self.due.remove(&tick).unwrap_or_default() {
                if attempts == 0 {
                    self.waiting.entry(endpoint).or_default().push(tick);
                }
                self.scheduler.push(delivery(endpoint / 1_000, endpoint, attempts, 0), limit(50));
            }
            self.start_attempts();
        }
    }

    fn start_attempts(&mut self) {
        while let Some(Picked { first: queued, slot, .. }) =
            self.scheduler.next(self.start + self.now * TICK, |_| limit(50))
        {
            let (endpoint, attempts) = (queued.delivery.endpoint.as_u128(), queued.delivery.attempts);
            let ended = ended(endpoint, self.others);
            let Ended::Tried { outcome, took } = ended else { continue };
            if attempts == 0 {
                let since = self.waiting.get_mut(&endpoint).map(|since| since.remove(0)).unwrap();
                if outcome.is_success() {
                    self.waits.entry(endpoint / 1_000).or_default().push(self.now - since);
                }
            }
            self.hanging += usize::from(self.is_hanging(endpoint));
            self.hanging_most = self.hanging_most.max(self.hanging);
            let at = self.now + (took.as_millis() / TICK.as_millis()) as u32;
            self.ending.entry(at).or_default().push((endpoint, attempts, slot, ended));
        }
    }

    fn is_hanging(&self, endpoint: u128) -> bool {
        endpoint % 1_000 < self.others
    }

    /// How many ticks 99 of 100 of the project's deliveries waited at most, and how many there were.
    fn p99(&mut self, project: u128) -> (u32, usize) {
        let waits = self.waits.get_mut(&project).unwrap();
        waits.sort_unstable();
        (waits[waits.len() * 99 / 100], waits.len())
    }
}

/// A thousand endpoints, ten events a second each for twelve seconds: a hundred times as many deliveries as slots.
fn thousand(others: u128) -> World {
    let mut world = World::new(SLOTS, others);
    for round in 0..120 {
        for endpoint in 0..1_000 {
            world.publish(100 * round + endpoint as u32 % 100, 1_000 + endpoint);
        }
    }
    world.run(13_000);
    world
}

#[test]
fn nine_hundred_healthy_endpoints_notice_nothing_of_fifty_that_hang_and_fifty_that_fail() {
    let (alone, count) = thousand(0).p99(1);
    assert_eq!(count, 120_000);

    let mut world = thousand(50);
    let (beside, count) = world.p99(1);

    assert_eq!(count, 108_000, "every delivery to a healthy one was sent");
    assert!(beside <= (2 * alone).max(1), "p99 of the wait: {alone} ms alone, {beside} ms beside");
    assert!(world.hanging_most <= SLOTS / 4, "{} slots held", world.hanging_most);
}

#[test]
fn a_tenant_with_nine_tenths_of_the_traffic_beyond_what_the_slots_bear_leaves_the_other_its_turns() {
    let small = |beside: bool| {
        let mut world = World::new(20, 0);
        for second in 0..10 {
            for event in 0..100 {
                world.publish(1_000 * second + 10 * event, 1_000 + u128::from(event % 10));
                if beside {
                    // 20 slots of 20 ms each bear 1,000 a second: together they send 1,100.
                    (0..10).for_each(|n| world.publish(1_000 * second + 10 * event, 2_000 + n));
                }
            }
        }
        world.run(12_000);
        world.p99(1)
    };
    let (alone, count) = small(false);
    assert_eq!(count, 1_000);

    let (beside, count) = small(true);

    assert_eq!(count, 1_000);
    // The wait for a slot to become free is that of one attempt at most; what the other has queued up is seconds.
    assert!(beside <= alone + 20, "p99 of the wait: {alone} ms alone, {beside} ms beside");
}
