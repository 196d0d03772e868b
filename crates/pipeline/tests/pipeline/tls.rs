//! Certificates, theirs and ours, and HTTP/2.

use std::sync::Arc;

use bytes::Bytes;
use longshore_core::endpoint::{ClientCertificate, EndpointCredentials};
use longshore_core::{AttemptOutcome, Endpoint, Secret};
use longshore_pipeline::dispatch::egress::{Guard, Route, authorities, client_certificate};
use longshore_pipeline::dispatch::{Answer, HttpSettings, HttpTransport, SignedRequest, Transport};
use longshore_testkit::receiver::{Receiver, Reply};
use longshore_testkit::tls::{Authority, Certificate};
use tokio::net::TcpListener;

use super::bed::{A, PROJECT};
use super::http::{SOON, request, settings};

fn local() -> HttpSettings {
    let mut settings = settings();
    let networks = ["127.0.0.0/8", "::1/128"];
    settings.rules.guard =
        Guard::new(networks.iter().map(|text| text.parse().unwrap()).collect(), Vec::new());
    settings
}

fn pair(certificate: &Certificate) -> ClientCertificate {
    ClientCertificate {
        certificate: certificate.certificate.clone(),
        key: Secret::new(certificate.key.clone()),
    }
}

/// A route of an endpoint that trusts that authority and shows that certificate.
fn route(ca: Option<&Authority>, certificate: Option<&Certificate>) -> Route {
    let url = "https://localhost/".parse().unwrap();
    let credentials = EndpointCredentials {
        ca: ca.map(|ca| ca.pem().to_owned()),
        client_certificate: certificate.map(pair),
        ..EndpointCredentials::default()
    };
    Route::of(&Arc::new(Endpoint { credentials, ..Endpoint::new(A, PROJECT, url) }), None)
}

async fn send(transport: &HttpTransport, url: &str, route: &Route) -> Answer {
    transport.send(SignedRequest { route: route.clone(), ..request(url, SOON) }).await
}

#[tokio::test]
async fn receivers_are_verified() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let transport = HttpTransport::new(&local()).unwrap();
    for (certificate, ca, problem) in [
        (ours.issue("localhost"), Some(&ours), None),
        (ours.issue("another.example"), Some(&ours), Some("name")),
        (ours.issue_until("localhost", 2020), Some(&ours), Some("xpired")),
        (ours.issue("localhost"), None, Some("UnknownIssuer")),
        (other.issue("localhost"), Some(&ours), Some("certificate")),
    ] {
        let receiver = Receiver::start_tls(certificate.acceptor(&["http/1.1"], None)).await;

        let answer = send(&transport, &receiver.secure_url("/"), &route(ca, None)).await;

        match problem {
            None => assert!(answer.outcome.is_success(), "{answer:?}"),
            Some(problem) => {
                assert_eq!(answer.outcome, AttemptOutcome::Tls, "{answer:?}");
                assert!(answer.error.contains(problem), "{problem}: {}", answer.error);
                assert_eq!(receiver.count(), 0);
            }
        }
    }
}

