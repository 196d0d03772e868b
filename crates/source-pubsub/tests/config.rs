//! What the settings accept, and how they refuse the rest.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_source_pubsub::PubSubConfig;
use serde_json::{Value, json};

fn parse(settings: Value) -> Result<PubSubConfig, String> {
    let config: PubSubConfig = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    config.validate().map(|()| config).map_err(|error| error.to_string())
}

fn account() -> Value {
    json!({
        "type": "service_account", "client_email": "longshore@shop.example", "private_key_id": "abc",
        "private_key": "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    })
}

fn with(account: Value) -> Value {
    json!({ "project_id": "shop", "subscription_id": "orders", "service_account": account })
}

#[test]
fn the_v1_contract_is_accepted_as_it_is() {
    let base64 = STANDARD.encode(account().to_string());

    let config = parse(with(json!(base64))).unwrap();

    assert_eq!((config.project_id.as_str(), config.subscription_id.as_str()), ("shop", "orders"));
    assert_eq!(config.service_account.unwrap().email(), "longshore@shop.example");
}

#[test]
fn a_key_is_text_base64_or_an_object_and_always_the_same() {
    let plain = account().to_string();
    let base64 = STANDARD.encode(&plain);
    let wrapped = format!("{}\n{}\n", &base64[..60], base64[60..].trim_end_matches('='));
    let texts = [plain, base64, wrapped].map(|text| parse(with(json!(text))).unwrap());
    let object = parse(with(account())).unwrap();

    assert!(texts.iter().all(|config| *config == object));
    assert!(!format!("{object:?}").contains("hunter2"), "{object:?}");
}

#[test]
fn everything_but_the_subscription_is_optional() {
    let config = parse(json!({ "project_id": "example.com:shop", "subscription_id": "orders" })).unwrap();

    assert_eq!((config.streams, config.max_in_flight, config.ack_deadline), (2, 1000, 60));
    assert_eq!(config.service_account, None);
    assert_eq!(parse(with(Value::Null)).unwrap().service_account, None);
}

#[test]
fn every_fault_names_its_field_and_quotes_no_key() {
    let set = |field: &str, value: Value| {
        let mut settings = with(account());
        settings[field] = value;
        settings
    };
    let without = |field: &str| {
        let mut key = account();
        key.as_object_mut().unwrap().remove(field);
        with(key)
    };
    let mut other = account();
    other["type"] = json!("authorized_user");
    let cases = [
        (json!({ "subscription_id": "orders" }), "`project_id` is empty"),
        (json!({ "project_id": "shop" }), "`subscription_id` is empty"),
        (set("subscription_id", json!("projects/shop/subscriptions/orders")), "`subscription_id` is no id"),
        (set("streams", json!(0)), "`streams` is not 1 to 10"),
        (set("streams", json!(11)), "`streams` is not 1 to 10"),
        (set("max_in_flight", json!(0)), "`max_in_flight` is not"),
        (set("max_in_flight_bytes", json!(0)), "`max_in_flight_bytes` is 0"),
        (set("ack_deadline", json!(9)), "`ack_deadline` is not 10 to 600"),
        (set("ack_deadline", json!(601)), "`ack_deadline` is not 10 to 600"),
        (set("max_extension", json!(59)), "`max_extension` is less"),
        (set("endpoint", json!("ftp://a")), "`endpoint` is not"),
        (set("workers", json!(1)), "unknown field `workers`"),
        (with(json!("")), "`service_account` is empty"),
        (with(json!("hunter2 hunter2!")), "neither JSON nor base64"),
        (with(json!("{\"private_key\": hunter2")), "`service_account` is no JSON"),
        (with(json!(STANDARD.encode("hunter2"))), "`service_account` is no JSON"),
        (without("private_key"), "`service_account` has no `private_key`"),
        (without("client_email"), "`service_account` has no `client_email`"),
        (with(other), "credentials of another `type`"),
    ];
    for (settings, expected) in cases {
        let refused = parse(settings).expect_err(expected);
        assert!(refused.contains(expected), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[tokio::test]
async fn a_private_key_that_is_none_is_said_without_quoting_it() {
    let config = parse(with(account())).unwrap();

    let refused = longshore_source_pubsub::check(&config).await.expect_err("read a broken key").to_string();

    assert!(refused.contains("service_account") && !refused.contains("hunter2"), "{refused}");
}
