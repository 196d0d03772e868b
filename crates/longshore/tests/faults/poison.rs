//! Messages that can never be events, among those that can.

use std::collections::HashMap;
use std::time::Duration;

use longshore_testkit::rabbitmq::{Outgoing, QueueKind};
use tokio::time::Instant;

use crate::load::{Published, broadcast};
use crate::stage::{PATIENCE, Stage};

/// Good messages per round, of which every hundredth is followed by a bad one.
const MESSAGES: u64 = 2_000;
/// Rounds of each kind; they take turns, so that both see the same machine.
const ROUNDS: u64 = 3;

/// A message that can never be an event, and the reason to be found beside it.
fn poison(number: u64) -> (Outgoing, &'static str) {
    let kind = |message: Outgoing, kind| message.header("x-convoy-message-type", kind);
    let n = format!(r#""data": {{"n": {number}}}"#);
    match number % 4 {
        0 => (kind(Outgoing::new(format!(r#"{{"event_type": "a", {n}"#)), "broadcast"), "undecodable"),
        1 => (kind(Outgoing::new(format!("{{{n}}}")), "broadcast"), "invalid_field"),
        2 => {
            let body = format!(r#"{{"event_type": "a", "endpoint_id": "01JD00000000000000000NSUCH", {n}}}"#);
            (kind(Outgoing::new(body), "single"), "unknown_endpoint")
        }
        _ => (kind(Outgoing::new(format!(r#"{{"event_type": "a", {n}}}"#)), "multicast"), "unknown_kind"),
    }
}

/// Drains a backlog and gives the time from the first webhook to the last.
async fn drain(stage: &Stage, messages: Vec<Outgoing>) -> Duration {
    stage.queue.publish(messages).await;
    let before = stage.receiver.count();
    let mut gateway = stage.setup().start().await;
    stage.receiver.wait_for(before + 1, PATIENCE).await;
    let first = Instant::now();
    stage.receiver.wait_for(before + usize::try_from(MESSAGES).unwrap(), PATIENCE).await;
    let took = first.elapsed();
    stage.depth_is(0).await;
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn one_percent_of_poison_is_quarantined_and_slows_nobody_down() {
    let stage = Stage::new(QueueKind::Classic).await;
    stage.subscribe().await;
    let (mut clean, mut poisoned) = (Duration::ZERO, Duration::ZERO);
    let mut published = Published::default();
    let mut bad: HashMap<Vec<u8>, &str> = HashMap::new();
    let now = Instant::now();
    for round in 0..=2 * ROUNDS {
        let numbers = round * MESSAGES..(round + 1) * MESSAGES;
        published.confirmed.extend(numbers.clone().map(|number| (number, now)));
        let mut messages = Vec::new();
        for number in numbers {
            messages.push(broadcast(number));
            if round % 2 == 1 && number % 100 == 50 {
                let (message, reason) = poison(number / 100);
                bad.insert(message.body.clone(), reason);
                messages.push(message);
            }
        }
        let took = drain(&stage, messages).await;
        match round {
            0 => {} // a warm-up: the first run of a fresh database is slower
            _ if round % 2 == 1 => poisoned += took,
            _ => clean += took,
        }
    }

    let tally = stage.tally(&published).await;
    tally.assert_exactly_once_stored(&format!("1 % poison: {clean:?} without, {poisoned:?} with"));
    let query = "SELECT body, reason FROM quarantine";
    let rows: Vec<(Vec<u8>, String)> = sqlx::query_as(query).fetch_all(&stage.pool).await.unwrap();
    assert_eq!(rows.len(), bad.len(), "every bad message is kept, once");
    for (body, reason) in rows {
        assert_eq!(bad.get(&body).copied(), Some(reason.as_str()), "{}", String::from_utf8_lossy(&body));
    }
    assert!(poisoned.mul_f64(0.8) <= clean, "{poisoned:?} with poison, {clean:?} without");
}
