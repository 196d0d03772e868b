//! Stopping: nothing new, an answer for everyone who was let in, and a deadline.

use std::time::Duration;

use longshore_source::{Receipt, Source as _, SourceError};
use longshore_source_http::HttpIngestConfig;

use crate::support::{DEADLINE, Server, config, connect, nonzero, post, serve};

const STOPPING: &str = "this instance is shutting down: send the request again";
const NOT_STORED: &str = "the event could not be stored now: send it again with the same `idempotency_key`";

#[tokio::test]
async fn close_waits_for_what_was_handed_out_and_lets_nothing_new_in() {
    let mut server = serve(config()).await;
    let mut waiting = server.post("events", "1").await;
    let message = server.one().await;
    let Server { address, source } = server;
    let closing = tokio::spawn(source.close(DEADLINE));

    let mut late = connect(address).await;
    let reply = loop {
        late.send(&post("events", "2")).await;
        let reply = late.reply().await;
        if reply.body.contains(STOPPING) {
            break reply;
        }
        late = connect(address).await;
    };
    reply.assert_failed(503, STOPPING);
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(!closing.is_finished());
    assert!(!waiting.is_answered().await);

    message.ack.ack(Receipt::default());
    closing.await.unwrap().unwrap();
    assert_eq!(waiting.reply().await.status, 201);
}

#[tokio::test]
async fn close_tells_the_producers_of_what_was_not_handed_out_to_repeat_it() {
    let server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let mut first = server.post("events", "1").await;
    let mut second = server.post("events", "2").await;
    // One finds no room, so the other is in the queue.
    let mut queued = tokio::select! {
        reply = first.reply() => { assert_eq!(reply.status, 503); second }
        reply = second.reply() => { assert_eq!(reply.status, 503); first }
    };

    server.source.close(DEADLINE).await.unwrap();

    queued.reply().await.assert_failed(503, NOT_STORED);
}

#[tokio::test]
async fn close_does_not_wait_for_bodies_that_are_still_on_their_way() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let mut slow = server.post_slowly_into_the_last_room("slow").await;

    server.source.close(DEADLINE).await.unwrap();

    slow.reply().await.assert_failed(503, STOPPING);
}

#[tokio::test]
async fn past_its_deadline_close_gives_up_and_says_how_many() {
    let mut server = serve(config()).await;
    let mut waiting = server.post("events", "1").await;
    let message = server.one().await;

    let closed = server.source.close(Duration::from_millis(20)).await;

    let Err(SourceError::Disconnected(why)) = closed else { panic!("{closed:?}") };
    assert!(why.contains("`1`"), "{why}");
    assert_eq!(waiting.reply().await.status, 503);
    // Too late, and harmless.
    message.ack.ack(Receipt::default());
}

#[tokio::test]
async fn a_source_that_is_dropped_lets_nothing_in_but_its_messages_still_decide() {
    let mut server = serve(config()).await;
    let mut waiting = server.post("events", "1").await;
    let message = server.one().await;
    let Server { address, source } = server;
    drop(source);

    let mut late = connect(address).await;
    late.send(&post("events", "2")).await;
    late.reply().await.assert_failed(503, STOPPING);

    assert!(!waiting.is_answered().await);
    message.ack.ack(Receipt::default());
    assert_eq!(waiting.reply().await.status, 201);
}
