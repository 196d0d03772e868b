//! How many events of a project are taken in: its ingest limit, over the whole fleet.
//!
//! A process leases a tenth of the limit at a time and counts in memory; no request waits for Postgres. What it takes in
//! before a lease is there is owed and booked with the next one, so the limit holds in the long run, and at once but for a
//! tenth per process. HTTP refuses what is above (`429`), a broker's messages stay there until there is room. While Postgres
//! is away nothing is refused here: nothing can be stored either.
//!
//! Invariant: a project without a limit costs nothing.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_core::ports::{RateLanes, TokenAsk, TokenGrant};
use longshore_core::{ProjectId, RateLimit};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A lease is this part of the limit.
const PART: u32 = 10;
/// How long after a failure Postgres is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a broker's consumer that waits looks again: the limit may have changed.
const GLANCE: Duration = Duration::from_millis(250);
/// How long an answer to a lease is waited for before a consumer looks again.
const MOMENT: Duration = Duration::from_millis(10);

/// The ingest limits of every project; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    purses: Mutex<HashMap<ProjectId, Purse>>,
    is_needed: Notify,
}

/// How a project stands with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Events per the limit's time.
    pub limit: u32,
    /// Events that this process knows to be left.
    pub remaining: u32,
    /// Until the whole limit is there again.
    pub full_in: Duration,
}

/// There is no room for an event now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How the project stands.
    pub standing: Standing,
    /// When to come again.
    pub retry_after: Duration,
}

#[derive(Debug)]
struct Purse {
    limit: RateLimit,
    /// Events that may be taken in, or that are owed when negative.
    tokens: i64,
    /// What everybody had left, as the last answer says, and when all is there again.
    left: u32,
    full_at: Instant,
    /// There is nothing to be had before then.
    more_at: Option<Instant>,
    is_asking: bool,
    /// Postgres is away.
    is_blind: bool,
}

impl Intake {
    /// Without anything leased.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn purses(&self) -> MutexGuard<'_, HashMap<ProjectId, Purse>> {
        self.shared.purses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one event of a project with that limit.
    ///
    /// # Errors
    /// [`Exhausted`]: the limit is used up for now.
    pub fn admit(&self, project: ProjectId, limit: RateLimit) -> Result<Standing, Exhausted> {
        let now = Instant::now();
        let mut purses = self.purses();
        let purse = Purse::of(&mut purses, project, limit, now);
        let is_there = purse.room(now) > 0;
        if is_there {
            purse.tokens -= 1;
        }
        let (standing, more_in) = (purse.standing(now), purse.more_in(now));
        let is_needed = purse.is_low() && !purse.is_asking;
        drop(purses);
        if is_needed {
            self.shared.is_needed.notify_one();
        }
        if is_there { Ok(standing) } else { Err(Exhausted { standing, retry_after: more_in }) }
    }

    /// Counts further events that were taken in, such as those of a batch after its first.
    pub fn spend(&self, project: ProjectId, limit: RateLimit, events: usize) {
        let mut purses = self.purses();
        let purse = Purse::of(&mut purses, project, limit, Instant::now());
        purse.tokens -= i64::try_from(events).unwrap_or(i64::MAX);
        let is_needed = purse.is_low() && !purse.is_asking;
        drop(purses);
        if is_needed {
            self.shared.is_needed.notify_one();
        }
    }

    /// Waits until something may be taken in, and says how much, at most `most`. `limit` is asked for the limit of the moment.
    /// Dropping the future takes nothing.
    pub(crate) async fn room(
        &self,
        project: ProjectId,
        limit: impl Fn() -> Option<RateLimit>,
        most: NonZeroUsize,
    ) -> NonZeroUsize {
        loop {
            let Some(limit) = limit() else { return most };
            let wait = {
                let now = Instant::now();
                let mut purses = self.purses();
                let purse = Purse::of(&mut purses, project, limit, now);
                let room = usize::try_from(purse.room(now)).unwrap_or(0);
                if let Some(room) = NonZeroUsize::new(room) {
                    return room.min(most);
                }
                if purse.more_at.is_some() { purse.more_in(now).clamp(MOMENT, GLANCE) } else { MOMENT }
            };
            self.shared.is_needed.notify_one();
            tokio::time::sleep(wait).await;
        }
    }

