//! Messages that can never be events, among those that can.

use std::collections::HashMap;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;
use tokio::time::Instant;

use crate::brokers::{on, rate};
use crate::load::{Published, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Rounds of each kind; they take turns, so that both see the same machine.
const ROUNDS: u64 = 3;

on!(one_percent_of_poison_is_quarantined_and_slows_nobody_down: rabbitmq, kafka, sqs, pubsub);

/// Good messages per round, of which every hundredth is followed by a bad one.
const fn messages(kind: BrokerKind) -> u64 {
    rate(kind) * 20 / 3
}

/// A message that can never be an event, and the reason to be found beside it.
fn poison(number: u64) -> (Publication, &'static str) {
    let kind = |message: Publication, kind| message.header("x-convoy-message-type", kind);
    let n = format!(r#""data": {{"n": {number}}}"#);
    match number % 4 {
        0 => (kind(Publication::new(format!(r#"{{"event_type": "a", {n}"#)), "broadcast"), "undecodable"),
        1 => (kind(Publication::new(format!("{{{n}}}")), "broadcast"), "invalid_field"),
        2 => {
            let body = format!(r#"{{"event_type": "a", "endpoint_id": "01JD00000000000000000NSUCH", {n}}}"#);
            (kind(Publication::new(body), "single"), "unknown_endpoint")
        }
        _ => (kind(Publication::new(format!(r#"{{"event_type": "a", {n}}}"#)), "multicast"), "unknown_kind"),
    }
}

/// Drains a backlog and gives the time from the first webhook to the last.
async fn drain(stage: &Stage, good: usize, messages: Vec<Publication>) -> Duration {
    stage.queue.publish(messages).await;
    let before = stage.receiver.count();
    let mut gateway = stage.setup().start().await;
    stage.receiver.wait_for(before + 1, PATIENCE).await;
    let first = Instant::now();
    stage.receiver.wait_for(before + good, PATIENCE).await;
    let took = first.elapsed();
    stage.depth_is(0).await;
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
    took
}

async fn one_percent_of_poison_is_quarantined_and_slows_nobody_down(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let (mut clean, mut poisoned) = (Duration::ZERO, Duration::ZERO);
    let mut published = Published::default();
    let mut bad: HashMap<Vec<u8>, &str> = HashMap::new();
    for round in 0..=2 * ROUNDS {
        let numbers = round * messages(kind)..(round + 1) * messages(kind);
        published.confirmed.extend(Published::of(numbers.clone()).confirmed);
        let (good, mut messages) = (numbers.clone().count(), Vec::new());
        for number in numbers {
            messages.push(broadcast(number));
            if round % 2 == 1 && number % 100 == 50 {
                let (message, reason) = poison(number / 100);
                bad.insert(message.body.clone().unwrap(), reason);
                messages.push(message);
            }
        }
        let took = drain(&stage, good, messages).await;
        match round {
            0 => {} // a warm-up: the first run of a fresh database is slower
            _ if round % 2 == 1 => poisoned += took,
            _ => clean += took,
        }
    }

    let tally = stage.tally(&published).await;
    let note = format!("{} quarantined; drained in {clean:.1?} without, {poisoned:.1?} with", bad.len());
    let verdict = tally.pass(&stage, record::POISON, note);
    let query = "SELECT body, reason FROM quarantine";
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(query).fetch_all(&stage.pool).await.unwrap();
    assert_eq!(rows.len(), bad.len(), "every bad message is kept, once");
    for (body, reason) in rows {
        assert_eq!(bad.get(&body).copied(), Some(reason.as_str()), "{}", String::from_utf8_lossy(&body));
    }
    assert!(poisoned.mul_f64(0.8) <= clean, "{poisoned:?} with poison, {clean:?} without");
    verdict.append();
}
