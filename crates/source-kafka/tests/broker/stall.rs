//! A partition that falls silent although it has records: a broker that answers everything but fetches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_source::{Context, State};
use longshore_testkit::kafka::Kafka;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::support::{ack, bodies, close, config, eventually, take};

/// Kafka's number of the request for records.
const FETCH: i16 = 1;

#[derive(Debug, Default)]
struct Hears {
    no_fetches: AtomicBool,
    /// It did not hear one.
    missed: Notify,
}

/// A wire that lets everything pass but, when it is told to, fetches.
struct Wire {
    brokers: String,
    hears: Arc<Hears>,
    _connections: JoinSet<()>,
}

impl Wire {
    async fn start() -> Self {
        let wanted = "start Kafka with `scripts/servers up DIR kafka`: it has a listener for this";
        let brokers = std::env::var("LONGSHORE_TEST_KAFKA_WIRE_BROKERS").expect(wanted);
        let server = std::env::var("LONGSHORE_TEST_KAFKA_WIRE_LISTENER").expect(wanted);
        let listener = TcpListener::bind(&brokers).await.unwrap();
        let (hears, mut connections) = (Arc::new(Hears::default()), JoinSet::new());
        let all = Arc::clone(&hears);
        connections.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = server.into_split();
                lines.spawn(requests(from_client, to_server, Arc::clone(&all)));
                lines.spawn(async move { drop(copy(&mut from_server, &mut to_client).await) });
            }
        });
        Self { brokers, hears, _connections: connections }
    }
}

/// Every request has its length in front, and begins with its number.
async fn requests(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, hears: Arc<Hears>) {
    while let Ok(length) = client.read_u32().await {
        let mut request = vec![0; length as usize];
        if client.read_exact(&mut request).await.is_err() {
            return;
        }
        let number = i16::from_be_bytes([request[0], request[1]]);
        if number == FETCH && hears.no_fetches.load(Ordering::Relaxed) {
            hears.missed.notify_one();
            continue;
        }
        if server.write_u32(length).await.is_err() || server.write_all(&request).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_has_records_and_yields_none_is_noticed_and_taken_up_again() {
    let wire = Wire::start().await;
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let context = Context::new("kafka", "orders");
    let status = context.status.clone();
    let settings = config(&topic, json!({ "brokers": [wire.brokers], "stall_timeout": "1s" }));
    let mut source = longshore_source_kafka::connect(settings, context).await.unwrap();
    topic.publish_to(0, bodies(0..5)).await;
    ack(take(&mut source, 5).await);

    wire.hears.no_fetches.store(true, Ordering::Relaxed);
    wire.hears.missed.notified().await; // the one before has its answer
    topic.publish_to(0, bodies(5..10)).await;
    let problem = eventually("the stall", async || status.report().problem).await;
    assert!(problem.contains(&format!("`{}/0` has records and yields none", topic.name())), "{problem}");
    wire.hears.no_fetches.store(false, Ordering::Relaxed);

    ack(take(&mut source, 5).await);
    eventually("flowing", async || (status.report().state == State::Consuming).then_some(())).await;
    close(source).await;
    topic.delete().await;
    drop(wire);
}
