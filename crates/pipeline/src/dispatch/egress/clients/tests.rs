use longshore_core::endpoint::EndpointCredentials;
use longshore_core::{EndpointId, ProjectId, Secret};

use super::*;
use crate::dispatch::egress::DnsSettings;

fn clients() -> Clients {
    Clients::new(Make {
        resolver: Arc::new(Resolver::new(DnsSettings::default()).unwrap()),
        guard: Arc::new(Guard::new(Vec::new(), vec!["10.0.0.0/8".parse().unwrap()])),
        tls: Tls::new().unwrap(),
        connections: Arc::new(Connections::new(10)),
        connect_timeout: Duration::from_secs(1),
        idle_per_host: 1,
    })
    .unwrap()
}

fn route(project: impl FnOnce(&mut Project), credentials: EndpointCredentials) -> Route {
    let id = ProjectId::from_u128(1);
    let mut found = Project::new(id, "p".to_owned());
    project(&mut found);
    let endpoint = Endpoint::new(EndpointId::from_u128(1), id, "https://a.example/".parse().unwrap());
    Route::of(&Arc::new(Endpoint { credentials, ..endpoint }), Some(&Arc::new(found)))
}

fn own(clients: &Clients) -> usize {
    clients.own.lock().unwrap().len()
}

#[tokio::test]
async fn who_is_like_the_others_shares_and_equal_ways_are_one() {
    let clients = clients();
    let plain = || route(|_| {}, EndpointCredentials::default());
    let from = |last| {
        let source = IpAddr::from([127, 0, 0, last]);
        route(|project| project.settings.egress.source_address = Some(source), EndpointCredentials::default())
    };
    let opened = |host: &str| {
        let hosts = vec![host.to_owned()];
        route(|project| project.settings.egress.allowed_hosts = hosts, EndpointCredentials::default())
    };

    for (route, expected) in [
        (Route::default(), 0),
        (plain(), 0),
        (from(1), 1),
        (from(1), 1),
        (from(2), 2),
        (opened("a.internal"), 3),
        (opened("a.internal"), 3),
        (opened("b.internal"), 4),
    ] {
        clients.of(&route, Trust::Own).unwrap();
        assert_eq!(own(&clients), expected);
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_a_fault_of_its_class() {
    let clients = clients();
    let proxy = Some(Secret::new("ftp://me:hunter2@a".to_owned()));
    let by_proxy = route(|project| project.credentials.proxy = proxy, EndpointCredentials::default());
    let ca = EndpointCredentials { ca: Some("nothing".to_owned()), ..EndpointCredentials::default() };

    let fault = clients.of(&by_proxy, Trust::Own).err().unwrap();
    assert_eq!(fault.outcome, AttemptOutcome::Connect);
    assert!(!fault.text.contains("hunter2"), "{}", fault.text);
    let fault = clients.of(&route(|_| {}, ca), Trust::Own).err().unwrap();
    assert_eq!(fault.outcome, AttemptOutcome::Tls);
}

#[tokio::test(start_paused = true)]
async fn ways_of_their_own_are_bounded_and_go_when_they_are_not_used() {
    let clients = clients();
    let from = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let source = IpAddr::from([127, 0, high, low]);
        route(|project| project.settings.egress.source_address = Some(source), EndpointCredentials::default())
    };
    for number in 0..300 {
        clients.of(&from(number), Trust::Own).unwrap();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(own(&clients), MOST);

    tokio::time::advance(UNUSED).await;
    clients.of(&from(1_000), Trust::Own).unwrap();

    assert_eq!(own(&clients), 1);
}
