//! Claims about how many messages are out, and that they keep coming.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::timeout;

use super::{Harness, LIMIT, QUIET, ack, bodies, close, slots, stays_quiet, take, text};
use crate::source::Source;

pub(super) async fn no_more_than_the_limit_is_out<H: Harness>(harness: &mut H) {
    const LIMIT_OUT: usize = 5;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(LIMIT_OUT)).await;
    harness.publish(bodies(2 * LIMIT_OUT)).await;

    // Asking for more than there are slots must neither wait for them all nor return more.
    let mut out = VecDeque::new();
    while out.len() < LIMIT_OUT {
        let messages = timeout(LIMIT, source.recv(slots(100))).await.expect("a batch above the limit waits");
        out.extend(messages.expect("the source ended"));
    }
    assert_eq!(out.len(), LIMIT_OUT, "more is out than the limit");
    assert!(stays_quiet(&mut source, QUIET).await, "a message came although every slot is taken");

    ack(out.pop_front());
    out.extend(take(&mut source, 1, LIMIT).await);
    ack(out);
    let rest = take(&mut source, LIMIT_OUT - 1, LIMIT).await;
    ack(rest);
    close(source).await;
    assert_eq!(harness.left().await, 0);
}

/// The consumer keeps a window of unsettled messages and asks for batches larger than what is free.
pub(super) async fn a_long_flow_passes_a_small_window<H: Harness>(harness: &mut H) {
    const WINDOW: usize = 50;
    harness.fresh_queue().await;
    let count = harness.flow_count();
    let mut source = harness.connect(slots(WINDOW)).await;
    harness.publish(bodies(count)).await;

    let mut seen = BTreeSet::new();
    let mut out = VecDeque::new();
    while seen.len() < count {
        // Leave at least one slot free, otherwise this very consumer would be what everything waits for.
        while out.len() > WINDOW / 2 {
            ack(out.pop_front());
        }
        let messages = timeout(LIMIT, source.recv(slots(4 * WINDOW))).await.expect("the flow came to a halt");
        for message in messages.expect("the source ended") {
            seen.insert(text(&message));
            out.push_back(message);
        }
        assert!(out.len() <= WINDOW, "{} messages are out, the limit is {WINDOW}", out.len());
    }
    ack(out);
    close(source).await;
    assert_eq!(harness.left().await, 0, "not everything was acknowledged");
}

pub(super) async fn a_dropped_recv_loses_nothing<H: Harness>(harness: &mut H) {
    const COUNT: usize = 200;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(COUNT)).await;

    let mut seen = BTreeSet::new();
    let mut published = false;
    let mut patience = Duration::from_micros(50);
    let begun = tokio::time::Instant::now();
    while seen.len() < COUNT {
        // Dropped again and again, before and while messages arrive.
        if let Ok(messages) = timeout(patience, source.recv(slots(7))).await {
            let messages = messages.expect("the source ended");
            seen.extend(messages.iter().map(text));
            ack(messages);
        } else {
            patience = (patience * 2).min(Duration::from_millis(20));
        }
        if !published {
            harness.publish(bodies(COUNT)).await;
            published = true;
        }
        assert!(begun.elapsed() < LIMIT, "only {} of {COUNT} messages came", seen.len());
    }
    close(source).await;
    assert_eq!(harness.left().await, 0);
}

pub(super) async fn messages_come_in_order<H: Harness>(harness: &mut H) {
    const COUNT: usize = 100;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(30)).await;
    harness.publish_in_order(bodies(COUNT)).await;

    let mut seen = Vec::new();
    while seen.len() < COUNT {
        let messages = take(&mut source, 1, LIMIT).await;
        seen.extend(messages.iter().map(text));
        ack(messages);
    }
    assert_eq!(seen, bodies(COUNT), "the order is not that of publication");
    close(source).await;
}
