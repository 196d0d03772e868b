//! OAuth 2.0: tokens are fetched once, kept, renewed when refused; their lack is a failure of its own.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::endpoint::{Authentication, EndpointCredentials, OAuth2, OAuth2Client, TokenFields};
use longshore_core::{AttemptOutcome, Endpoint, Secret};
use longshore_pipeline::dispatch::egress::Route;
use longshore_pipeline::dispatch::{Answer, HttpTransport, SignedRequest, Transport};
use longshore_testkit::receiver::{Receiver, Reply};

use super::bed::{A, PROJECT, SECOND};
use super::http::{SOON, request, settings};

fn oauth2(url: &str) -> OAuth2 {
    OAuth2 {
        url: url.parse().unwrap(),
        client_id: "us".to_owned(),
        client: OAuth2Client::SharedSecret { secret: Secret::new("hunter2".to_owned()), in_header: false },
        scope: Some("hooks write".to_owned()),
        audience: None,
        fields: TokenFields::default(),
        expiry_unit: Default::default(),
    }
}

fn route(settings: OAuth2) -> Route {
    let credentials = EndpointCredentials {
        authentication: Some(Authentication::OAuth2(Box::new(settings))),
        ..EndpointCredentials::default()
    };
    let endpoint = Endpoint::new(A, PROJECT, "https://a.example/".parse().unwrap());
    Route::of(&Arc::new(Endpoint { credentials, ..endpoint }), None)
}

