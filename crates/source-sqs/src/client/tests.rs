use std::io::Write as _;

use aws_sdk_sqs::config::ProvideCredentials as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use longshore_source::Secret;

async fn credentials(config: &SqsConfig) -> Credentials {
    let queue = QueueRef::of(config).unwrap();
    let sdk = sdk_config(config, &queue).await.unwrap();
    sdk.credentials_provider().unwrap().provide_credentials().await.unwrap()
}

fn config() -> SqsConfig {
    SqsConfig {
        queue_name: Some("orders".to_owned()),
        default_region: Some("eu-west-1".to_owned()),
        ..SqsConfig::default()
    }
}

fn with_key() -> SqsConfig {
    SqsConfig {
        access_key_id: Some("AKIDFIXED".to_owned()),
        secret_key: Some("fixed secret".into()),
        session_token: Some("fixed token".into()),
        ..config()
    }
}

#[tokio::test]
async fn fixed_keys_are_used_as_they_are() {
    let found = credentials(&with_key()).await;

    assert_eq!((found.access_key_id(), found.secret_access_key()), ("AKIDFIXED", "fixed secret"));
    assert_eq!(found.session_token(), Some("fixed token"));
}

#[tokio::test]
async fn a_profile_is_read_from_its_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let profiles = "[default]\naws_access_key_id = AKIDOTHER\naws_secret_access_key = other\n\
        [orders]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = profile secret\n";
    file.write_all(profiles.as_bytes()).unwrap();
    let profile = Some("orders".to_owned());
    let config = SqsConfig { profile, profile_file: Some(file.path().to_owned()), ..config() };

    let found = credentials(&config).await;

    assert_eq!((found.access_key_id(), found.secret_access_key()), ("AKIDPROFILE", "profile secret"));
}

#[tokio::test]
async fn a_role_is_assumed_with_what_its_owner_asks_for() {
    let (endpoint, asked) = token_service().await;
    let role = AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
        external_id: Some(Secret::from("tenant 7")),
        session_name: Some("longshore".to_owned()),
        duration: Some(1800),
        endpoint: Some(endpoint),
    };

    let found = credentials(&SqsConfig { assume_role: Some(role), ..with_key() }).await;

    assert_eq!((found.access_key_id(), found.session_token()), ("ASIAROLE", Some("role token")));
    let asked = asked.await.unwrap();
    // By us, in our region's name, for that role.
    assert!(asked.contains("Credential=AKIDFIXED/") && asked.contains("/eu-west-1/sts/"), "{asked}");
    for parameter in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Freader",
        "ExternalId=tenant%207",
        "RoleSessionName=longshore",
        "DurationSeconds=1800",
    ] {
        assert!(asked.contains(parameter), "{parameter} is missing in {asked}");
    }
}

#[tokio::test]
async fn a_region_comes_from_the_settings_the_arn_or_the_url() {
    let base = SqsConfig { queue_name: None, default_region: None, ..with_key() };
    let arn = Some("arn:aws:sqs:us-west-2:123456789012:orders".to_owned());
    let url = Some("https://sqs.eu-north-1.amazonaws.com/123456789012/orders".to_owned());
    for (config, expected) in [
        (with_key(), "eu-west-1"),
        (SqsConfig { queue_arn: arn, ..base.clone() }, "us-west-2"),
        (SqsConfig { queue_url: url, ..base }, "eu-north-1"),
    ] {
        let sdk = sdk_config(&config, &QueueRef::of(&config).unwrap()).await.unwrap();
        assert_eq!(sdk.region().map(AsRef::as_ref), Some(expected));
    }
}

/// A token service for one request: its URL, and what it was asked.
async fn token_service() -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = String::new();
        let mut buffer = [0; 4096];

        while !is_whole(&asked) {
            let read = socket.read(&mut buffer).await.unwrap();
            assert!(read > 0, "the request ends early: {asked}");
            asked.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        let body = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
            <AssumedRoleUser><AssumedRoleId>A:s</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/s</Arn></AssumedRoleUser>\
            <Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role secret</SecretAccessKey>\
            <SessionToken>role token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
            </AssumeRoleResult></AssumeRoleResponse>";
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).await.unwrap();
        asked
    });
    (endpoint, asked)
}

/// Whether the body is as long as the header says.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}
