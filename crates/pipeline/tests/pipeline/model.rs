//! Random actions against the whole pipeline, and five things that hold whatever happens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use longshore_core::DeliveryState;
use longshore_core::duration::HumanDuration;
use longshore_core::endpoint::BatchSettings;
use longshore_testkit::memory::{Op, StoredDelivery};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::bed::{A, B, Bed, Process, SECOND, endpoint, host, project, retries, with};
use super::transport::{DOWN, OK, Reply};

const SCHEDULE: [u64; 3] = [1, 4, 20];
const STEPS: usize = 80;

struct Model {
    bed: Bed,
    rng: StdRng,
    processes: Vec<Process>,
    published: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let bed = Bed::new();
        // In half of the runs one of the endpoints takes several events per request.
        let b = with(endpoint(B), |endpoint| {
            let batch = BatchSettings { max_events: 7, max_wait: HumanDuration(2 * SECOND) };
            endpoint.settings.batch = (seed % 2 == 1).then_some(batch);
        });
        let snapshot = longshore_core::Snapshot::new(
            vec![project(retries(&SCHEDULE))],
            vec![endpoint(A), b],
            Vec::new(),
        );
        bed.config.send_replace(std::sync::Arc::new(snapshot));
        let processes = vec![bed.start(), bed.start()];
        Self { bed, rng: StdRng::seed_from_u64(seed), processes, published: 0 }
    }

    async fn act(&mut self) {
        let bed = &self.bed;
        match self.rng.random_range(0..13) {
            0..=3 => {
                let count = self.rng.random_range(1..30);
                let endpoint = if self.rng.random() { A } else { B };
                bed.publish(endpoint, self.published..self.published + count);
                self.published += count;
            }
            4 => bed.broker.crash(),
            5 => bed.broker.disconnect(),
            6 => bed.database.set_outage(self.rng.random()),
            7 => {
                let ops = [Op::Persist, Op::Record, Op::Claim, Op::Heartbeat, Op::Waiting];
                let op = ops[self.rng.random_range(0..ops.len())];
                bed.database.lose_replies(op, self.rng.random_range(1..3));
            }
            8 => {
                let at = self.rng.random_range(0..self.processes.len());
                let process = self.processes.swap_remove(at);
                match self.rng.random_range(0..3) {
                    0 => process.kill(),
                    1 => process.cut().await,
                    _ => {
                        // What cannot stop softly within a while is cut off.
                        let _ = tokio::time::timeout(10 * SECOND, process.stop()).await;
                    }
                }
                self.processes.push(self.bed.start());
            }
            9 => bed.script.set_down(self.rng.random()),
            10 => {
                let slow = Duration::from_millis(self.rng.random_range(1..9_000));
                let replies = [OK, DOWN, Reply::Status(200, slow), OK, Reply::Wait(3 * SECOND)];
                bed.script.on(
                    &host(A),
                    (0..4).map(|_| replies[self.rng.random_range(0..replies.len())]).chain([OK]),
                );
            }
            _ => tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..8_000))).await,
        }
    }

    /// Holds at every moment.
    fn check(&self, seed: u64) {
        let stats = self.bed.broker.stats();
        let events = self.bed.database.events();
        assert!(stats.acked <= events.len() as u64, "seed {seed}: acked what is not stored: {stats:?}");
        let mut copies: HashMap<_, usize> = HashMap::new();
        for stored in &events {
            *copies.entry(stored.event.body.clone()).or_default() += 1;
        }
        assert!(copies.values().all(|count| *count == 1), "seed {seed}: an event twice");
        for delivery in self.bed.database.deliveries() {
            // A claim that was lost while its request was on the way makes the attempt twice: at least once is the promise
            // to endpoints. Those made under a claim that held are numbered, on time and within the budget.
            assert!(delivery.counted.len() <= SCHEDULE.len() + 1, "seed {seed}: {delivery:?}");
            for pair in delivery.counted.windows(2) {
                assert_eq!(pair[1].number, pair[0].number + 1, "seed {seed}: {delivery:?}");
                let wanted = Duration::from_secs(SCHEDULE[usize::from(pair[0].number) - 1]);
                let gap = pair[1].started_at.since(pair[0].started_at);
                assert!(gap >= wanted, "seed {seed}: {gap:?} before attempt {}", pair[1].number);
            }
            self.check_repeats(&delivery, seed);
        }
    }

    /// Attempts may be repeated, but only by another owner of the delivery, and never begun under a claim that is lost.
    fn check_repeats(&self, delivery: &StoredDelivery, seed: u64) {
        let mut numbers: HashSet<_> = HashSet::new();
        for (attempt, owner) in delivery.history.iter().zip(&delivery.made_by) {
            assert!(
                numbers.insert((*owner, attempt.number)),
                "seed {seed}: repeated by its owner: {delivery:?}"
            );
            let is_begun_in_time =
                self.bed.database.ended_at(*owner).is_none_or(|ended| attempt.started_at <= ended);
            assert!(is_begun_in_time, "seed {seed}: begun under a lost claim: {delivery:?}");
        }
    }

    /// Everything is well again: then everything comes to its end.
    async fn end(self, seed: u64) {
        self.bed.database.set_outage(false);
        self.bed.script.set_down(false);
        self.bed.script.on(&host(A), [OK]);
        let (bed, published) = (&self.bed, self.published);
        let is_over = || {
            let deliveries = bed.database.deliveries();
            deliveries.len() as u64 == published
                && deliveries.iter().all(|delivery| delivery.state.is_final())
        };
        let over = tokio::time::timeout(3_600 * SECOND, bed.database.wait_until(|_| is_over())).await;
        let lost: Vec<_> =
            bed.database.deliveries().into_iter().filter(|delivery| !delivery.state.is_final()).collect();
        assert!(
            over.is_ok(),
            "seed {seed}: {published} published, {:?}, stuck: {lost:?}",
            bed.broker.stats()
        );
        tokio::time::timeout(
            3_600 * SECOND,
            bed.database.wait_until(|_| bed.broker.stats().acked == published),
        )
        .await
        .unwrap_or_else(|_| panic!("seed {seed}: not everything is acked: {:?}", bed.broker.stats()));
        self.check(seed);
        assert_eq!(bed.database.events().len() as u64, published, "seed {seed}");
        let discarded = bed.database.count_in(DeliveryState::Discarded);
        assert_eq!(discarded, 0, "seed {seed}: every endpoint was active");
        tokio::time::sleep(120 * SECOND).await;
        for process in &self.processes {
            assert_eq!(process.ledger.held(), (0, 0), "seed {seed}: room is leaked");
        }
    }
}

#[test]
fn nothing_is_lost_doubled_acked_early_sent_early_or_sent_too_often() {
    for seed in 0..60 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new(seed);
            for _ in 0..STEPS {
                model.act().await;
                model.check(seed);
            }
            model.end(seed).await;
        });
    }
}
