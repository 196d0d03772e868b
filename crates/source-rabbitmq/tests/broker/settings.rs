//! What the settings ask for, and what is said of those that cannot work.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use longshore_source::{Source, SourceError};
use longshore_source_rabbitmq::{Argument, Auth, BindExchange, Declare, QueueType, RabbitMqConfig, check};

use crate::support::{Broker, config, connect, unique};
use crate::{SOON, ack, take};

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
