//! Who may connect, and what is said to whom may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_source::SourceError;
use longshore_source_kafka::check;
use longshore_testkit::kafka::{Kafka, TestTopic};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{ack, bodies, close, config, connect, none, numbers, source, take};

fn given(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: start Kafka with `scripts/servers up DIR kafka`"))
}

async fn reads(topic: &TestTopic, over: Value) {
    topic.publish(bodies(0..1)).await;
    let mut source = source(topic, over).await;
    let messages = take(&mut source, 1).await;
    assert_eq!(numbers(&messages), [0]);
    ack(messages);
    close(source).await;
}

fn sasl(auth: Value) -> Value {
    json!({ "brokers": [given("LONGSHORE_TEST_KAFKA_SASL_BROKERS")], "auth": auth })
}

#[tokio::test(flavor = "multi_thread")]
async fn name_and_password_let_in() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let (username, password) = ("longshore", "longshore-secret");
    for auth in [
        json!({ "type": "plain", "username": username, "password": password }),
        json!({ "type": "scram", "hash": "SHA256", "username": username, "password": password }),
        json!({ "type": "scram", "username": username, "password": password }),
    ] {
        reads(&topic, sasl(auth)).await;
    }
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_denied_with_a_sentence() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    for kind in ["plain", "scram"] {
        let wrong = sasl(json!({ "type": kind, "username": "longshore", "password": "hunter2" }));
        let begun = Instant::now();
        let error = connect(config(&topic, wrong.clone())).await.unwrap_err();
        let SourceError::Denied(said) = &error else { panic!("not denied: {error}") };
        assert!(said.contains("uthentication"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
        assert!(matches!(check(&config(&topic, wrong)).await, Err(SourceError::Denied(_))));
    }
    topic.delete().await;
}

/// A token that nobody signed, as the broker takes it.
fn token(lifetime: Duration) -> String {
    #[expect(clippy::disallowed_methods, reason = "the broker compares with its own clock")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let claims = json!({ "sub": "longshore", "iat": now.as_secs(), "exp": (now + lifetime).as_secs() });
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&claims))
}

fn oauth(from: Value) -> Value {
    let brokers = given("LONGSHORE_TEST_KAFKA_OAUTH_BROKERS");
    json!({ "brokers": [brokers], "auth": { "type": "oauthbearer", "oauthbearer": from } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    reads(&topic, oauth(json!({ "token": token(Duration::from_secs(600)) }))).await;

    let stale = oauth(json!({ "token": "not a token" }));
    let error = connect(config(&topic, stale)).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied(_)), "{error}");
    topic.delete().await;
}

/// Answers like an authorization server: one token per request, for one client.
async fn token_endpoint(lifetime: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = vec![0; 16 * 1024];
            let mut length = 0;
            while !String::from_utf8_lossy(&asked[..length]).contains("scope=kafka") {
                match client.read(&mut asked[length..]).await {
                    Ok(read @ 1..) => length += read,
                    _ => break,
                }
            }
            let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
            // us:er / pass&word, each form-encoded.
            let known = asked.contains("authorization: Basic dXMlM0FlcjpwYXNzJTI2d29yZA==");
            let good = known && asked.contains("grant_type=client_credentials");
            let body =
                json!({ "access_token": token(lifetime), "expires_in": lifetime.as_secs() }).to_string();
            let status = if good { "200 OK" } else { "401 Unauthorized" };
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = client.write_all(format!("{head}{body}").as_bytes()).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_before_they_end() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let (endpoint, count) = token_endpoint(Duration::from_secs(4)).await;
    let from = |secret: &str| {
        oauth(json!({
            "token_endpoint": endpoint,
            "client_id": "us:er",
            "client_secret": secret,
            "scope": "kafka",
        }))
    };
    let mut source = source(&topic, from("pass&word")).await;
    // The broker ends sessions with their token, and after four seconds at the latest.
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < Duration::from_secs(9) {
        topic.publish(bodies(number..number + 1)).await;
        let messages = take(&mut source, 1).await;
        assert_eq!(numbers(&messages), [number]);
        ack(messages);
        number += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(count.load(Ordering::SeqCst) >= 3, "asked only {} times", count.load(Ordering::SeqCst));
    close(source).await;

    let error = connect(config(&topic, from("wrong"))).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    topic.delete().await;
}

fn tls(table: Value) -> Value {
    json!({ "brokers": [given("LONGSHORE_TEST_KAFKA_TLS_BROKERS")], "tls": table })
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_let_in_without_a_password() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let certs = given("LONGSHORE_TEST_KAFKA_CERTS");
    let ours = |key: &str| {
        json!({
            "ca_file": format!("{certs}/ca.pem"),
            "cert_file": format!("{certs}/client.pem"),
            "key_file": format!("{certs}/{key}"),
        })
    };
    reads(&topic, tls(ours("client.key"))).await;
    let mut encrypted = ours("client.encrypted.key");
    encrypted["key_password"] = json!("longshore");
    reads(&topic, tls(encrypted)).await;

    let nobody = tls(json!({ "ca_file": format!("{certs}/ca.pem") }));
    let error = connect(config(&topic, nobody)).await.unwrap_err();
    assert!(matches!(error, SourceError::Denied(_)), "{error}");
    let mut strange = ours("client.key");
    strange["ca_file"] = json!(format!("{certs}/stranger.pem"));
    let error = connect(config(&topic, tls(strange))).await.unwrap_err();
    assert!(matches!(&error, SourceError::Misconfigured(said) if said.contains("ca_file")), "{error}");
    let absent = tls(json!({ "ca_file": "/nowhere/ca.pem" }));
    let error = connect(config(&topic, absent)).await.unwrap_err();
    assert!(matches!(error, SourceError::Misconfigured(_)), "{error}");
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_wrong_and_joins_nothing() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    assert_eq!(check(&config(&topic, none())).await.unwrap(), Vec::<String>::new());
    assert_eq!(topic.committed(topic.name()).await, [None]);
    let warned = check(&config(&topic, json!({ "offset_reset": "latest" }))).await.unwrap();
    assert!(warned[0].contains("latest"), "{warned:?}");

    let missing = check(&config(&topic, json!({ "topic_name": "no-such-topic" }))).await.unwrap_err();
    assert!(
        matches!(&missing, SourceError::Misconfigured(said) if said.contains("no-such-topic")),
        "{missing}"
    );
    let nowhere = check(&config(&topic, json!({ "brokers": ["127.0.0.1:1"] }))).await.unwrap_err();
    assert!(matches!(nowhere, SourceError::Disconnected(_)), "{nowhere}");
    topic.delete().await;
}
