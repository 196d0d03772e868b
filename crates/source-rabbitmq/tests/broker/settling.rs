//! Acknowledgements, retries and what is out.

use std::time::Duration;

use longshore_source::{Receipt, Source};
use longshore_source_rabbitmq::RabbitMqConfig;

use crate::support::{Broker, Wire, config, connect, unique};
use crate::{SOON, ack, bodies, take, texts};

#[tokio::test]
async fn a_thousand_acks_are_few_frames() {
    let (broker, queue) = (Broker::connect().await, unique("frames"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(1000)).await;
    let wire = Wire::start().await;
    let mut source = connect(wire.config(&queue)).await.unwrap();
    let messages = take(&mut source, 1000).await;

    let before = wire.sent();
    ack(messages);
    source.close(SOON).await.unwrap();

    // An ack is a frame of 21 bytes; the close adds a few dozen.
    let bytes = wire.sent() - before;
    assert!(bytes < 1000, "{bytes} bytes were sent for 1000 acks");
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn no_more_is_fetched_than_the_prefetch() {
    let (broker, queue) = (Broker::connect().await, unique("window"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(50)).await;

    let source = connect(RabbitMqConfig { prefetch: 10, ..config(&queue) }).await.unwrap();

    broker.settles_at(&queue, 40).await;
    drop(source);
    broker.settles_at(&queue, 50).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_retry_and_the_acks_around_it_do_not_mix() {
    let (broker, queue) = (Broker::connect().await, unique("mixed"));
    broker.declare(&queue, "quorum").await;
    broker.publish(&queue, bodies(9)).await;
    let mut source = connect(config(&queue)).await.unwrap();
    let messages = take(&mut source, 9).await;

    // All in one round: every third goes back, in front of an ack that covers everything below it.
    for (number, message) in messages.into_iter().enumerate() {
        if number % 3 == 1 { message.ack.retry(None) } else { message.ack.ack(Receipt::default()) }
    }

    let mut again = texts(&take(&mut source, 3).await);
    again.sort();
    assert_eq!(again, ["body 1", "body 4", "body 7"]);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 3).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_held_retry_blocks_nothing_else() {
    let (broker, queue) = (Broker::connect().await, unique("held"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(3)).await;
    let mut source = connect(config(&queue)).await.unwrap();
    let mut messages = take(&mut source, 3).await;

    messages.remove(0).ack.retry(Some(Duration::from_secs(3600)));
    ack(messages);
    broker.publish(&queue, ["later".to_owned()]).await;
    let later = take(&mut source, 1).await;
    assert_eq!(texts(&later), ["later"]);
    ack(later);

    // Closing does not wait for the hour; it gives the message back.
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 1).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_quorum_queue_counts_deliveries() {
    let (broker, queue) = (Broker::connect().await, unique("counted"));
    broker.declare(&queue, "quorum").await;
    broker.publish(&queue, bodies(1)).await;
    let mut source = connect(config(&queue)).await.unwrap();

    drop(take(&mut source, 1).await);
    drop(take(&mut source, 1).await);
    let third = take(&mut source, 1).await;

    assert_eq!((third[0].redelivered, third[0].attempt), (true, Some(3)));
    ack(third);
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}
