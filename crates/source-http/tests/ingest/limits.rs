//! Limits of size, room and time, on both sides of each.

use longshore_source::{Receipt, Source as _};
use longshore_source_http::HttpIngestConfig;

use crate::support::{BODY_LIMIT, EVENT, config, nonzero, post, serve};

const CHUNKED: &str = "POST /api/v1/projects/acme/events HTTP/1.1\r\nhost: test\r\n\
                       authorization: Bearer good\r\ntransfer-encoding: chunked\r\n\r\n";
const FULL: &str = "too many events are in flight: send the request again";
const TOO_LARGE: &str = "the body is larger than `64` bytes";

#[tokio::test]
async fn a_declared_body_may_be_as_large_as_the_limit_and_is_refused_unread_above_it() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events", &"x".repeat(BODY_LIMIT)).await;
    let message = server.one().await;
    assert_eq!(message.body.len(), BODY_LIMIT);
    message.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);

    // Only the head is sent: the answer cannot depend on the body.
    let whole = post("events", &"x".repeat(BODY_LIMIT + 1));
    producer.send(whole.trim_end_matches('x')).await;
    producer.reply().await.assert_failed(413, TOO_LARGE);
}

#[tokio::test]
async fn a_producer_that_asks_first_is_refused_before_it_sends() {
    let server = serve(config()).await;
    let mut producer = server.connect().await;
    let asking =
        post("events", &"x".repeat(BODY_LIMIT + 1)).replace("host:", "expect: 100-continue\r\nhost:");

    producer.send(asking.trim_end_matches('x')).await;

    producer.reply().await.assert_failed(413, TOO_LARGE);
}

#[tokio::test]
async fn a_chunked_body_is_cut_off_at_the_limit() {
    let mut server = serve(config()).await;
    let mut producer = server.connect().await;
    producer.send(CHUNKED).await;
    producer.send(&format!("20\r\n{0}\r\n20\r\n{0}\r\n0\r\n\r\n", "x".repeat(32))).await;
    let message = server.one().await;
    assert_eq!(message.body, "x".repeat(BODY_LIMIT));
    message.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);

    // The body does not end: the answer comes as soon as it is too long.
    producer.send(CHUNKED).await;
    producer.send(&format!("41\r\n{}\r\n", "x".repeat(BODY_LIMIT + 1))).await;
    producer.reply().await.assert_failed(413, TOO_LARGE);
}

#[tokio::test]
async fn a_malformed_body_is_no_event() {
    let server = serve(config()).await;
    let mut producer = server.connect().await;

    producer.send(CHUNKED).await;
    producer.send("nonsense\r\n").await;

    producer.reply().await.assert_failed(400, "the body did not arrive complete: nothing was stored");
}

#[tokio::test]
async fn when_every_slot_is_taken_the_answer_is_immediate_and_one_settlement_makes_room() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(2), ..config() }).await;
    let mut first = server.post("events", "1").await;
    let first_message = server.one().await;
    let mut second = server.post("events", "2").await;
    let second_message = server.one().await;

    let mut third = server.connect().await;
    third.send(&post("events", "3")).await;
    let reply = third.reply().await;
    reply.assert_failed(503, FULL);
    assert_eq!(reply.header("retry-after"), Some("1"));

    first_message.ack.ack(Receipt::default());
    assert_eq!(first.reply().await.status, 201);
    third.send(&post("events", "3")).await;
    let third_message = server.one().await;
    assert_eq!(third_message.body, "3");
    third_message.ack.ack(Receipt::default());
    second_message.ack.ack(Receipt::default());
    assert_eq!((second.reply().await.status, third.reply().await.status), (201, 201));
}

