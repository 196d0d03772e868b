//! What the source does to a real RabbitMQ, and what RabbitMQ does to it.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

mod support;

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use longshore_source::{Context, Message, NextOffsets, Receipt, Source, SourceError, Watermarks};
use longshore_source_rabbitmq::{
    Argument, Auth, BindExchange, Declare, QueueType, RabbitMqConfig, RabbitMqSource, check,
};
use support::{Broker, Wire, config, connect, unique};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

const MANY: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const SOON: Duration = Duration::from_secs(20);

async fn take(source: &mut RabbitMqSource, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let max = NonZeroUsize::new(count - messages.len()).unwrap();
        messages.extend(timeout(SOON, source.recv(max)).await.expect("no message came").unwrap());
    }
    messages
}

/// Drops what the client had buffered before it went back to `body`.
async fn take_from(source: &mut RabbitMqSource, body: &str, count: usize) -> Vec<Message> {
    let mut messages = take(source, 1).await;
    while texts(&messages) != [body] {
        messages = take(source, 1).await;
    }
    messages.extend(take(source, count - 1).await);
    messages
}

fn ack(messages: Vec<Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

fn bodies(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("body {number}"))
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect()
}

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
async fn what_happens_is_counted() {
    let meters = support::Meters::install();
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
async fn what_is_wrong_is_said_at_once_and_without_secrets() {
    let (broker, queue) = (Broker::connect().await, unique("wrong"));
    broker.declare(&queue, "classic").await;
    let cases = [
        (
            RabbitMqConfig { queue: "no-such-queue".to_owned(), ..config(&queue) },
            "misconfigured",
            "no-such-queue",
        ),
        (
            RabbitMqConfig {
                auth: Some(Auth { user: "guest".to_owned(), password: "hunter2".into() }),
                ..config(&queue)
            },
            "denied",
            "ACCESS_REFUSED",
        ),
        (
            RabbitMqConfig { vhost: Some("no-such-vhost".to_owned()), ..config(&queue) },
            "misconfigured",
            "no-such-vhost",
        ),
        (RabbitMqConfig { port: Some(1), ..config(&queue) }, "disconnected", ":1"),
        (RabbitMqConfig { queue: String::new(), ..config(&queue) }, "misconfigured", "`queue`"),
    ];
    for (config, class, part) in cases {
        let refused = connect(config.clone()).await.expect_err("connected").to_string();
        let checked = check(&config).await.expect_err("checked").to_string();
        for text in [refused, checked] {
            assert!(text.starts_with(class) && text.contains(part), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
    assert_eq!(check(&config(&queue)).await.unwrap(), [""; 0]);
    broker.delete(&queue).await;
}

#[tokio::test]
async fn a_queue_is_declared_and_bound_only_when_asked() {
    let (broker, queue) = (Broker::connect().await, unique("declared"));
    let plain = RabbitMqConfig {
        bind_exchange: Some(BindExchange {
            exchange: "amq.topic".to_owned(),
            routing_key: "orders.*".to_owned(),
        }),
        dead_letter_exchange: Some("dead".to_owned()),
        ..config(&queue)
    };
    assert!(matches!(connect(plain.clone()).await, Err(SourceError::Misconfigured(_))));
    assert_eq!(broker.ready(&queue).await, None);

    let arguments = BTreeMap::from([("x-max-length".to_owned(), Argument::Integer(1000))]);
    let declare = Some(Declare { kind: Some(QueueType::Quorum), arguments, ..Declare::default() });
    let asked = RabbitMqConfig { declare, ..plain };
    let warnings = check(&asked).await.unwrap();
    assert!(matches!(&warnings[..], [only] if only.contains("will be declared")), "{warnings:?}");
    assert_eq!(broker.ready(&queue).await, None, "a check changed the broker");
    let mut source = connect(asked.clone()).await.unwrap();
    broker.publish_one("amq.topic", "orders.created", b"{}", BasicProperties::default()).await;
    let messages = take(&mut source, 1).await;
    assert_eq!(messages[0].position.address, "amq.topic/orders.created");
    ack(messages);
    source.close(SOON).await.unwrap();

    // It has exactly these arguments: the same again is accepted, others are not.
    let arguments = [
        ("x-queue-type", AMQPValue::LongString("quorum".into())),
        ("x-max-length", AMQPValue::LongLongInt(1000)),
        ("x-dead-letter-exchange", AMQPValue::LongString("dead".into())),
    ];
    broker.declare_with(&queue, &arguments).await;
    let other = RabbitMqConfig { declare: Some(Declare::default()), ..asked };
    let refused = connect(other).await.expect_err("declared with other arguments");
    assert!(
        matches!(&refused, SourceError::Misconfigured(text) if text.contains("inequivalent")),
        "{refused}"
    );
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
async fn a_stream_is_read_on_after_a_reconnect_and_again_after_a_retry() {
    let (broker, queue) = (Broker::connect().await, unique("stream"));
    broker.declare(&queue, "stream").await;
    broker.publish(&queue, bodies(20)).await;
    let wire = Wire::start().await;
    let first = BTreeMap::from([("x-stream-offset".to_owned(), Argument::Text("first".to_owned()))]);
    let stream = RabbitMqConfig { prefetch: 10, consumer_arguments: first, ..wire.config(&queue) };
    let mut source = connect(stream).await.unwrap();
    assert!(source.features().ordered);

    let mut messages = take(&mut source, 10).await;
    assert_eq!(messages[3].position.message_id, Some(format!("stream:{queue}:3")));
    // 0, 1 and 2 are settled, 3 is open, 4 and above are settled: reading goes on at 3.
    let open = messages.remove(3);
    ack(messages);
    let after = take(&mut source, 1).await;
    assert_eq!(texts(&after), ["body 10"]);
    wire.cut();
    let again = take_from(&mut source, "body 3", 8).await;
    assert_eq!(texts(&again), bodies(11).skip(3).collect::<Vec<_>>());
    drop((open, after));

    // A stream takes nothing back: the reader goes back to the lowest unsettled offset.
    ack(again);
    let mut messages = take(&mut source, 5).await;
    let dropped = messages.remove(1);
    ack(messages);
    drop(dropped);
    let again = take_from(&mut source, "body 12", 8).await;
    assert_eq!(texts(&again), bodies(20).skip(12).collect::<Vec<_>>());
    ack(again);
    source.close(SOON).await.unwrap();
    broker.delete(&queue).await;
}

/// What an earlier process stored: everything below an offset.
#[derive(Debug)]
struct Stored(String, u64);

impl Watermarks for Stored {
    fn load(&self) -> Pin<Box<dyn Future<Output = Result<NextOffsets, String>> + Send + '_>> {
        Box::pin(ready(Ok(NextOffsets::from([(self.0.clone(), self.1)]))))
    }
}

#[tokio::test]
async fn a_new_process_reads_a_stream_on_where_the_stored_events_end() {
    let (broker, queue) = (Broker::connect().await, unique("resumed"));
    broker.declare(&queue, "stream").await;
    broker.publish(&queue, bodies(20)).await;
    let watermarks = Arc::new(Stored(format!("stream:{queue}"), 7));
    let context = Context { watermarks, ..Context::new("rabbitmq", &queue) };

    // Without a watermark this source would start behind the last message.
    let mut source = longshore_source_rabbitmq::connect(config(&queue), context).await.unwrap();

    let messages = take(&mut source, 13).await;
    assert_eq!(texts(&messages), bodies(20).skip(7).collect::<Vec<_>>());
    ack(messages);
    source.close(SOON).await.unwrap();
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
