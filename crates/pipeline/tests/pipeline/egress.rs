//! What may be reached and by which way, against a DNS server and proxies of the tests' own.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::project::Project;
use longshore_core::{AttemptOutcome, Endpoint, Secret};
use longshore_pipeline::dispatch::egress::{DnsSettings, Guard, Route};
use longshore_pipeline::dispatch::{Answer, HttpSettings, HttpTransport, Transport};
use longshore_testkit::dns::DnsServer;
use longshore_testkit::proxy::{ProxyKind, ProxyServer};
use longshore_testkit::receiver::{Receiver, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::bed::{A, PROJECT, SECOND};
use super::http::{SOON, request, settings};

const NO_TIME: Duration = Duration::ZERO;

/// The strict guard, names by that server, remembered not at all.
fn strict(dns: &DnsServer) -> HttpSettings {
    let mut settings = settings();
    settings.rules.guard = Guard::default();
    settings.dns = DnsSettings {
        servers: vec![dns.addr()],
        min_ttl: NO_TIME,
        max_ttl: 60 * SECOND,
        negative_ttl: NO_TIME,
    };
    settings.connect_timeout = SECOND / 2;
    settings
}

/// As [`strict`], with the loopback allowed.
fn loose(dns: &DnsServer) -> HttpSettings {
    let mut settings = strict(dns);
    settings.rules.guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
    settings
}

/// A route through a project that is changed so.
fn route(change: impl FnOnce(&mut Project)) -> Route {
    let mut project = Project::new(PROJECT, "p".to_owned());
    change(&mut project);
    let endpoint = Endpoint::new(A, PROJECT, "https://a.example/".parse().unwrap());
    Route::of(&Arc::new(endpoint), Some(&Arc::new(project)))
}

fn by_proxy(url: &str) -> Route {
    route(|project| project.credentials.proxy = Some(Secret::new(url.to_owned())))
}

async fn send(transport: &HttpTransport, url: &str, route: &Route) -> Answer {
    let request = longshore_pipeline::dispatch::SignedRequest { route: route.clone(), ..request(url, SOON) };
    transport.send(request).await
}

#[tokio::test]
async fn names_that_resolve_to_special_addresses_are_refused_by_rule() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    let transport = HttpTransport::new(&strict(&dns)).unwrap();
    for (address, rule) in [
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("100.64.0.1", "carrier"),
        ("0.0.0.0", "this host"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("fd00:ec2::254", "metadata"),
        ("fe80::1", "link-local"),
        ("2002:7f00:1::", "6to4"),
    ] {
        dns.script("rebound.example", NO_TIME, &[&[address]]);
        let url = format!("http://rebound.example:{}/", receiver.addr().port());

        let answer = send(&transport, &url, &Route::default()).await;

        assert_eq!(answer.outcome, AttemptOutcome::Blocked, "{address}: {answer:?}");
        assert!(answer.error.contains(rule) && answer.error.contains("allowed_networks"), "{}", answer.error);
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    let transport = HttpTransport::new(&strict(&dns)).unwrap();
    // Public when it is looked at, ours when it is connected to, with records that live no time: again and again.
    let answers: [&[&str]; 6] = [
        &["192.88.98.1"],
        &["127.0.0.1"],
        &["192.88.98.1"],
        &["127.0.0.1"],
        &["192.88.98.1"],
        &["127.0.0.1"],
    ];
    dns.script("rebinding.example", NO_TIME, &answers);
    let url = format!("http://rebinding.example:{}/", receiver.addr().port());

    for round in 0..6 {
        let answer = send(&transport, &url, &Route::default()).await;

        assert!(!answer.outcome.is_success());
        let is_ours = round % 2 == 1;
        assert_eq!(answer.outcome == AttemptOutcome::Blocked, is_ours, "round {round}: {answer:?}");
    }
    assert_eq!((receiver.connections(), dns.queries("rebinding.example")), (0, 6));
}

#[tokio::test]
async fn of_several_addresses_only_the_permitted_ones_are_used() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    let mut settings = strict(&dns);
    settings.rules.guard = Guard::new(vec!["127.0.0.2/32".parse().unwrap()], Vec::new());
    let transport = HttpTransport::new(&settings).unwrap();
    let other = TcpListener::bind(("127.0.0.2", receiver.addr().port())).await.unwrap();
    dns.script("both.example", NO_TIME, &[&["127.0.0.1", "127.0.0.2", "10.0.0.1"]]);
    let url = format!("http://both.example:{}/", receiver.addr().port());

    let (accepted, _) = tokio::join!(tokio::time::timeout(SOON, other.accept()), async {
        tokio::time::timeout(SECOND, send(&transport, &url, &Route::default())).await
    });

    assert!(accepted.is_ok_and(|accepted| accepted.is_ok()));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_family_that_leads_nowhere_does_not_keep_the_other_from_being_tried() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    let mut settings = loose(&dns);
    settings.rules.guard =
        Guard::new(vec!["127.0.0.1/32".parse().unwrap(), "::1/128".parse().unwrap()], Vec::new());
    settings.connect_timeout = 5 * SECOND;
    let transport = HttpTransport::new(&settings).unwrap();
    // Nobody listens there by IPv6.
    dns.script("dual.example", NO_TIME, &[&["::1", "127.0.0.1"]]);

    let url = format!("http://dual.example:{}/", receiver.addr().port());
    let answer = send(&transport, &url, &Route::default()).await;

    assert!(answer.outcome.is_success(), "{answer:?}");
}

#[tokio::test]
async fn a_redirect_to_metadata_is_not_followed() {
    let receiver = Receiver::start().await;
    let transport = HttpTransport::new(&settings()).unwrap();
    for status in [301, 302, 303, 307, 308] {
        receiver.script("/", [Reply::status(status).header("location", "http://169.254.169.254/latest/")]);

        let answer = send(&transport, &receiver.url("/"), &Route::default()).await;

        assert_eq!(answer.outcome, AttemptOutcome::Response { status, retry_after: None });
        assert!(answer.error.contains("not followed"), "{}", answer.error);
        assert_eq!(answer.headers.get("location"), Some("http://169.254.169.254/latest/"));
    }
    assert_eq!(receiver.count(), 5);
}

#[tokio::test]
async fn answers_of_dns_are_kept_as_long_as_they_say_within_bounds() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    let port = receiver.addr().port();
    // No connection is kept, so that each request needs the address.
    let with = |min_ttl, max_ttl, negative_ttl| {
        let mut settings = HttpSettings { kept_connections: 0, ..loose(&dns) };
        settings.dns = DnsSettings { min_ttl, max_ttl, negative_ttl, ..settings.dns };
        HttpTransport::new(&settings).unwrap()
    };
    let twice = async |transport: &HttpTransport, name: &str| {
        for _ in 0..2 {
            send(transport, &format!("http://{name}:{port}/"), &Route::default()).await;
        }
        dns.queries(name)
    };
    dns.script("brief.example", NO_TIME, &[&["127.0.0.1"]]);
    dns.script("floor.example", NO_TIME, &[&["127.0.0.1"]]);
    dns.script("minute.example", 60 * SECOND, &[&["127.0.0.1"]]);
    dns.script("ceiling.example", 60 * SECOND, &[&["127.0.0.1"]]);

    assert_eq!(twice(&with(NO_TIME, 60 * SECOND, NO_TIME), "brief.example").await, 2);
    assert_eq!(twice(&with(60 * SECOND, 60 * SECOND, NO_TIME), "floor.example").await, 1);
    assert_eq!(twice(&with(NO_TIME, 60 * SECOND, NO_TIME), "minute.example").await, 1);
    assert_eq!(twice(&with(NO_TIME, NO_TIME, NO_TIME), "ceiling.example").await, 2);
    assert_eq!(twice(&with(NO_TIME, NO_TIME, NO_TIME), "nobody.example").await, 2);
    assert_eq!(twice(&with(NO_TIME, NO_TIME, 60 * SECOND), "noone.example").await, 1);
    assert_eq!(receiver.count(), 8);
}

