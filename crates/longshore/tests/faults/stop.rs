//! SIGTERM under load.

use std::net::SocketAddr;
use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::http::Producer;
use crate::load::{Load, broadcast};
use crate::stage::{PATIENCE, Stage};

/// The program's default for `shutdown.drain`.
const DRAIN: Duration = Duration::from_secs(25);
/// Events by HTTP have numbers from here on.
const BY_HTTP: u64 = 1_000_000;
const IN_FLIGHT: u64 = 20;

/// Waits until `/readyz` says no: the signal has arrived.
async fn stopping(addr: SocketAddr) {
    loop {
        let answer = async {
            let mut stream = TcpStream::connect(addr).await?;
            stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        match answer.await {
            Ok(answer) if answer.contains(" 200 ") => sleep(Duration::from_millis(5)).await,
            _ => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_drains_answers_and_loses_nothing() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, 300, broadcast);
    stage.receiver.wait_for(600, PATIENCE).await;
    let mut producers = Vec::new();
    for number in BY_HTTP..BY_HTTP + IN_FLIGHT {
        let mut producer = Producer::connect(gateway.addr()).await.unwrap();
        assert_eq!(producer.post(number).await.unwrap().status, 201);
        producers.push(producer);
    }

    // Nothing can commit, so that these requests are in flight when the signal comes.
    let mut lock = stage.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE events IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    for (number, producer) in (BY_HTTP + IN_FLIGHT..).zip(&mut producers) {
        producer.send(number).await.unwrap();
    }
    stage.count_reaches("SELECT count(*) FROM pg_locks WHERE NOT granted", 2).await; // RabbitMQ's and HTTP's batch
    let (ops, asked) = (gateway.ops_addr(), Instant::now());
    let release = async {
        stopping(ops).await;
        lock.rollback().await.unwrap();
    };
    let (status, ()) = tokio::join!(gateway.sigterm(DRAIN), release);
    let stopped = asked.elapsed();

    assert_eq!(status.code(), Some(0));
    let mut by_http: Vec<u64> = (BY_HTTP..BY_HTTP + IN_FLIGHT).collect();
    let mut told_to_come_again = 0;
    for (number, producer) in (BY_HTTP + IN_FLIGHT..).zip(&mut producers) {
        let answer = producer.answer().await.unwrap();
        match answer.status {
            201 => by_http.push(number),
            503 => told_to_come_again += 1,
            status => panic!("answered {status}: {}", answer.head),
        }
    }
    let kept = stage.numbers().await;
    assert!(by_http.iter().all(|number| kept.get(number) == Some(&1)), "what was answered 201 is stored");
    gateway.restart().await;
    let seen = stage.receiver.count();
    stage.receiver.wait_for(seen + 300, PATIENCE).await;
    let mut published = load.stop().await;
    published.confirmed.extend(by_http.iter().map(|number| (*number, asked)));

    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    tally.assert_exactly_once_stored(&format!(
        "SIGTERM under load: ended after {stopped:?}, {} in flight answered 201, {told_to_come_again} answered 503",
        by_http.len() as u64 - IN_FLIGHT,
    ));
    assert_eq!(tally.repeated, 0, "attempts in progress were waited for");
}
