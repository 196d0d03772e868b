//! Which events are published, and what `examples/demo.yaml` must make of each.

use std::net::SocketAddr;

use longshore_testkit::publication::Publication;

use super::channel::Channel;

/// The project of the example.
pub const PROJECT: &str = "01JD00000000000000000DEM00";
/// Its API key.
pub const API_KEY: &str =
    "CO.demodemodemodemo.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Its endpoint that is named by id.
pub const AUDIT: &str = "01JD00000000000000000AVD1T";
/// Events through the broker: 0 to this.
pub const BY_BROKER: u32 = 1_000;
/// Events by HTTP: from there on.
pub const BY_HTTP: u32 = 100;

/// Every third names its endpoint, the others their customer.
const fn is_single(n: u32) -> bool {
    n.is_multiple_of(3)
}

const fn is_order(n: u32) -> bool {
    !n.is_multiple_of(5)
}

const fn total(n: u32) -> u32 {
    n * 7 % 250
}

/// The event as a message.
#[must_use]
pub fn message(n: u32) -> Publication {
    let event_type = if is_order(n) { "order.created" } else { "invoice.sent" };
    let (key, value, kind) =
        if is_single(n) { ("endpoint_id", AUDIT, "single") } else { ("owner_id", "customer-1", "fanout") };
    let total = total(n);
    // Spelled out: the receiver looks for the number where `data` begins.
    let body = format!(
        r#"{{"{key}":"{value}","event_type":"{event_type}","data":{{"n":{n},"total":{total},"customer":"Ünal & Söhne"}}}}"#
    );
    Publication { id: Some(format!("demo-{n}")), ..Publication::new(body) }
        .header("x-convoy-message-type", kind)
}

/// Where the event is posted.
#[must_use]
pub fn path(n: u32) -> String {
    let kind = if is_single(n) { "" } else { "/fanout" };
    format!("/api/v1/projects/{PROJECT}/events{kind}")
}

/// The endpoints it must reach, by their paths.
#[must_use]
pub const fn expected(n: u32) -> &'static [&'static str] {
    if is_single(n) {
        &["/audit"]
    } else if is_order(n) && total(n) >= 100 {
        &["/accounting", "/warehouse"]
    } else {
        &["/accounting"]
    }
}

/// The secret of the endpoint at that path.
#[must_use]
pub fn secret(path: &str) -> Option<&'static str> {
    match path {
        "/accounting" => Some("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        "/warehouse" => Some("a-plain-secret"),
        "/audit" => Some("another-plain-secret"),
        _ => None,
    }
}

/// Commands to play with while everything is left running.
#[must_use]
pub fn hints(gateway: SocketAddr, ops: SocketAddr, channel: &Channel) -> String {
    let base = format!("http://{gateway}/api/v1/projects/{PROJECT}/events");
    let headers = format!("-H 'Authorization: Bearer {API_KEY}' -H 'Content-Type: application/json'");
    let (kind, settings) = channel.source();
    format!(
        "\nTo one endpoint:\n  curl {base} {headers} \\\n    -d '{{\"endpoint_id\":\"{AUDIT}\",\"event_type\":\"order.created\",\"data\":{{\"hello\":\"world\"}}}}'\n\
         To a customer's endpoints, of which one wants large orders only:\n  curl {base}/fanout {headers} \\\n    -d '{{\"owner_id\":\"customer-1\",\"event_type\":\"order.created\",\"data\":{{\"total\":250}}}}'\n\
         Through {}, as the publishers in examples/{kind} do:\n  {kind}: {settings}\n\
         Metrics:\n  curl http://{ops}/metrics\n",
        channel.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_the_examples_own_resources() {
        let example = include_str!("../../../examples/demo.yaml");

        for known in [PROJECT, API_KEY, AUDIT, "customer-1", "/accounting", "/warehouse", "/audit"] {
            assert!(example.contains(known), "{known}");
        }
        for path in ["/accounting", "/warehouse", "/audit"] {
            assert!(example.contains(secret(path).unwrap()), "{path}");
        }
    }

    #[test]
    fn the_receiver_recognises_every_event() {
        for n in 0..BY_BROKER + BY_HTTP {
            let body = message(n).body.unwrap();
            let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let data = &body[body.windows(5).position(|window| window == b"{\"n\":").unwrap()..];

            assert_eq!(crate::payload::number(data), Some(n));
            assert_eq!(event["data"]["total"], total(n));
        }
    }

    #[test]
    fn every_kind_of_outcome_occurs() {
        let outcomes: std::collections::HashSet<_> = (0..30).map(expected).collect();

        assert_eq!(outcomes.len(), 3);
    }
}
