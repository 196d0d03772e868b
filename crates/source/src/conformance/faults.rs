//! Claims about crashes, broken connections and slow consumers.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Harness, LIMIT, ack, bodies, close, slots, stays_quiet, take, text, texts};
use crate::source::Source;

/// The consumer stored the message and died before it could say so.
pub(super) async fn a_crash_before_the_ack_redelivers_the_same_position<H: Harness>(harness: &mut H) {
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    let lease = source.features().lease.unwrap_or_default();
    harness.publish(bodies(2)).await;

    let mut before = take(&mut source, 2, LIMIT).await;
    before.sort_by_key(text);
    drop(source);
    let mut source = harness.connect(slots(10)).await;
    let mut after = take(&mut source, 2, LIMIT + lease).await;
    after.sort_by_key(text);

    for (before, after) in before.iter().zip(&after) {
        assert_eq!(text(before), text(after));
        assert_eq!(before.position, after.position, "a redelivery has another position");
    }
    ack(after);
    close(source).await;
    assert_eq!(harness.left().await, 0);
}

pub(super) async fn a_broken_connection_is_made_again<H: Harness>(harness: &mut H) {
    const HALF: usize = 20;
    harness.fresh_queue().await;
    let mut source = harness.connect(slots(10)).await;
    let all = bodies(2 * HALF);
    harness.publish(all[..HALF].to_vec()).await;

    let early = take(&mut source, 5, LIMIT).await;
    if !harness.break_connections().await {
        drop(early);
        return;
    }
    // Settled on a connection that is gone: it may count or not, but must harm nothing.
    let mut seen = texts(&early);
    ack(early);
    let mut published = false;
    let begun = Instant::now();
    while seen.len() < all.len() {
        let messages = timeout(Duration::from_secs(2), source.recv(slots(10))).await;
        if let Ok(messages) = messages {
            let messages = messages.expect("a broken connection ended the source");
            seen.extend(messages.iter().map(text));
            ack(messages);
        }
        if !published {
            // The five may or may not come again; everything else must.
            harness.publish(all[HALF..].to_vec()).await;
            published = true;
        }
        assert!(begun.elapsed() < LIMIT * 2, "only {} of {} messages came", seen.len(), all.len());
    }
    // Whatever comes again after that.
    while let Ok(messages) = timeout(Duration::from_millis(500), source.recv(slots(10))).await {
        ack(messages.expect("the source ended"));
    }
    close(source).await;
    assert_eq!(harness.left().await, 0, "messages were stranded by the broken connection");
}

pub(super) async fn a_lease_outlives_a_slow_consumer<H: Harness>(harness: &mut H, lease: Duration) {
    harness.fresh_queue().await;
    let mut slow = harness.connect(slots(10)).await;
    harness.publish(bodies(1)).await;
    let messages = take(&mut slow, 1, LIMIT).await;

    let mut other = harness.connect(slots(10)).await;
    assert!(stays_quiet(&mut other, lease * 5 / 2).await, "the lease ran out although its token was alive");
    ack(messages);
    sleep(Duration::from_millis(10)).await;
    close(slow).await;
    close(other).await;
    assert_eq!(harness.left().await, 0);
}
