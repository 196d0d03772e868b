//! Claims about how a message's life ends.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Harness, LIMIT, ack, bodies, close, slots, take, text, texts};
use crate::message::Receipt;
use crate::source::Source;

pub(super) async fn an_acknowledged_message_is_gone<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    harness.publish(bodies(3)).await;

    let messages = take(&mut source, 3, LIMIT).await;
    assert_eq!(texts(&messages), bodies(3).into_iter().collect());
    ack(messages);

    close(source).await;
    assert_eq!(harness.left().await, 0, "acknowledged messages are still there");
}

pub(super) async fn a_dropped_message_is_not_gone<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    harness.publish(bodies(2)).await;

    let mut messages = take(&mut source, 2, LIMIT).await;
    ack(messages.pop());
    let closing = tokio::spawn(source.close(LIMIT));
    drop(messages);

    let closed = timeout(LIMIT, closing).await.expect("close did not see the dropped token");
    assert!(matches!(closed, Ok(Ok(()))), "close failed: {closed:?}");
    let left = if harness.keeps_a_position() { 2 } else { 1 };
    assert_eq!(harness.left().await, left, "a message whose token was dropped is gone");
}

pub(super) async fn a_dropped_message_comes_again<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    harness.publish(bodies(1)).await;

    let first = take(&mut source, 1, LIMIT).await;
    let position = first[0].position.clone();
    drop(first);
    let second = take(&mut source, 1, LIMIT).await;
    assert_eq!((text(&second[0]), &second[0].position), ("message 0".to_owned(), &position));
    if source.features().redelivery_count {
        assert_eq!(second[0].attempt, Some(2), "the second delivery is not counted");
    }
    ack(second);

    close(source).await;
    assert_eq!(harness.left().await, 0);
}

pub(super) async fn a_retried_message_comes_again<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    let delay = Duration::from_secs(1);
    harness.publish(bodies(1)).await;

    for message in take(&mut source, 1, LIMIT).await {
        message.ack.retry(None);
    }
    let begun = Instant::now();
    for message in take(&mut source, 1, LIMIT).await {
        message.ack.retry(Some(delay));
    }
    let last = take(&mut source, 1, LIMIT).await;
    if source.features().native_retry_delay {
        assert!(begun.elapsed() >= delay, "a retry came {:?} after, not {delay:?}", begun.elapsed());
    }
    ack(last);

    close(source).await;
    assert_eq!(harness.left().await, 0);
}

/// The last one first, then every other one, then the rest: whatever is put together must not cover what is open.
pub(super) async fn any_order_of_settling_is_right<H: Harness>(harness: &mut H) {
    const COUNT: usize = 60;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(COUNT)).await;
    harness.publish(bodies(COUNT)).await;

    let mut messages = take(&mut source, COUNT, LIMIT).await;
    ack(messages.pop());
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for (number, message) in messages.into_iter().enumerate() {
        if number % 2 == 1 { early.push(message) } else { late.push(message) }
    }
    ack(early);
    // Gives the source the chance to tell the broker of the first lot alone.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let kept = late.split_off(late.len() - 1);
    late.reverse();
    ack(late);
    let closing = tokio::spawn(source.close(LIMIT));
    drop(kept);

    let closed = timeout(LIMIT, closing).await.expect("close did not return");
    assert!(matches!(closed, Ok(Ok(()))), "close failed: {closed:?}");
    // The last one was acknowledged, and stands behind the one that was not.
    let left = if harness.keeps_a_position() { 2 } else { 1 };
    assert_eq!(harness.left().await, left, "exactly what was not acknowledged must be left");
}

pub(super) async fn close_waits_for_tokens_and_flushes<H: Harness>(harness: &mut H) {
    const COUNT: usize = 100;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(COUNT)).await;
    harness.publish(bodies(COUNT)).await;

    let mut messages = take(&mut source, COUNT, LIMIT).await;
    let last = messages.pop();
    ack(messages);
    let closing = tokio::spawn(source.close(LIMIT));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!closing.is_finished(), "close did not wait for a token that is out");
    ack(last);

    let closed = timeout(LIMIT, closing).await.expect("close did not return after the last token");
    assert!(matches!(closed, Ok(Ok(()))), "close failed: {closed:?}");
    assert_eq!(harness.left().await, 0, "close did not flush what was acknowledged");
}

pub(super) async fn close_keeps_its_deadline<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    harness.publish(bodies(2)).await;

    let mut messages = take(&mut source, 2, LIMIT).await;
    let held = messages.pop();
    ack(messages);
    let closed = timeout(LIMIT, source.close(Duration::from_millis(200))).await;

    assert!(closed.is_ok(), "close waited past its deadline for a token");
    if let Some(message) = held {
        // Too late, and without effect: the source is gone.
        message.ack.ack(Receipt::default());
    }
    assert_eq!(harness.left().await, 1, "what was unsettled at the deadline must go back");
}