    /// Leases what is needed until `stop` is cancelled.
    pub async fn run<L: RateLanes>(self, lanes: Arc<L>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut failing = false;
            loop {
                self.shared.is_needed.notified().await;
                let asks = self.asks();
                if asks.is_empty() {
                    continue;
                }
                let answer = lanes.take_tokens(&asks).await;
                let is_lost = answer.is_err();
                match &answer {
                    Ok(_) => failing = false,
                    Err(error) if !std::mem::replace(&mut failing, true) => {
                        tracing::warn!(%error, "ingest limits are not enforced until Postgres answers");
                    }
                    Err(_) => {}
                }
                self.settle(&asks, &answer.unwrap_or_default());
                if is_lost {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        })
        .await;
    }

    fn asks(&self) -> Vec<TokenAsk> {
        let now = Instant::now();
        let mut asks = Vec::new();
        for (project, purse) in self.purses().iter_mut() {
            if purse.is_low() && !purse.is_asking && purse.more_at.is_none_or(|at| at <= now) {
                purse.is_asking = true;
                let owed = u32::try_from(-purse.tokens).unwrap_or(0);
                asks.push(TokenAsk { project: *project, limit: purse.limit, owed, wanted: purse.lease() });
            }
        }
        asks
    }

    fn settle(&self, asks: &[TokenAsk], grants: &[TokenGrant]) {
        let now = Instant::now();
        let mut purses = self.purses();
        for ask in asks {
            let Some(purse) = purses.get_mut(&ask.project) else { continue };
            purse.is_asking = false;
            let grant = grants.iter().find(|grant| grant.project == ask.project);
            purse.is_blind = grant.is_none();
            let Some(grant) = grant else { continue };
            purse.tokens += i64::from(ask.owed) + i64::from(grant.granted);
            purse.left = grant.left;
            purse.full_at = now + grant.full_in;
            purse.more_at = (grant.left == 0).then(|| now + grant.more_in);
        }
    }
}

impl Purse {
    fn of(
        purses: &mut HashMap<ProjectId, Self>,
        project: ProjectId,
        limit: RateLimit,
        now: Instant,
    ) -> &mut Self {
        let purse = purses.entry(project).or_insert_with(|| Self::new(limit, now));
        if purse.limit != limit {
            *purse =
                Self { is_asking: purse.is_asking, tokens: purse.tokens.min(0), ..Self::new(limit, now) };
        }
        purse
    }

    const fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, tokens: 0, left: 0, full_at: now, more_at: None, is_asking: false, is_blind: false }
    }

    fn lease(&self) -> u32 {
        (self.limit.count() / PART).max(1)
    }

    fn is_low(&self) -> bool {
        2 * self.tokens <= i64::from(self.lease())
    }

    /// How many may be taken in now: what is leased, and as much again on credit unless it is known that there is nothing.
    fn room(&self, now: Instant) -> i64 {
        if self.is_blind {
            return i64::from(self.limit.count());
        }
        let is_out = self.more_at.is_some_and(|at| at > now);
        let credit = if is_out { 0 } else { i64::from(self.lease()) };
        self.tokens + credit
    }

    fn standing(&self, now: Instant) -> Standing {
        let tokens = u32::try_from(self.tokens.max(0)).unwrap_or(u32::MAX);
        Standing {
            limit: self.limit.count(),
            remaining: tokens.saturating_add(self.left).min(self.limit.count()),
            full_in: self.full_at.saturating_duration_since(now),
        }
    }

    /// When there is one more: when everybody has, and this process has earned what it owes.
    fn more_in(&self, now: Instant) -> Duration {
        let more = self.more_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let owed = u32::try_from(-self.tokens).unwrap_or(0);
        more.max(self.limit.interval() * owed)
    }
}

#[cfg(test)]
mod tests {
    use longshore_testkit::clock::TokioClock;
    use longshore_testkit::memory::{Fault, MemoryDatabase, Op};

    use super::*;

