//! Settings: what is accepted, what is refused and in which words, what is never printed.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use longshore_source_sqs::{BodyEncoding, Envelope, SqsConfig};
use serde_json::{Value, json};

fn parse(settings: Value) -> Result<SqsConfig, String> {
    let config = serde_json::from_value::<SqsConfig>(settings).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

/// `queue_name` and what is given.
fn with(more: impl Into<Value>) -> Value {
    let mut settings = json!({ "queue_name": "orders" });
    let Value::Object(more) = more.into() else { unreachable!("settings are an object") };
    settings.as_object_mut().unwrap().extend(more);
    settings
}

#[test]
fn the_fields_of_the_v1_contract_are_enough() {
    let config = parse(json!({
        "access_key_id": "AKID", "secret_key": "hush", "default_region": "eu-west-1", "queue_name": "orders"
    }))
    .unwrap();

    assert_eq!((config.pollers, config.wait_time, config.max_messages), (2, 20, 10));
    assert_eq!((config.unwrap.len(), config.body_encoding), (0, BodyEncoding::None));
}

#[test]
fn every_bound_holds_on_both_sides() {
    for (field, least, most) in [
        ("pollers", 1_u64, 10_u64),
        ("wait_time", 1, 20),
        ("max_messages", 1, 10),
        ("visibility_timeout", 1, 43_200),
        ("max_in_flight", 1, 120_000),
        ("max_extension", 1, 43_200),
        ("max_decompressed_bytes", 1, 1 << 30),
    ] {
        for good in [least, most] {
            assert!(parse(with(json!({ field: good }))).is_ok(), "{field} {good}");
        }
        for bad in [least.checked_sub(1), Some(most + 1)].into_iter().flatten() {
            let problem = parse(with(json!({ field: bad }))).unwrap_err();
            assert!(problem.contains(&format!("`{field}` is {bad}")), "{problem}");
        }
    }
}

#[test]
fn what_cannot_work_is_named() {
    for (settings, named) in [
        (json!({}), "`queue_name` is missing"),
        (json!({ "queue_name": "a", "queue_url": "https://h/1/a" }), "give one"),
        (json!({ "queue_name": "or ders" }), "`queue_name` has no queue name"),
        (json!({ "queue_name": ".fifo" }), "`queue_name` has no queue name"),
        (json!({ "queue_name": "a".repeat(81) }), "`queue_name` has no queue name"),
        (json!({ "queue_url": "orders" }), "`queue_url` is not a queue's URL"),
        (json!({ "queue_arn": "arn:aws:sns:r:1:orders" }), "`queue_arn` is not a queue's ARN"),
        (json!({ "queue_arn": "arn:aws:sqs:r:1:o", "queue_owner": "1" }), "`queue_owner`"),
        (with(json!({ "queue_owner": "12" })), "`queue_owner` is not an account id"),
        (with(json!({ "access_key_id": "a" })), "`secret_key` and `access_key_id` belong together"),
        (with(json!({ "secret_key": "a" })), "`secret_key` and `access_key_id` belong together"),
        (with(json!({ "session_token": "a" })), "`session_token`"),
        (
            with(json!({ "profile": "p", "access_key_id": "a", "secret_key": "b" })),
            "`profile` is given beside",
        ),
        (with(json!({ "profile_file": "/f" })), "`profile_file`"),
        (with(json!({ "assume_role": {} })), "`assume_role.role_arn` is not an ARN"),
        (with(json!({ "assume_role": { "role_arn": "arn:aws:iam::1:role/r", "duration": 899 } })), "is 899"),
        (with(json!({ "endpoint": "localhost:9324" })), "`endpoint` is not a URL"),
        (with(json!({ "endpoint": "http://h", "use_fips": true })), "`endpoint` is given beside"),
        (with(json!({ "unwrap": ["sqs"] })), "unknown variant"),
        (with(json!({ "queue": "orders" })), "unknown field `queue`"),
    ] {
        let problem = parse(settings.clone()).expect_err(&settings.to_string());
        assert!(problem.contains(named), "{settings}: {problem}");
    }
}

#[test]
fn envelopes_and_encodings_have_their_usual_names() {
    let config = parse(with(json!({ "unwrap": ["sns", "eventbridge", "s3"] }))).unwrap();
    assert_eq!(config.unwrap, [Envelope::Sns, Envelope::EventBridge, Envelope::S3]);
    for (name, encoding) in [
        ("none", BodyEncoding::None),
        ("base64", BodyEncoding::Base64),
        ("base64+gzip", BodyEncoding::Base64Gzip),
        ("gzip", BodyEncoding::Base64Gzip),
        ("auto", BodyEncoding::Auto),
    ] {
        assert_eq!(parse(with(json!({ "body_encoding": name }))).unwrap().body_encoding, encoding);
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = parse(with(json!({
        "access_key_id": "AKID", "secret_key": "hush", "session_token": "hush",
        "assume_role": { "role_arn": "arn:aws:iam::1:role/r", "external_id": "hush" }
    })));

    let printed = format!("{:?}", config.unwrap());
    assert!(printed.contains("AKID") && !printed.contains("hush"), "{printed}");
}
