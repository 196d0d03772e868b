//! Claims about sources whose producers wait: the acknowledgement is an answer, and nobody goes without one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use super::{Answer, Harness, LIMIT, ack, bodies, close, panicked, slots, take, text};
use crate::message::{Message, Receipt, Refusal};
use crate::source::Source;

/// Every way a message can end, side by side.
pub(super) async fn every_producer_is_told_what_became_of_its_message<H: Harness>(harness: &mut H) {
    const DELAY: Duration = Duration::from_secs(2);
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(50)).await;
    harness.publish(bodies(5)).await;

    let mut messages = take(&mut source, 5, LIMIT).await;
    messages.sort_by_key(text);
    for (number, Message { ack, .. }) in messages.into_iter().enumerate() {
        match number {
            0 => ack.ack(Receipt::default()),
            1 => drop(ack),
            2 => ack.retry(None),
            3 => ack.retry(Some(DELAY)),
            _ => ack.refuse(Refusal { field: "event_type".to_owned(), problem: "must be text".to_owned() }),
        }
    }
    let answers = answers(harness, 5).await;

    assert_eq!(answers["message 0"], Answer::Stored);
    for (what, body) in [("dropped", "message 1"), ("retried", "message 2")] {
        let answer = &answers[body];
        assert!(matches!(answer, Answer::Repeat(after) if !after.is_zero()), "{what}, but told {answer:?}");
    }
    let answer = &answers["message 3"];
    assert!(
        matches!(answer, Answer::Repeat(after) if *after >= DELAY),
        "not before 2 s, but told {answer:?}"
    );
    let answer = &answers["message 4"];
    let told_why = |why: &str| why.contains("event_type") && why.contains("must be text");
    assert!(matches!(answer, Answer::Refused(why) if told_why(why)), "refused, but told {answer:?}");
    assert_eq!(harness.left().await, 4, "the answers and the count of those without do not agree");
    close(source).await;
}

/// One message is stored, one is held past the deadline, two were never handed out.
pub(super) async fn close_answers_everybody<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(40)).await;
    harness.publish(bodies(4)).await;

    let mut messages = take(&mut source, 2, LIMIT).await;
    let (stored, held) = (messages.remove(0), messages.remove(0));
    let stored_text = text(&stored);
    ack([stored]);
    let closed = timeout(LIMIT, source.close(Duration::from_millis(200))).await;
    assert!(closed.is_ok(), "close waited past its deadline for a token");

    let answers = answers(harness, 4).await;
    for (body, answer) in answers {
        let stored = body == stored_text;
        assert_eq!(answer == Answer::Stored, stored, "of {body:?}: {answer:?}");
        assert!(stored || matches!(answer, Answer::Repeat(_)), "close must have it repeated: {answer:?}");
    }
    // Too late, and harmless: its producer was told to repeat.
    ack([held]);
    assert_eq!(harness.left().await, 3);
}

async fn answers<H: Harness>(harness: &mut H, count: usize) -> BTreeMap<String, Answer> {
    let answers = timeout(LIMIT, harness.answers()).await;
    let answers = answers.unwrap_or_else(|_| panicked("a producer was not answered"));
    assert_eq!(answers.len(), count, "not every producer was answered: {answers:?}");
    answers
}
