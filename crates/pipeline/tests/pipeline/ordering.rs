//! Ordered delivery: one after the other within a key, keys beside each other, whatever happens in between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::{Endpoint, EndpointStatus};
use longshore_core::subscription::{OnExhausted, Ordered, Subscription, TypePattern};
use longshore_core::{Clock, DeliveryState, Snapshot, SubscriptionId, Timestamp};
use longshore_source::memory::Publication;
use longshore_testkit::memory::{Fault, Op, StoredDelivery};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::bed::{A, B, Bed, Process, SECOND, endpoint, host, project, retries, with};
use super::transport::{Call, DOWN, OK, Reply};

const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_u128(0x50);

fn subscription(ordered: Option<OnExhausted>) -> Subscription {
    Subscription {
        id: SUBSCRIPTION,
        project: super::bed::PROJECT,
        endpoint: A,
        name: "ordered".to_owned(),
        event_types: vec![TypePattern::Any],
        filters: Vec::new(),
        retry: None,
        ordered: ordered.map(|policy| Ordered::new("body:k".parse().unwrap(), policy).unwrap()),
        source: None,
    }
}

fn snapshot(endpoint_a: Endpoint, ordered: Option<OnExhausted>, delays: &[u64]) -> Snapshot {
    let endpoints = vec![endpoint_a, endpoint(B)];
    Snapshot::new(vec![project(retries(delays))], endpoints, vec![subscription(ordered)])
}

/// A bed whose endpoint A takes events in the order of their `k`.
fn bed(policy: OnExhausted, delays: &[u64]) -> Bed {
    let bed = Bed::new();
    configure(&bed, snapshot(endpoint(A), Some(policy), delays));
    bed
}

fn configure(bed: &Bed, snapshot: Snapshot) {
    bed.config.send_replace(Arc::new(snapshot));
}