#[tokio::test]
async fn an_address_needs_a_certificate_made_out_to_it() {
    let ours = Authority::new("ours");
    let transport = HttpTransport::new(&local()).unwrap();
    for (name, is_right) in [("127.0.0.1", true), ("localhost", false)] {
        let receiver = Receiver::start_tls(ours.issue(name).acceptor(&["http/1.1"], None)).await;
        let url = format!("https://{}/", receiver.addr());

        let answer = send(&transport, &url, &route(Some(&ours), None)).await;

        assert_eq!(answer.outcome.is_success(), is_right, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_wanted() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let certificate = ours.issue("localhost");
    let receiver = Receiver::start_tls(certificate.acceptor(&["http/1.1"], Some(&ours))).await;
    let transport = HttpTransport::new(&local()).unwrap();
    let client = ours.issue("longshore");

    let shown = send(&transport, &receiver.secure_url("/"), &route(Some(&ours), Some(&client))).await;
    assert!(shown.outcome.is_success(), "{shown:?}");
    // The connection with a certificate is idle by now: who has none must not get it.
    for wrong in [None, Some(&other.issue("longshore"))] {
        let answer = send(&transport, &receiver.secure_url("/"), &route(Some(&ours), wrong)).await;
        assert_eq!(answer.outcome, AttemptOutcome::Tls, "{answer:?}");
    }
    assert_eq!(receiver.count(), 1);
}

#[test]
fn certificates_are_checked_where_they_are_registered() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (one, two) = (ours.issue_until("a", 2030), other.issue("b"));

    assert_eq!(client_certificate(&pair(&one)).unwrap().as_secs(), 1_893_456_000);
    let mixed = Certificate { certificate: one.certificate.clone(), key: two.key };
    let empty = Certificate { certificate: String::new(), key: one.key.clone() };
    let keyless = Certificate { certificate: one.certificate.clone(), key: "-----BEGIN".to_owned() };
    for (wrong, word) in [(mixed, "does not fit"), (empty, "`certificate`"), (keyless, "`key`")] {
        let problem = client_certificate(&pair(&wrong)).unwrap_err();
        assert!(problem.contains(word), "{problem}");
    }
    assert!(authorities(&format!("{}{}", ours.pem(), other.pem())).is_ok());
    assert!(authorities("").is_err() && authorities(&one.key).is_err());
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered_on_one_connection() {
    let ours = Authority::new("ours");
    let receiver = Receiver::start_tls(ours.issue("localhost").acceptor(&["h2", "http/1.1"], None)).await;
    let transport = HttpTransport::new(&local()).unwrap();
    let (route, url) = (route(Some(&ours), None), receiver.secure_url("/"));
    receiver.script("/", [Reply::default().body("ok")]);
    assert!(send(&transport, &url, &route).await.outcome.is_success());

    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (transport, url, route) = (transport.clone(), url.clone(), route.clone());
        sending.spawn(async move { send(&transport, &url, &route).await });
    }
    for answer in sending.join_all().await {
        assert!(answer.outcome.is_success() && answer.body == "ok", "{answer:?}");
    }

    assert_eq!((receiver.connections(), receiver.count()), (1, 21));
    assert!(receiver.requests().iter().all(|request| request.version() == http::Version::HTTP_2));
    // Where connections are not kept, none is shared either.
    let transport = HttpTransport::new(&HttpSettings { kept_connections: 0, ..local() }).unwrap();
    assert!(send(&transport, &url, &route).await.outcome.is_success());
    let last = receiver.requests().pop().unwrap();
    assert_eq!((last.version(), last.header("connection")), (http::Version::HTTP_11, Some("close")));
}

/// An HTTP/2 server that says good-bye to each of its first connections, and answers on the last.
async fn leaving(
    farewells: usize,
    reason: h2::Reason,
) -> (Authority, std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let ours = Authority::new("ours");
    let acceptor = ours.issue("localhost").acceptor(&["h2"], None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        for round in 0..=farewells {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let mut connection: h2::server::Connection<_, Bytes> =
                h2::server::handshake(stream).await.unwrap();
            if round < farewells {
                // Before it looks at any request, so that the last stream it has processed is none.
                connection.abrupt_shutdown(reason);
            }
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).unwrap();
            }
        }
    });
    (ours, addr, serving)
}

#[tokio::test]
async fn a_goaway_before_the_request_was_processed_is_made_good_at_once() {
    let (ours, addr, serving) = leaving(1, h2::Reason::NO_ERROR).await;
    let transport = HttpTransport::new(&local()).unwrap();

    let answer =
        send(&transport, &format!("https://localhost:{}/", addr.port()), &route(Some(&ours), None)).await;

    assert!(answer.outcome.is_success(), "{answer:?}");
    serving.abort();
}

#[tokio::test]
async fn goaways_without_end_are_a_failure_to_connect() {
    for reason in [h2::Reason::NO_ERROR, h2::Reason::ENHANCE_YOUR_CALM] {
        let (ours, addr, serving) = leaving(3, reason).await;
        let transport = HttpTransport::new(&local()).unwrap();

        let url = format!("https://localhost:{}/", addr.port());
        let answer = send(&transport, &url, &route(Some(&ours), None)).await;

        assert_eq!(answer.outcome, AttemptOutcome::Connect, "{answer:?}");
        serving.abort();
    }
}
