//! Where webhooks may go and where they come from, told by the program itself.

use std::time::Duration;

use longshore_testkit::database::count;
use longshore_testkit::dns::DnsServer;
use longshore_testkit::receiver::Receiver;
use serde_json::json;

use crate::bed::{PATIENCE, get, post, setup, subscribe};
use crate::support::{Database, longshore};

#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_webhooks_come_from_are_published() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let gateway =
        setup(&database).env("LONGSHORE__SECURITY__EGRESS_IPS", "198.51.100.7,2001:db8::/64").start().await;

    let (status, head, body) = get(&gateway, "/egress-ips").await;

    assert_eq!(status, 200, "{head}");
    let data = json!({"egress_ips": ["198.51.100.7", "2001:db8::/64"]});
    assert_eq!(body, json!({"status": true, "message": "Egress IPs fetched successfully", "data": data}));
}

/// A name that is public when an endpoint is registered and rebound to this machine afterwards, resolved by a server of
/// the test's own: nothing arrives, and the attempt on record says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_attempt_is_on_record_with_its_rule() {
    let database = Database::create().await;
    longshore(&database, &["migrate", "up"]);
    let (receiver, dns) = (Receiver::start().await, DnsServer::start().await);
    dns.script("rebound.example", Duration::ZERO, &[&["127.0.0.1"]]);
    subscribe(&database, &format!("http://rebound.example:{}/", receiver.addr().port()));
    let gateway = setup(&database)
        .env("LONGSHORE__SECURITY__ALLOWED_NETWORKS", "10.0.0.0/8")
        .env("LONGSHORE__DISPATCH__DNS_SERVERS", dns.addr().to_string())
        .start()
        .await;

    assert_eq!(post(&gateway.url("/"), r#"{"event_type": "a", "data": 1}"#).await, 201);

    // Another process gives no signal.
    let recorded = tokio::time::timeout(PATIENCE, async {
        while count(database.inner(), "SELECT count(*) FROM attempts").await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    recorded.await.unwrap();
    let blocked =
        "SELECT count(*) FROM attempts WHERE outcome = 'blocked' AND error LIKE '%127.0.0.1 is loopback%'";
    assert!(count(database.inner(), blocked).await > 0);
    assert_eq!(receiver.connections(), 0);
}
