//! Settings that cannot work are refused by name, before any broker is asked.

use longshore_source_kafka::KafkaConfig;
use serde_json::{Value, json};

fn problem(over: Value) -> String {
    let mut settings = json!({ "brokers": ["localhost:9092"], "topic_name": "orders" });
    if let (Some(settings), Value::Object(over)) = (settings.as_object_mut(), over) {
        settings.extend(over);
    }
    match serde_json::from_value::<KafkaConfig>(settings) {
        Ok(config) => config.validate().map_or_else(|error| error.to_string(), |()| "fine".to_owned()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_public_contract_is_understood() {
    let auth = json!({ "type": "scram", "hash": "SHA256", "username": "u", "password": "p", "tls": true });
    let settings = json!({ "consumer_group_id": "group", "auth": auth });
    assert_eq!(problem(settings), "fine");
    assert_eq!(problem(json!({ "auth": null })), "fine");
}

#[test]
fn what_cannot_work_is_named() {
    let cases = [
        (json!({ "brokers": [] }), "`brokers`"),
        (json!({ "brokers": ["localhost"] }), "`brokers`"),
        (json!({ "topic_name": "two words" }), "`topic_name`"),
        (json!({ "topics": [""] }), "`topics`"),
        (json!({ "topic_pattern": "orders.*" }), "`topic_pattern`"),
        (json!({ "topic_name": null, "topic_pattern": "(" }), "`topic_pattern`"),
        (json!({ "topic_name": null }), "`topic_name`"),
        (json!({ "consumer_group_id": " " }), "`consumer_group_id`"),
        (json!({ "group_protocol": "consumer", "session_timeout": "10s" }), "`session_timeout`"),
        (json!({ "group_protocol": "consumer", "assignment": "range" }), "`assignment`"),
        (json!({ "max_in_flight": 0 }), "`max_in_flight`"),
        (json!({ "max_in_flight_bytes": 10 }), "`max_in_flight_bytes`"),
        (json!({ "commit_interval": "1ms" }), "`commit_interval`"),
        (json!({ "session_timeout": "10m" }), "`session_timeout`"),
        (json!({ "auth": { "type": "plain", "password": "p" } }), "`auth.username`"),
        (json!({ "auth": { "type": "plain", "username": "u" } }), "`auth.password`"),
        (json!({ "auth": { "type": "oauthbearer" } }), "`auth.oauthbearer`"),
        (
            json!({ "auth": { "type": "oauthbearer", "oauthbearer": { "token_endpoint": "nowhere" } } }),
            "token_endpoint",
        ),
        (json!({ "tls": { "cert_file": "c.pem" } }), "`tls.key_file`"),
        (json!({ "properties": { "enable.auto.commit": "true" } }), "`enable.auto.commit`"),
        (json!({ "properties": { "no.such.thing": "1" } }), "`no.such.thing`"),
        (json!({ "topic": "orders" }), "topic"),
        (json!({ "commit_interval": "soon" }), "soon"),
    ];
    for (over, named) in cases {
        let said = problem(over.clone());
        assert!(said.contains(named), "{over} is answered with: {said}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let auth = json!({ "type": "plain", "username": "u", "password": "hunter2" });
    let settings = json!({ "brokers": ["localhost:9092"], "topic_name": "orders", "auth": auth });
    let config: KafkaConfig = serde_json::from_value(settings).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}
