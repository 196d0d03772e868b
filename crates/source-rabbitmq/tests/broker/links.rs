//! Connections that end, and brokers and queues that are away.

use std::time::Duration;

use longshore_source::Source;
use longshore_source_rabbitmq::RabbitMqConfig;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::support::{Broker, Wire, config, connect, unique};
use crate::{MANY, SOON, ack, bodies, take, texts};

#[tokio::test]
async fn tags_of_an_old_connection_are_never_used() {
    let (broker, queue) = (Broker::connect().await, unique("epochs"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(4)).await;
    let wire = Wire::start().await;
    let mut source = connect(wire.config(&queue)).await.unwrap();
    let old = take(&mut source, 4).await;

    wire.cut();
    let new = take(&mut source, 4).await;
    assert_eq!(texts(&old), texts(&new));
    assert!(new.iter().all(|message| message.redelivered));
    // The old tags 1 to 4 are valid numbers on the new channel: used there they would settle the new deliveries.
    ack(old);
    source.close(Duration::from_millis(300)).await.unwrap();
    drop(new);

    broker.settles_at(&queue, 4).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_silent_connection_is_given_up_by_its_heartbeat() {
    let (broker, queue) = (Broker::connect().await, unique("silent"));
    broker.declare(&queue, "classic").await;
    let wire = Wire::start().await;
    let mut source = connect(RabbitMqConfig { heartbeat: 1, ..wire.config(&queue) }).await.unwrap();

    wire.freeze();
    broker.publish(&queue, bodies(1)).await;

    let messages = take(&mut source, 1).await;
    ack(messages);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn an_attempt_that_is_given_up_hangs_up() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Some(mute.local_addr().unwrap().port());
    let config = RabbitMqConfig { port, host: Some("127.0.0.1".to_owned()), ..config("any") };

    let attempt = tokio::spawn(connect(config));
    let (mut socket, _) = timeout(SOON, mute.accept()).await.unwrap().unwrap();
    let mut header = [0; 8];
    socket.read_exact(&mut header).await.unwrap();
    assert_eq!(&header, b"AMQP\0\0\x09\x01");
    attempt.abort();

    // A peer that never answers holds neither a socket nor a thread of ours.
    let read = timeout(SOON, socket.read(&mut header)).await.expect("the attempt still holds its socket");
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test]
async fn a_broker_that_is_away_for_a_while_is_waited_for() {
    let (broker, queue) = (Broker::connect().await, unique("away"));
    broker.declare(&queue, "quorum").await;
    let wire = Wire::start().await;
    let mut source = connect(wire.config(&queue)).await.unwrap();

    wire.refuse(true);
    wire.cut();
    broker.publish(&queue, bodies(1)).await;
    // Dropped again and again, `recv` must still get through once the broker is back.
    for _ in 0..20 {
        assert!(timeout(Duration::from_millis(50), source.recv(MANY)).await.is_err());
    }
    wire.refuse(false);
    let begun = std::time::Instant::now();
    let messages = loop {
        if let Ok(messages) = timeout(Duration::from_millis(5), source.recv(MANY)).await {
            break messages.unwrap();
        }
        assert!(begun.elapsed() < SOON, "a recv that is dropped starts the connection over");
    };

    ack(messages);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_is_consumed_again_once_it_exists() {
    let (broker, queue) = (Broker::connect().await, unique("deleted"));
    broker.declare(&queue, "classic").await;
    let mut source = connect(config(&queue)).await.unwrap();
    broker.publish(&queue, bodies(1)).await;
    ack(take(&mut source, 1).await);

    broker.delete(&queue).await;
    // The source notices, and finds no queue for a while.
    let nothing = timeout(Duration::from_millis(500), source.recv(MANY)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(broker.ready(&queue).await, None, "the source declared the queue");
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, ["second life".to_owned()]).await;

    let messages = take(&mut source, 1).await;
    assert_eq!(texts(&messages), ["second life"]);
    ack(messages);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn urls_name_the_broker_and_dead_nodes_are_passed_over() {
    let (broker, queue) = (Broker::connect().await, unique("urls"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(1)).await;
    let live = std::env::var("LONGSHORE_TEST_AMQP_URL").unwrap();
    let urls = vec!["amqp://127.0.0.1:1".into(), live.as_str().into()];
    let mut source =
        connect(RabbitMqConfig { urls, queue: queue.clone(), ..RabbitMqConfig::default() }).await.unwrap();

    ack(take(&mut source, 1).await);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}