#[tokio::test]
async fn many_at_once_ask_for_a_name_once() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    dns.script("busy.example", 60 * SECOND, &[&["127.0.0.1"]]);
    let transport = HttpTransport::new(&loose(&dns)).unwrap();
    let url = format!("http://busy.example:{}/", receiver.addr().port());

    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (transport, url) = (transport.clone(), url.clone());
        sending.spawn(async move { send(&transport, &url, &Route::default()).await.outcome.is_success() });
    }

    assert!(sending.join_all().await.into_iter().all(|is_success| is_success));
    assert_eq!(dns.queries("busy.example"), 1);
}

#[tokio::test]
async fn a_projects_hosts_open_its_own_way_and_no_one_elses() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    dns.script("crm.example", 60 * SECOND, &[&["127.0.0.1"]]);
    let mut settings = strict(&dns);
    settings.rules.guard = Guard::new(Vec::new(), vec!["127.0.0.0/8".parse().unwrap()]);
    let transport = HttpTransport::new(&settings).unwrap();
    let port = receiver.addr().port();
    let (name, literal) = (format!("http://crm.example:{port}/"), format!("http://127.0.0.1:{port}/"));
    let opened = |host: &str| route(|project| project.settings.egress.allowed_hosts = vec![host.to_owned()]);

    assert!(send(&transport, &name, &opened("crm.example")).await.outcome.is_success());
    assert!(send(&transport, &literal, &opened("127.0.0.1")).await.outcome.is_success());
    // The connections above are idle and kept, and still nobody else's.
    for foreign in [Route::default(), opened("other.example"), opened("127.0.0.2")] {
        for url in [&name, &literal] {
            let answer = send(&transport, url, &foreign).await;
            assert_eq!(answer.outcome, AttemptOutcome::Blocked, "{url}: {answer:?}");
        }
    }
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn connections_leave_from_the_projects_address() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let transport = HttpTransport::new(&settings()).unwrap();
    let from = route(|project| project.settings.egress.source_address = Some([127, 0, 0, 7].into()));
    let url = format!("http://{}/", receiver.local_addr().unwrap());

    let ((mut stream, peer), answer) = tokio::join!(
        async {
            let (mut stream, peer) = tokio::time::timeout(SOON, receiver.accept()).await.unwrap().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{}") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            (stream, peer)
        },
        send(&transport, &url, &from)
    );
    let _ = stream.shutdown().await;

    assert!(answer.outcome.is_success(), "{answer:?}");
    assert_eq!(peer.ip(), std::net::IpAddr::from([127, 0, 0, 7]));
}

