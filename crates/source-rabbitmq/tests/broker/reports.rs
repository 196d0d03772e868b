//! What is said of a message, and of the queue.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use longshore_source::{Context, Source};
use longshore_source_rabbitmq::RabbitMqConfig;
use tokio::time::timeout;

use crate::support::{Broker, Wire, config, connect, unique};
use crate::{SOON, ack, bodies, take};

#[tokio::test]
async fn position_headers_and_counts_come_from_the_properties() {
    let (broker, queue) = (Broker::connect().await, unique("position"));
    broker.declare(&queue, "classic").await;
    let mut headers = FieldTable::default();
    headers.insert("x-convoy-message-type".into(), AMQPValue::LongString("fanout".into()));
    headers.insert("number".into(), AMQPValue::LongLongInt(-3));
    headers.insert(
        "flags".into(),
        AMQPValue::FieldArray(vec![AMQPValue::Boolean(true), AMQPValue::Void].into()),
    );
    headers.insert("raw".into(), AMQPValue::LongString([0xff_u8].as_slice().into()));
    let properties = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_timestamp(1_700_000_000)
        .with_content_type("application/json".into())
        .with_headers(headers);
    broker.publish_one("", &queue, b"{}", properties).await;

    let mut source = connect(config(&queue)).await.unwrap();
    let messages = take(&mut source, 1).await;

    let message = &messages[0];
    assert_eq!(message.position.message_id.as_deref(), Some("m-1"));
    assert_eq!(message.position.timestamp_ms, Some(1_700_000_000_000));
    assert_eq!(message.position.address, format!("/{queue}"));
    assert_eq!((message.redelivered, message.attempt), (false, None));
    let expected = [
        ("flags", "[true,null]"),
        ("number", "-3"),
        ("raw", "/w=="),
        ("x-convoy-message-type", "fanout"),
        ("content-type", "application/json"),
    ];
    assert_eq!(message.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    ack(messages);
    source.close(SOON).await.unwrap();
    broker.settles_at(&queue, 0).await;
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_message_without_an_id_has_none() {
    let (broker, queue) = (Broker::connect().await, unique("ids"));
    broker.declare(&queue, "classic").await;
    let empty = BasicProperties::default().with_message_id("".into());
    broker.publish_one("", &queue, b"empty", empty).await;
    broker.publish_one("", &queue, b"none", BasicProperties::default()).await;
    let mut source = connect(config(&queue)).await.unwrap();

    let messages = take(&mut source, 2).await;

    assert!(messages.iter().all(|message| message.position.message_id.is_none()));
    ack(messages);
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    let meters = crate::support::Meters::install();
    let (broker, queue) = (Broker::connect().await, unique("counted"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(5)).await;
    let wire = Wire::start().await;
    let mut source = connect(wire.config(&queue)).await.unwrap();
    let meter = |name: &str| meters.read(&format!("{name} kind=rabbitmq source={queue}"));
    let settled =
        |how: &str| meters.read(&format!("source_settled_total kind=rabbitmq source={queue} how={how}"));

    let mut messages = take(&mut source, 5).await;
    assert_eq!((meter("source_received_total"), meters.gauge(&queue)), (5, 5.0));
    let stale = messages.split_off(3);
    drop(messages.pop());
    ack(messages);
    ack(take(&mut source, 1).await);
    while settled("ack") < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Written is not yet read by the broker, which gives no sign of it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    wire.cut();
    let again = take(&mut source, 2).await;
    ack(stale);
    ack(again);
    source.close(SOON).await.unwrap();

    assert_eq!(meter("source_received_total"), 8);
    assert_eq!(meter("source_reconnects_total"), 1);
    assert_eq!((settled("ack"), settled("requeue"), settled("stale")), (5, 1, 2));
    assert_eq!(meters.gauge(&queue), 0.0);
    broker.delete(&queue).await;
}

#[tokio::test]
async fn the_depth_of_the_queue_is_reported_by_one_of_its_consumers() {
    let (broker, queue) = (Broker::connect().await, unique("depth"));
    broker.declare(&queue, "classic").await;
    broker.publish(&queue, bodies(9)).await;
    broker.settles_at(&queue, 9).await;
    let (first, second) =
        (Context::new("rabbitmq", &queue), Context { worker: 1, ..Context::new("rabbitmq", &queue) });
    let (status, silent) = (first.status.clone(), second.status.clone());
    let narrow = RabbitMqConfig { prefetch: 2, ..config(&queue) };
    let mut source = longshore_source_rabbitmq::connect(narrow.clone(), first).await.unwrap();
    let second = longshore_source_rabbitmq::connect(narrow, second).await.unwrap();

    let lag = async {
        loop {
            if let Some(lag) = status.report().lag {
                return lag;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let lag = timeout(SOON, lag).await.unwrap();

    assert!((5..=9).contains(&lag), "{lag}");
    ack(take(&mut source, 2).await);
    assert_eq!(silent.report().lag, None);
    second.close(SOON).await.unwrap();
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}
