//! CloudEvents by way of the routes of HTTP ingest.

use super::*;

/// As the routes of HTTP ingest hand it over.
fn over_http(kind: &'static str, said: &[(&str, &str)], body: impl Into<Bytes>) -> Message {
    Message { route: Some(Route { project: PROJECT.as_u128(), kind, inbound: None }), ..message(said, body) }
}

#[test]
fn over_http_both_modes_are_the_same_row_on_every_route() {
    let endpoint = ENDPOINT.to_string();
    for (kind, target) in [
        ("single", Target::Single(ENDPOINT)),
        ("fanout", Target::Fanout("ac me".to_owned())),
        ("broadcast", Target::Broadcast),
    ] {
        for (content_type, data, sent) in [
            ("text/plain", r#","datacontenttype":"text/plain","data":"h\u00e9""#, "h\u{e9}"),
            (
                "application/json; a=b",
                r#","datacontenttype":"application/json; a=b","data":[1.0]"#,
                "[ 1.0 ]",
            ),
            ("", "", ""),
        ] {
            let trace = [("traceparent", TRACE), ("tracestate", "a=b")];
            let cloud = [("content-type", "Application/CloudEvents+JSON; charset=utf-8")];
            let body = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"\u00e9 \"q\"","time":"2026-01-31T08:15:00Z","partitionkey":"k","ownerid":"ac me","endpointid":"{endpoint}"{data}}}"#
            );
            let structured = over_http(kind, &[&cloud[..], &trace].concat(), body);
            let attributes = [
                ("ce-specversion", "1.0"),
                ("ce-id", "\"1\""),
                ("ce-source", "%2Fs"),
                ("ce-type", "t"),
                ("ce-subject", "%C3%A9%20%22q%22"),
                ("ce-time", "2026-01-31T08:15:00Z"),
                ("ce-partitionkey", "k"),
                ("ce-ownerid", "ac%20me"),
                ("ce-endpointid", &endpoint),
                ("content-type", content_type),
            ];
            let binary = over_http(kind, &[&attributes[..], &trace].concat(), sent);

            let rows = [structured, binary].map(|message| event(&message, Mapping::default()).unwrap());
            assert_eq!(rows[0], rows[1], "{kind} {content_type}");
            assert_eq!((&rows[0].target, rows[0].project), (&target, PROJECT));
            assert_eq!(rows[0].headers.get("traceparent"), Some(TRACE));
        }
    }
}

#[test]
fn a_route_says_whom_a_cloud_event_is_for_or_leaves_it_to_the_event() {
    let endpoint = ENDPOINT.to_string();
    let (endpoint, owner) = (("ce-endpointid", endpoint.as_str()), ("ce-ownerid", "o"));
    let kind = |kind: &'static str| ("ce-kind", kind);
    let fanout = || Ok(Target::Fanout("o".to_owned()));
    let rows = [
        ("fanout", vec![owner, endpoint, kind("broadcast")], fanout()),
        ("fanout", vec![endpoint], Err("ownerid")),
        ("broadcast", vec![owner, endpoint], Ok(Target::Broadcast)),
        ("dynamic", vec![owner], Err("kind")),
    ];
    let open = [
        (vec![endpoint, owner], Ok(Target::Single(ENDPOINT))),
        (vec![owner], fanout()),
        (vec![owner, endpoint, kind("fanout")], fanout()),
        (vec![kind("single"), owner], Err("endpointid")),
        (vec![("ce-endpointid", "unknown")], Err("endpointid")),
        (vec![], Ok(Target::Broadcast)),
    ];
    let open = ["single", "batch"].into_iter().flat_map(|route| {
        open.clone().into_iter().map(move |(attributes, expected)| (route, attributes, expected))
    });
    for (route, attributes, expected) in rows.into_iter().chain(open) {
        let carriers = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        let message = over_http(route, &[&carriers[..], &attributes].concat(), "1");
        let target = event(&message, Mapping::default()).map(|event| event.target);
        let target = target.map_err(|fault| fault.field);
        assert_eq!(target, expected.map_err(Into::into), "{route} {attributes:?}");
    }
}