#[tokio::test]
async fn requests_go_through_the_projects_proxy_with_its_credentials() {
    let (dns, receiver) = (DnsServer::start().await, Receiver::start().await);
    dns.script("hook.example", 60 * SECOND, &[&["127.0.0.1"]]);
    let port = receiver.addr().port();
    let url = format!("http://hook.example:{port}/");
    for (scheme, kind, asked) in [
        ("http", ProxyKind::Http, format!("hook.example:{port}")),
        ("socks5h", ProxyKind::Socks5, format!("hook.example:{port}")),
        ("socks5", ProxyKind::Socks5, format!("127.0.0.1:{port}")),
    ] {
        let transport = HttpTransport::new(&loose(&dns)).unwrap();
        let proxy = ProxyServer::start(kind).await;
        proxy.demand("us er", "p@ss:word");
        proxy.route(&format!("hook.example:{port}"), receiver.addr());
        let with = |user: &str| by_proxy(&format!("{scheme}://{user}{}", proxy.addr()));

        let right = with("us%20er:p%40ss%3Aword@");
        for _ in 0..2 {
            let answer = send(&transport, &url, &right).await;
            assert!(answer.outcome.is_success(), "{scheme}: {answer:?}");
        }
        assert_eq!(
            proxy.asked(),
            std::slice::from_ref(&asked),
            "{scheme}: the second request found the connection kept"
        );
        for wrong in [with("us%20er:hunter2@"), with("")] {
            let answer = send(&transport, &url, &wrong).await;
            assert_eq!(answer.outcome, AttemptOutcome::Connect, "{answer:?}");
            assert!(answer.error.contains("the proxy") && answer.error.contains("credentials"), "{answer:?}");
            assert!(!answer.error.contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn a_proxys_refusal_is_on_record() {
    let dns = DnsServer::start().await;
    dns.script("hook.example", 60 * SECOND, &[&["127.0.0.1"]]);
    for (scheme, kind, code, said) in [
        ("http", ProxyKind::Http, 403, "403 Not Today"),
        ("http", ProxyKind::Http, 502, "502 Not Today"),
        ("socks5h", ProxyKind::Socks5, 2, "rules"),
        ("socks5h", ProxyKind::Socks5, 5, "refused"),
    ] {
        let proxy = ProxyServer::start(kind).await;
        proxy.refuse(code);
        let transport = HttpTransport::new(&loose(&dns)).unwrap();

        let answer =
            send(&transport, "http://hook.example/", &by_proxy(&format!("{scheme}://{}", proxy.addr())))
                .await;

        assert_eq!(answer.outcome, AttemptOutcome::Connect, "{answer:?}");
        assert!(answer.error.starts_with("the proxy: ") && answer.error.contains(said), "{}", answer.error);
    }
    let transport = HttpTransport::new(&loose(&dns)).unwrap();
    let answer = send(&transport, "http://hook.example/", &by_proxy("http://127.0.0.1:1")).await;
    assert_eq!(answer.outcome, AttemptOutcome::Connect);
    assert!(answer.error.starts_with("the proxy: "), "{}", answer.error);
}

#[tokio::test]
async fn a_proxy_is_no_way_around_the_guard() {
    let dns = DnsServer::start().await;
    dns.script("inside.example", 60 * SECOND, &[&["10.0.0.1"]]);
    let proxy = ProxyServer::start(ProxyKind::Http).await;
    let socks = ProxyServer::start(ProxyKind::Socks5).await;
    let mut settings = strict(&dns);
    settings.rules.guard = Guard::new(vec!["127.0.0.1/32".parse().unwrap()], Vec::new());
    let transport = HttpTransport::new(&settings).unwrap();
    let routes = [
        format!("http://{}", proxy.addr()),
        format!("socks5h://{}", socks.addr()),
        format!("socks5://{}", socks.addr()),
    ];

    for route in &routes {
        for target in
            ["http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/", "http://inside.example/"]
        {
            let answer = send(&transport, target, &by_proxy(route)).await;
            assert_eq!(answer.outcome, AttemptOutcome::Blocked, "{route} {target}: {answer:?}");
        }
    }
    assert!(proxy.asked().is_empty() && socks.asked().is_empty());
    // What resolves there only is the proxy's to judge; a proxy that has names resolved here cannot be asked.
    let answer = send(&transport, "http://nobody.example/", &by_proxy(&routes[0])).await;
    assert_eq!(
        (answer.outcome, proxy.asked()),
        (AttemptOutcome::Connect, vec!["nobody.example:80".to_owned()])
    );
    let answer = send(&transport, "http://nobody.example/", &by_proxy(&routes[2])).await;
    assert_eq!(answer.outcome, AttemptOutcome::Dns);
    // The proxy's own address is judged like any other.
    let guarded = HttpTransport::new(&strict(&dns)).unwrap();
    let answer = send(&guarded, "http://1.1.1.1/", &by_proxy(&routes[0])).await;
    assert_eq!(answer.outcome, AttemptOutcome::Blocked, "{answer:?}");
}

#[tokio::test]
async fn beyond_what_may_be_kept_connections_are_closed_after_their_use() {
    let receiver = Receiver::start().await;
    let transport = HttpTransport::new(&HttpSettings { kept_connections: 0, ..settings() }).unwrap();

    for _ in 0..3 {
        assert!(send(&transport, &receiver.url("/"), &Route::default()).await.outcome.is_success());
    }

    assert_eq!(receiver.connections(), 3);
    assert!(receiver.requests().iter().all(|request| request.header("connection") == Some("close")));
}

#[tokio::test]
async fn nothing_is_decompressed_and_nothing_compressed_is_asked_for() {
    let receiver = Receiver::start().await;
    let bomb = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 100]].concat();
    receiver.script("/", [Reply::default().header("content-encoding", "gzip").body(bomb.clone())]);
    let transport = HttpTransport::new(&settings()).unwrap();

    let answer = send(&transport, &receiver.url("/"), &Route::default()).await;

    assert_eq!(answer.body, bomb);
    assert_eq!(receiver.requests()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn endless_heads_are_given_up_and_long_ones_cut_on_record() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let endless = |line: &'static str| {
        let listener = &listener;
        async move {
            let (mut stream, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            while stream.write_all(line.as_bytes()).await.is_ok() {}
        }
    };
    let transport = HttpTransport::new(&settings()).unwrap();
    for line in [
        "x-many: 1\r\n",
        "x-long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ] {
        let route = Route::default();
        let (answer, ()) = tokio::join!(send(&transport, &url, &route), endless(line));

        assert_eq!(answer.outcome, AttemptOutcome::Protocol, "{answer:?}");
    }
    let receiver = Receiver::start().await;
    let value = "v".repeat(1_000);
    let long = (0..30).fold(Reply::default(), |reply, n| reply.header(&format!("x-{n}"), &value));
    receiver.script("/", [long]);

    let answer = send(&transport, &receiver.url("/"), &Route::default()).await;

    assert!(answer.outcome.is_success(), "{answer:?}");
    assert_eq!(answer.headers.iter().filter(|(name, _)| name.starts_with("x-")).count(), 16);
}