fn token(token: &str, rest: &str) -> Reply {
    Reply::default().body(format!(r#"{{"access_token":"{token}","token_type":"bearer"{rest}}}"#))
}

async fn send(transport: &HttpTransport, receiver: &Receiver, route: &Route, timeout: Duration) -> Answer {
    transport.send(SignedRequest { route: route.clone(), ..request(&receiver.url("/hook"), timeout) }).await
}

fn authorizations(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.requests_to("/hook");
    requests.iter().map(|request| request.header("authorization").unwrap_or("none").to_owned()).collect()
}

#[tokio::test]
async fn a_token_is_fetched_once_and_kept() {
    let receiver = Receiver::start().await;
    receiver.script("/token", [token("t-1", r#","expires_in":3600"#)]);
    let transport = HttpTransport::new(&settings()).unwrap();
    let route = route(oauth2(&receiver.url("/token")));

    let mut sending = tokio::task::JoinSet::new();
    let receiver = Arc::new(receiver);
    for _ in 0..10 {
        let (transport, receiver, route) = (transport.clone(), Arc::clone(&receiver), route.clone());
        sending.spawn(async move { send(&transport, &receiver, &route, SOON).await.outcome.is_success() });
    }

    assert!(sending.join_all().await.into_iter().all(|is_success| is_success));
    assert_eq!(receiver.count_to("/token"), 1);
    assert_eq!(authorizations(&receiver), vec!["Bearer t-1"; 10]);
    let asked = receiver.requests_to("/token").remove(0);
    assert_eq!(
        asked.body,
        "grant_type=client_credentials&client_id=us&client_secret=hunter2&scope=hooks+write"
    );
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn other_settings_mean_another_token() {
    let receiver = Receiver::start().await;
    receiver.script("/token", [token("t-1", ""), token("t-2", "")]);
    let transport = HttpTransport::new(&settings()).unwrap();
    let in_header =
        OAuth2Client::SharedSecret { secret: Secret::new("hun:ter2".to_owned()), in_header: true };
    let (first, other) = (
        oauth2(&receiver.url("/token")),
        OAuth2 { client: in_header, scope: None, ..oauth2(&receiver.url("/token")) },
    );

    for settings in [first.clone(), first, other] {
        assert!(send(&transport, &receiver, &route(settings), SOON).await.outcome.is_success());
    }

    assert_eq!(authorizations(&receiver), ["Bearer t-1", "Bearer t-1", "Bearer t-2"]);
    let asked = receiver.requests_to("/token").remove(1);
    assert_eq!(asked.body, "grant_type=client_credentials");
    assert_eq!(asked.header("authorization"), Some("Basic dXM6aHVuJTNBdGVyMg=="));
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_within_the_attempt() {
    let receiver = Receiver::start().await;
    receiver.script("/token", [token("old", ""), token("new", "")]);
    receiver
        .script("/hook", [Reply::status(200), Reply::status(401), Reply::status(200), Reply::status(401)]);
    let transport = HttpTransport::new(&settings()).unwrap();
    let route = route(oauth2(&receiver.url("/token")));

    for _ in 0..2 {
        assert!(send(&transport, &receiver, &route, SOON).await.outcome.is_success());
    }
    assert_eq!(authorizations(&receiver), ["Bearer old", "Bearer old", "Bearer new"]);
    // The authorization server has no other: the answer is the receiver's, and nothing goes round in circles.
    let answer = send(&transport, &receiver, &route, SOON).await;
    assert_eq!(answer.outcome, AttemptOutcome::Response { status: 401, retry_after: None });
    assert_eq!((receiver.count_to("/hook"), receiver.count_to("/token")), (4, 3));
}

#[tokio::test]
async fn an_assertion_proves_who_asks() {
    let receiver = Receiver::start().await;
    receiver.script("/token", [token("t-1", "")]);
    let transport = HttpTransport::new(&settings()).unwrap();
    // RFC 8037 appendix A.1.
    let key = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let client = OAuth2Client::ClientAssertion {
        signing_key: Secret::new(key.to_owned()),
        algorithm: "EdDSA".to_owned(),
        issuer: Some("issuer".to_owned()),
        subject: None,
    };
    let settings = OAuth2 { client, audience: Some("api".to_owned()), ..oauth2(&receiver.url("/token")) };

    assert!(send(&transport, &receiver, &route(settings), SOON).await.outcome.is_success());

    let asked = receiver.requests_to("/token").remove(0);
    let form: std::collections::HashMap<_, _> =
        url::form_urlencoded::parse(&asked.body).into_owned().collect();
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!((form["client_id"].as_str(), form["audience"].as_str()), ("us", "api"));
    assert!(!form.contains_key("client_secret"));
    let claims = form["client_assertion"].split('.').nth(1).unwrap();
    use base64::Engine;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["iss"], &claims["sub"]), (&"issuer".into(), &"us".into()));
    assert_eq!(claims["aud"], receiver.url("/token"));
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((60..=600).contains(&life) && claims["jti"].as_str().is_some_and(|id| id.len() >= 16));
}

#[tokio::test]
async fn a_token_is_not_used_in_its_last_moments() {
    let receiver = Receiver::start().await;
    receiver.script("/token", [token("brief", r#","expires_in":"0""#), token("t-2", "")]);
    let transport = HttpTransport::new(&settings()).unwrap();
    let route = route(oauth2(&receiver.url("/token")));

    for _ in 0..2 {
        assert!(send(&transport, &receiver, &route, SOON).await.outcome.is_success());
    }

    assert_eq!(authorizations(&receiver), ["Bearer brief", "Bearer t-2"]);
}

#[tokio::test]
async fn the_lack_of_a_token_is_a_failure_of_its_own_and_nothing_is_sent() {
    let receiver = Receiver::start().await;
    receiver.script("/down", [Reply::status(500)]);
    receiver.script("/denied", [Reply::status(401).body(r#"{"error":"invalid_client","hint":"hunter2"}"#)]);
    receiver.script("/odd", [Reply::default().body("hunter2")]);
    receiver.script("/hang", [Reply::hang()]);
    receiver.script("/away", [Reply::redirect(&receiver.url("/token"))]);
    let urls = [
        (receiver.url("/down"), "answered 500"),
        (receiver.url("/denied"), "answered 401 (invalid_client)"),
        (receiver.url("/odd"), "no `access_token`"),
        (receiver.url("/away"), "answered 302"),
        (receiver.url("/hang"), "no token within 300ms"),
        ("http://169.254.169.254/token".to_owned(), "metadata"),
        ("http://127.0.0.1:1/token".to_owned(), "no connection"),
    ];
    for (url, said) in urls {
        let transport = HttpTransport::new(&settings()).unwrap();

        let answer = send(&transport, &receiver, &route(oauth2(&url)), SECOND * 3 / 10).await;

        assert_eq!(answer.outcome, AttemptOutcome::Authentication, "{url}: {answer:?}");
        assert!(answer.error.contains(said) && !answer.error.contains("hunter2"), "{}", answer.error);
    }
    assert_eq!(receiver.count_to("/hook"), 0);
}
