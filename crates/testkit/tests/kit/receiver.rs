//! The scripted receiver, spoken to over a plain socket.

use std::time::Duration;

use longshore_testkit::receiver::{Receiver, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

/// Sends one request on a connection of its own and returns all that comes back until the end.
async fn post(receiver: &Receiver, path: &str, id: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(receiver.addr()).await.unwrap();
    stream.write_all(request(path, id, body).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn request(path: &str, id: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nwebhook-id: {id}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_script_is_answered_in_turn_and_its_last_reply_repeats() {
    let receiver = Receiver::start().await;
    let busy = Reply::status(503).header("retry-after", "7").body("busy");
    receiver.script("/orders", [busy, Reply::redirect("http://elsewhere/"), Reply::status(204)]);

    let first = post(&receiver, "/orders", "a", "1").await;
    let second = post(&receiver, "/orders", "a", "2").await;

    assert!(first.starts_with("HTTP/1.1 503") && first.contains("retry-after: 7") && first.ends_with("busy"));
    assert!(second.starts_with("HTTP/1.1 302") && second.contains("location: http://elsewhere/"));
    for _ in 0..2 {
        assert!(post(&receiver, "/orders", "b", "3").await.starts_with("HTTP/1.1 204"));
    }
    assert!(post(&receiver, "/other", "c", "4").await.starts_with("HTTP/1.1 200"));
    assert_eq!((receiver.count(), receiver.count_to("/orders")), (5, 4));
    assert_eq!((receiver.unique_ids(), receiver.repeated_ids()), (3, 2));
}

#[tokio::test]
async fn requests_are_kept_as_they_arrived() {
    let receiver = Receiver::start().await;

    post(&receiver, "/orders?x=1", "a", r#"{"n":1}"#).await;
    let requests = receiver.wait_for_path("/orders", 1, SOON).await;

    assert_eq!((requests[0].path(), requests[0].query()), ("/orders", Some("x=1")));
    assert_eq!((requests[0].webhook_id(), requests[0].json()["n"].as_i64()), (Some("a"), Some(1)));
}

#[tokio::test]
async fn waiting_ends_with_the_request_and_not_before() {
    let receiver = Receiver::start().await;

    let (waited, _) = tokio::join!(receiver.wait_for_unique(2, SOON), async {
        post(&receiver, "/", "a", "").await;
        post(&receiver, "/", "a", "").await;
        post(&receiver, "/", "b", "").await;
    });

    assert_eq!(((), receiver.count()), (waited, 3));
}

#[tokio::test]
#[should_panic(expected = "waited 1ms for 1 requests: 0 arrived")]
async fn waiting_in_vain_says_what_was_missed() {
    Receiver::start().await.wait_for(1, Duration::from_millis(1)).await;
}

#[tokio::test]
async fn bodies_can_flood_and_connections_can_close() {
    let receiver = Receiver::start().await;
    receiver.script("/flood", [Reply::flood(100_000)]);
    receiver.script("/close", [Reply::close()]);

    let flood = post(&receiver, "/flood", "a", "").await;
    let closed = post(&receiver, "/close", "b", "").await;

    assert!(flood.len() > 100_000 && flood.contains("transfer-encoding: chunked"));
    assert_eq!((closed.as_str(), receiver.count()), ("", 2));
}

#[tokio::test]
async fn a_hanging_or_dripping_reply_leaves_the_connection_open() {
    let receiver = Receiver::start().await;
    receiver.script("/hang", [Reply::hang()]);
    receiver.script("/drip", [Reply::drip("begin")]);

    let mut dripping = TcpStream::connect(receiver.addr()).await.unwrap();
    dripping.write_all(request("/drip", "a", "").as_bytes()).await.unwrap();
    let mut hanging = TcpStream::connect(receiver.addr()).await.unwrap();
    hanging.write_all(request("/hang", "b", "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"begin\r\n") {
        assert_ne!(dripping.read_buf(&mut answer).await.unwrap(), 0, "the body must not end");
    }
    receiver.wait_for(2, SOON).await;

    let nothing = tokio::time::timeout(Duration::from_millis(50), hanging.read_u8()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!((receiver.connections(), receiver.most_in_flight()), (2, 1));
}