#[tokio::test]
async fn bytes_in_flight_are_limited_declared_or_not() {
    let mut server = serve(HttpIngestConfig { max_in_flight_bytes: nonzero(10), ..config() }).await;
    let mut first = server.post("events", "123456").await;
    let first_message = server.one().await;

    let mut producer = server.post("events", "12345").await;
    producer.reply().await.assert_failed(503, FULL);
    producer.send(&post("events", "1234")).await;
    let message = server.one().await;
    message.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);

    let mut chunked = server.connect().await;
    chunked.send(CHUNKED).await;
    chunked.send("5\r\n12345\r\n").await;
    chunked.reply().await.assert_failed(503, FULL);

    first_message.ack.ack(Receipt::default());
    assert_eq!(first.reply().await.status, 201);
    // What could never fit is not worth repeating.
    producer.send(&post("events", "12345678901")).await;
    producer.reply().await.assert_failed(413, "the body is larger than `10` bytes");
    let mut whole = server.post("events", "1234567890").await;
    server.one().await.ack.ack(Receipt::default());
    assert_eq!(whole.reply().await.status, 201);
}

#[tokio::test]
async fn declared_bytes_are_taken_before_they_arrive() {
    let mut server = serve(HttpIngestConfig { max_in_flight_bytes: nonzero(10), ..config() }).await;

    // Five of six bytes are sent; the helper's own five bytes only find no room if the sixth is counted too.
    server.post_slowly_into_the_last_room("123456").await;
}

#[tokio::test]
async fn a_slot_is_taken_while_the_body_is_on_its_way_and_comes_back_when_the_producer_hangs_up() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let slow = server.post_slowly_into_the_last_room("slow").await;

    drop(slow);

    let mut other = server.connect().await;
    server.store_all();
    loop {
        other.send(&post("events", "other")).await;
        let reply = other.reply().await;
        if reply.status == 201 {
            break;
        }
        reply.assert_failed(503, FULL);
    }
}

#[tokio::test]
async fn a_producer_that_hangs_up_leaves_no_slot_behind() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let gone = server.post("events", "gone").await;
    let message = server.one().await;
    drop(gone);

    message.ack.ack(Receipt { event: EVENT, duplicate: false });

    let mut next = server.post("events", "next").await;
    server.one().await.ack.ack(Receipt::default());
    assert_eq!(next.reply().await.status, 201);
}

#[tokio::test]
async fn past_the_deadline_the_producer_is_told_that_nobody_knows() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let mut producer = server.post("events", "{}").await;
    let message = server.one().await;

    producer.reply_after_the_deadline().await.assert_failed(
        503,
        "no answer from storage in time: the event may or may not be stored; \
         send it again with the same `idempotency_key`",
    );

    // The message lives on with its slot until it is settled.
    producer.send(&post("events", "{}")).await;
    producer.reply().await.assert_failed(503, FULL);
    message.ack.ack(Receipt::default());
    producer.send(&post("events", "{}")).await;
    server.one().await.ack.ack(Receipt::default());
    assert_eq!(producer.reply().await.status, 201);
}

#[tokio::test]
async fn a_message_nobody_took_before_its_deadline_is_never_handed_out() {
    let mut server = serve(config()).await;
    let mut producer = server.post("events", "late").await;
    assert_eq!(producer.reply_after_the_deadline().await.status, 503);

    producer.send(&post("events", "next")).await;

    assert_eq!(server.one().await.body, "next");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_not_stored() {
    let mut server = serve(HttpIngestConfig { max_in_flight: nonzero(1), ..config() }).await;
    let mut slow = server.post_slowly_into_the_last_room("slow").await;

    let reply = slow.reply_after_the_deadline().await;

    reply.assert_failed(408, "the body did not arrive in time: nothing was stored");
    let _next = server.post("events", "next").await;
    assert_eq!(server.one().await.body, "next", "the slot came back");
}

#[tokio::test]
async fn recv_waits_for_one_message_and_returns_at_most_max() {
    let mut server = serve(config()).await;
    let mut producers = Vec::new();
    for body in ["1", "2", "3"] {
        producers.push(server.post("events", body).await);
    }

    for _ in 0..3 {
        let messages = server.source.recv(nonzero(1)).await.unwrap();
        assert_eq!(messages.len(), 1);
        messages.into_iter().for_each(|message| message.ack.ack(Receipt::default()));
    }
    for producer in &mut producers {
        assert_eq!(producer.reply().await.status, 201);
    }
}
