//! What the settings accept, and how they refuse the rest.

use longshore_source_rabbitmq::{Argument, QueueType, RabbitMqConfig, Schema};
use serde_json::{Value, json};

fn parse(settings: Value) -> Result<RabbitMqConfig, String> {
    let config: RabbitMqConfig = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    config.validate().map(|()| config).map_err(|error| error.to_string())
}

#[test]
fn the_v1_contract_is_accepted_as_it_is() {
    let config = parse(json!({
        "schema": "amqps", "host": "broker.example", "port": "5671", "queue": "orders", "vhost": "shop",
        "auth": { "user": "longshore", "password": "secret" },
        "bindExchange": { "exchange": "events", "routingKey": "orders.*" },
        "deadLetterExchange": "dead",
    }))
    .unwrap();

    assert_eq!((config.schema, config.port), (Some(Schema::Amqps), Some(5671)));
    assert_eq!(config.bind_exchange.unwrap().routing_key, "orders.*");
    assert_eq!(config.dead_letter_exchange.as_deref(), Some("dead"));
}

#[test]
fn everything_but_queue_and_address_is_optional() {
    let by_host = parse(json!({ "host": "localhost", "queue": "orders" })).unwrap();
    assert_eq!((by_host.prefetch, by_host.heartbeat, by_host.declare), (1000, 15, None));
    parse(json!({ "host": "localhost", "port": 5672, "queue": "orders", "vhost": "", "bindExchange": {} }))
        .unwrap();
    parse(json!({ "host": "localhost", "port": "", "queue": "orders", "auth": { "user": "me" } })).unwrap();
    parse(json!({ "hosts": ["one", "two:5673", "::1", "[::1]:5674"], "queue": "orders" })).unwrap();
    parse(json!({ "urls": ["amqp://one", "amqps://user:pw@two:5671/shop"], "queue": "orders" })).unwrap();
}

#[test]
fn declaring_and_subscribing_take_arguments() {
    let config = parse(json!({
        "host": "localhost", "queue": "log",
        "declare": { "type": "stream", "arguments": { "x-max-age": "7D", "x-length": 5, "x-flag": true } },
        "consumer_arguments": { "x-stream-offset": "first" },
    }))
    .unwrap();

    let declare = config.declare.unwrap();
    assert_eq!((declare.durable, declare.kind), (true, Some(QueueType::Stream)));
    assert_eq!(declare.arguments["x-max-age"], Argument::Text("7D".to_owned()));
    assert_eq!(declare.arguments["x-length"], Argument::Integer(5));
    assert_eq!(declare.arguments["x-flag"], Argument::Bool(true));
}

#[test]
fn every_fault_names_its_field() {
    let cases = [
        (json!({ "host": "a" }), "`queue` is empty"),
        (json!({ "queue": "q" }), "`urls` is empty, and so is `host`"),
        (json!({ "queue": "q", "host": "a", "prefetch": 0 }), "`prefetch` is 0"),
        (json!({ "queue": "q", "host": "a", "heartbeat": 0 }), "`heartbeat` is 0"),
        (json!({ "queue": "q", "host": "a", "prefetch": 65536 }), "65536"),
        (json!({ "queue": "q", "host": "a", "port": "http" }), "`port` is not a number"),
        (json!({ "queue": "q", "host": "a", "prefetched": 1 }), "unknown field `prefetched`"),
        (json!({ "queue": "q", "host": "a", "schema": "http" }), "unknown variant `http`"),
        (json!({ "queue": "q", "urls": ["amqp://a"], "host": "a" }), "`host` is given beside `urls`"),
        (json!({ "queue": "q", "urls": ["http://u:secret@a"] }), "`urls` holds `http://***@a`"),
        (json!({ "queue": "q", "urls": ["amqp://u:secret@:x"] }), "`urls` holds `amqp://***@:x`"),
        (json!({ "queue": "q", "host": "amqp://u:secret@a" }), "`host` is not a host name"),
        (json!({ "queue": "q", "hosts": ["a:b"] }), "`hosts` holds `a:b`"),
        (json!({ "queue": "q", "host": "a", "tls": {} }), "`tls` is given, but no address uses `amqps`"),
        (
            json!({ "queue": "q", "host": "a", "schema": "amqps", "tls": { "client_cert_file": "c" } }),
            "`tls.client_key_file`",
        ),
        (
            json!({ "queue": "q", "host": "a", "declare": { "durable": false, "type": "quorum" } }),
            "`declare.durable` is false",
        ),
        (
            json!({ "queue": "q", "host": "a", "declare": { "type": "quorum", "arguments": { "x-queue-type": "q" } } }),
            "`declare.arguments` holds `x-queue-type`",
        ),
    ];
    for (settings, expected) in cases {
        let refused = parse(settings.clone()).expect_err(&settings.to_string());
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = parse(json!({
        "queue": "q", "host": "a", "auth": { "user": "me", "password": "hunter2" },
    }))
    .unwrap();
    let urls = parse(json!({ "queue": "q", "urls": ["amqp://me:hunter2@a"] })).unwrap();

    assert!(!format!("{config:?} {urls:?}").contains("hunter2"));
}