    const PROJECT: ProjectId = ProjectId::from_u128(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn limit(count: u32, seconds: u32) -> RateLimit {
        RateLimit::new(count, SECOND * seconds).unwrap()
    }

    fn process(database: &MemoryDatabase) -> Intake {
        let intake = Intake::new();
        tokio::spawn(intake.clone().run(Arc::new(database.process()), CancellationToken::new()));
        intake
    }

    /// Takes in as much as goes, a request each millisecond, for so long.
    async fn flood(processes: &[Intake], limit: RateLimit, time: Duration) -> u32 {
        let end = Instant::now() + time;
        let mut admitted = 0;
        while Instant::now() < end {
            for intake in processes {
                admitted += u32::from(intake.admit(PROJECT, limit).is_ok());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        admitted
    }

    #[tokio::test(start_paused = true)]
    async fn a_fleet_takes_in_the_limit_at_once_and_then_what_fills_up() {
        let database = MemoryDatabase::new(TokioClock::new());
        let processes = [process(&database), process(&database)];

        let first = flood(&processes, limit(100, 10), SECOND).await;
        let later = flood(&processes, limit(100, 10), 10 * SECOND).await;

        assert!((100..=130).contains(&first), "{first}");
        assert!((80..=110).contains(&later), "{later}");
        assert!(database.calls(Op::TakeTokens) < 300, "{}", database.calls(Op::TakeTokens));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_is_told_when_to_come_again_and_is_admitted_then() {
        let database = MemoryDatabase::new(TokioClock::new());
        let intake = process(&database);
        flood(std::slice::from_ref(&intake), limit(10, 10), SECOND / 10).await;

        let refused = intake.admit(PROJECT, limit(10, 10)).unwrap_err();

        assert_eq!((refused.standing.limit, refused.standing.remaining), (10, 0));
        assert!(refused.standing.full_in <= 12 * SECOND && refused.standing.full_in > 8 * SECOND);
        assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= 3 * SECOND, "{refused:?}");
        tokio::time::sleep(refused.retry_after).await;
        assert!(intake.admit(PROJECT, limit(10, 10)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_is_paid_for_afterwards() {
        let database = MemoryDatabase::new(TokioClock::new());
        let intake = process(&database);
        assert!(intake.admit(PROJECT, limit(10, 10)).is_ok());
        intake.spend(PROJECT, limit(10, 10), 29);
        tokio::time::sleep(SECOND / 10).await;

        assert!(intake.admit(PROJECT, limit(10, 10)).is_err());
        tokio::time::sleep(18 * SECOND).await;
        assert!(intake.admit(PROJECT, limit(10, 10)).is_err());
        tokio::time::sleep(4 * SECOND).await;
        assert!(intake.admit(PROJECT, limit(10, 10)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_waits_for_room_and_a_lifted_limit_frees_it() {
        let database = MemoryDatabase::new(TokioClock::new());
        let intake = process(&database);
        let most = NonZeroUsize::new(500).unwrap();
        let mut taken = 0;
        let start = Instant::now();
        while start.elapsed() < 10 * SECOND {
            let room = intake.room(PROJECT, || Some(limit(10, 1)), most).await.get();
            assert!(room <= 10);
            intake.spend(PROJECT, limit(10, 1), room);
            taken += room;
        }
        assert!((90..=125).contains(&taken), "{taken}");

        intake.spend(PROJECT, limit(10, 1), 1_000);
        tokio::time::sleep(SECOND).await;
        let waiting = tokio::time::timeout(SECOND, intake.room(PROJECT, || Some(limit(10, 1)), most)).await;
        assert!(waiting.is_err());
        assert_eq!(intake.room(PROJECT, || None, most).await, most);
    }

    #[tokio::test(start_paused = true)]
    async fn without_postgres_nothing_is_refused_and_it_is_enforced_again_afterwards() {
        let database = MemoryDatabase::new(TokioClock::new());
        let intake = process(&database);
        // The last of them meets what was still wanted at the end of the second.
        database.plan(Op::TakeTokens, [Fault::Unavailable; 3]);

        let meanwhile = flood(std::slice::from_ref(&intake), limit(10, 10), SECOND).await;
        tokio::time::sleep(3 * SECOND).await;
        let afterwards = flood(std::slice::from_ref(&intake), limit(10, 10), 10 * SECOND).await;

        assert!(meanwhile > 400, "{meanwhile}");
        assert!(afterwards < 20, "{afterwards}");
    }
}