fn publish(bed: &Bed, n: u64, key: Option<&str>) {
    let key = key.map(|key| format!(r#","k":"{key}""#)).unwrap_or_default();
    let body = format!(r#"{{"event_type": "a", "endpoint_id": "{A}", "data": {{"n":{n}{key}}}}}"#);
    bed.broker.publish(Publication {
        message_id: Some(format!("m-{n}")),
        timestamp_ms: Some(bed.clock.now().as_millis()),
        ..Publication::from(body)
    });
}

fn number(call: &Call) -> u64 {
    serde_json::from_slice::<serde_json::Value>(&call.body).unwrap()["n"].as_u64().unwrap()
}

fn key(call: &Call) -> String {
    serde_json::from_slice::<serde_json::Value>(&call.body).unwrap()["k"].as_str().unwrap_or("-").to_owned()
}

fn numbers(bed: &Bed) -> Vec<u64> {
    bed.script.calls_to(&host(A)).iter().map(number).collect()
}

#[tokio::test(start_paused = true)]
async fn one_key_goes_out_one_after_the_other_and_keys_go_beside_each_other() {
    let bed = bed(OnExhausted::Block, &[5]);
    let process = bed.start();
    bed.script.on(&host(A), [Reply::Status(200, SECOND)]);
    let start = Instant::now();

    (0..20).for_each(|n| publish(&bed, n, Some(if n % 2 == 0 { "even" } else { "odd" })));
    bed.until(DeliveryState::Success, 20).await;

    let calls = bed.script.calls_to(&host(A));
    for wanted in ["even", "odd"] {
        let of_key: Vec<&Call> = calls.iter().filter(|call| key(call) == wanted).collect();
        let sent: Vec<u64> = of_key.iter().map(|call| number(call)).collect();
        assert!(sent.len() == 10 && sent.is_sorted(), "{wanted}: {sent:?}");
        assert!(of_key.windows(2).all(|pair| pair[1].at - pair[0].at >= SECOND), "{wanted}: two at once");
        assert!(of_key.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    }
    assert_eq!(bed.script.most_to(&host(A)), 2);
    // No poll in between: what is next comes with the record.
    assert!(start.elapsed() < 11 * SECOND, "{:?}", start.elapsed());
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_without_the_key_waits_for_nobody() {
    let bed = bed(OnExhausted::Block, &[5]);
    let _process = bed.start();
    bed.script.on(&host(A), [Reply::Status(200, 5 * SECOND)]);

    publish(&bed, 0, Some("a"));
    publish(&bed, 1, Some("a"));
    (2..5).for_each(|n| publish(&bed, n, None));
    bed.until(DeliveryState::Success, 5).await;

    let calls = bed.script.calls_to(&host(A));
    let at = |n| calls.iter().find(|call| number(call) == n).unwrap().at;
    assert!(at(1) - at(0) >= 5 * SECOND);
    assert!(at(2) < at(1) && bed.script.most_to(&host(A)) > 1, "{calls:?}");
    let in_lanes = bed.database.deliveries().iter().filter(|row| row.place.is_some()).count();
    assert_eq!(in_lanes, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_holds_its_key_back_and_no_other() {
    let bed = bed(OnExhausted::Block, &[5, 30]);
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN, DOWN, OK]);

    publish(&bed, 0, Some("a"));
    publish(&bed, 1, Some("a"));
    bed.wait("two attempts", |_| bed.script.calls().len() == 2).await;
    publish(&bed, 2, Some("b"));
    bed.until(DeliveryState::Success, 3).await;

    assert_eq!(numbers(&bed), [0, 0, 2, 0, 1]);
    let calls = bed.script.calls();
    assert!(calls[0].sequence == calls[1].sequence && calls[1].sequence == calls[3].sequence);
}

#[tokio::test(start_paused = true)]
async fn every_request_has_a_number_that_grows_from_event_to_event() {
    let bed = Bed::new();
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN, OK]);

    bed.publish(A, 0..5);
    bed.until(DeliveryState::Success, 5).await;

    let mut calls = bed.script.calls();
    let repeated = calls.iter().filter(|call| call.sequence == calls[0].sequence).count();
    assert_eq!(repeated, 2, "an attempt more of a delivery has its number");
    calls.sort_by_key(number);
    calls.dedup_by_key(|call| number(call));
    assert!(calls.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert!(calls.iter().all(|call| (1..1 << 53).contains(&call.sequence)));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_is_skipped_set_aside_or_waited_for() {
    for (policy, state, went_on) in [
        (OnExhausted::Skip, DeliveryState::Failure, true),
        (OnExhausted::Park, DeliveryState::Retry, true),
        (OnExhausted::Block, DeliveryState::Retry, false),
    ] {
        let bed = bed(policy, &[5]);
        let process = bed.start();
        bed.script.on(&host(A), [DOWN, DOWN, OK]);

        (0..3).for_each(|n| publish(&bed, n, Some("a")));
        bed.wait("given up", |_| bed.script.calls().len() >= 2).await;
        tokio::time::sleep(3_600 * SECOND).await;

        let sent: &[u64] = if went_on { &[0, 0, 1, 2] } else { &[0, 0] };
        assert_eq!(numbers(&bed), sent, "{policy:?}");
        assert_eq!(bed.database.count_in(state), 1, "{policy:?}");
        assert_eq!(process.ledger.held(), (0, 0), "{policy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_empties_in_order_after_its_subscription_keeps_none_any_more() {
    let bed = bed(OnExhausted::Block, &[5]);
    let _process = bed.start();
    bed.script.on(&host(A), [DOWN, DOWN, Reply::Status(200, SECOND)]);
    (0..5).for_each(|n| publish(&bed, n, Some("a")));
    bed.script.wait_for(1).await;

    configure(&bed, snapshot(endpoint(A), None, &[5]));
    bed.script.wait_for(2).await;
    (5..8).for_each(|n| publish(&bed, n, Some("a")));
    bed.until(DeliveryState::Success, 7).await;

    // What exhausts its attempts has failed.
    bed.until(DeliveryState::Failure, 1).await;
    let old: Vec<u64> = numbers(&bed).into_iter().filter(|n| *n < 5).collect();
    assert_eq!(old, [0, 0, 1, 2, 3, 4]);
    assert!(bed.script.most_to(&host(A)) > 1, "new ones go at once");
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_a_lane_and_a_removed_endpoint_empties_it() {
    let bed = bed(OnExhausted::Block, &[5]);
    let _process = bed.start();
    let paused = with(endpoint(A), |endpoint| endpoint.status = EndpointStatus::Paused);
    configure(&bed, snapshot(paused, Some(OnExhausted::Block), &[5]));
    (0..5).for_each(|n| publish(&bed, n, Some("a")));
    tokio::time::sleep(60 * SECOND).await;
    assert!(bed.script.calls().is_empty());

    bed.script.on(&host(A), [Reply::Status(200, SECOND)]);
    configure(&bed, snapshot(endpoint(A), Some(OnExhausted::Block), &[5]));
    bed.until(DeliveryState::Success, 2).await;
    let off = with(endpoint(A), |endpoint| endpoint.status = EndpointStatus::Inactive);
    configure(&bed, snapshot(off, Some(OnExhausted::Block), &[5]));
    bed.wait("the end", |database| database.deliveries().iter().all(|d| d.state.is_final())).await;

    let sent = numbers(&bed);
    assert!(sent.len() < 5 && sent.is_sorted(), "{sent:?}");
    assert_eq!(bed.database.count_in(DeliveryState::Discarded), 5 - sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_stored_one_by_one_keeps_its_order() {
    let bed = bed(OnExhausted::Block, &[5]);
    bed.database.reject(|new| new.event.body.ends_with(br#""n":3,"k":"a"}"#));
    (0..8).for_each(|n| publish(&bed, n, Some("a")));
    let _process = bed.start();

    bed.until(DeliveryState::Success, 7).await;

    assert_eq!(numbers(&bed), [0, 1, 2, 4, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_reply_is_lost_holds_a_lane_for_no_time() {
    let bed = bed(OnExhausted::Block, &[5]);
    let process = bed.start();
    bed.database.plan(Op::Record, [Fault::LostReply]);
    let start = Instant::now();

    (0..3).for_each(|n| publish(&bed, n, Some("a")));
    bed.until(DeliveryState::Success, 3).await;

    assert_eq!(numbers(&bed), [0, 1, 2]);
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    tokio::time::sleep(SECOND).await;
    assert_eq!(process.ledger.held(), (0, 0));
}

struct Model {
    bed: Bed,
    rng: StdRng,
    processes: Vec<Process>,
    published: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut bed = bed(OnExhausted::Skip, &[1, 4]);
        // Lanes wait for room as everything does.
        bed.ledger.deliveries = 4 + usize::try_from(seed % 5).unwrap();
        let processes = vec![bed.start(), bed.start()];
        Self { bed, rng: StdRng::seed_from_u64(seed), processes, published: 0 }
    }

    async fn act(&mut self) {
        let bed = &self.bed;
        match self.rng.random_range(0..13) {
            0..=3 => {
                for _ in 0..self.rng.random_range(1..20) {
                    let key = ["a", "b", "c"][self.rng.random_range(0..3)];
                    publish(bed, self.published, Some(key).filter(|_| self.rng.random_range(0..10) > 0));
                    self.published += 1;
                }
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
                    _ => drop(tokio::time::timeout(10 * SECOND, process.stop()).await),
                }
                self.processes.push(self.bed.start());
            }
            9 => bed.script.set_down(self.rng.random()),
            10 => {
                let slow = Duration::from_millis(self.rng.random_range(1..9_000));
                let replies = [OK, DOWN, Reply::Status(200, slow), OK, Reply::Wait(3 * SECOND)];
                let script = (0..4).map(|_| replies[self.rng.random_range(0..replies.len())]);
                bed.script.on(&host(A), script.chain([OK]));
            }
            _ => tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..8_000))).await,
        }
    }

    /// Of each lane at most one delivery is due or claimed, and requests begin in its order: one more than once, but
    /// never one that comes before what was begun.
    fn check(&self, seed: u64) {
        let deliveries = self.bed.database.deliveries();
        let mut turns: HashMap<_, Vec<&StoredDelivery>> = HashMap::new();
        let never = Timestamp::from_micros(i64::MAX);
        for row in deliveries.iter().filter(|row| row.due_at.is_some_and(|due_at| due_at != never)) {
            if let Some(place) = row.place {
                turns.entry(place.lane).or_default().push(row);
            }
        }
        assert!(turns.values().all(|rows| rows.len() == 1), "seed {seed}: two turns at once: {turns:?}");
        let mut latest: HashMap<String, (u64, u64)> = HashMap::new();
        for call in self.bed.script.calls_to(&host(A)).iter().filter(|call| key(call) != "-") {
            let now = (call.sequence, number(call));
            let before = latest.insert(key(call), now).unwrap_or_default();
            assert!(before.0 <= now.0, "seed {seed}: {} after {} of `{}`", now.1, before.1, key(call));
            assert!(before.0 < now.0 || before.1 == now.1, "seed {seed}: two of one number");
        }
    }

    async fn end(self, seed: u64) {
        self.bed.database.set_outage(false);
        self.bed.script.set_down(false);
        self.bed.script.on(&host(A), [OK]);
        let (bed, published) = (&self.bed, self.published);
        let is_over = || {
            let deliveries = bed.database.deliveries();
            deliveries.len() as u64 == published && deliveries.iter().all(|row| row.state.is_final())
        };
        let over = tokio::time::timeout(3_600 * SECOND, bed.database.wait_until(|_| is_over())).await;
        let stuck: Vec<_> =
            bed.database.deliveries().into_iter().filter(|row| !row.state.is_final()).collect();
        assert!(over.is_ok(), "seed {seed}: {published} published, stuck: {stuck:?}");
        self.check(seed);
        tokio::time::sleep(120 * SECOND).await;
        for process in &self.processes {
            assert_eq!(process.ledger.held(), (0, 0), "seed {seed}: room is leaked");
        }
    }
}

#[test]
fn no_lane_is_out_of_order_twice_at_once_or_stuck() {
    for seed in 0..60 {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new(seed);
            for _ in 0..80 {
                model.act().await;
                model.check(seed);
            }
            model.end(seed).await;
        });
    }
}
