use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use url::Url;

use super::*;
use crate::clock::Timestamp;
use crate::endpoint::EndpointStatus;
use crate::event::Headers;
use crate::filter::FilterSet;
use crate::ids::{EventId, SourceId};
use crate::project::ProjectSettings;
use crate::subscription::TypePattern;

const PROJECT: ProjectId = ProjectId::from_u128(1);
const OTHER: ProjectId = ProjectId::from_u128(2);

const fn endpoint_id(id: u128) -> EndpointId {
    EndpointId::from_u128(id)
}

fn project(id: ProjectId, filter_semantics: Semantics) -> Project {
    let settings = ProjectSettings { filter_semantics, ..ProjectSettings::default() };
    Project { settings, ..Project::new(id, "project".to_owned()) }
}

fn endpoint(id: u128, project: ProjectId, owner: Option<&str>) -> Endpoint {
    Endpoint {
        name: format!("endpoint {id}"),
        owner_id: owner.map(str::to_owned),
        max_concurrency: 1,
        ..Endpoint::new(endpoint_id(id), project, Url::parse("https://receiver.example/hook").unwrap())
    }
}

fn subscription(id: u128, endpoint: u128, types: &[&str]) -> Subscription {
    Subscription {
        id: SubscriptionId::from_u128(id),
        project: PROJECT,
        endpoint: endpoint_id(endpoint),
        name: format!("subscription {id}"),
        event_types: types.iter().map(|pattern| pattern.parse().unwrap()).collect(),
        filters: Vec::new(),
        retry: None,
        ordered: None,
        source: None,
    }
}

fn filtered(mut subscription: Subscription, pattern: &str, body: &serde_json::Value) -> Subscription {
    let filter = FilterSet::parse(Some(body), None).unwrap();
    subscription.filters.push((pattern.parse().unwrap(), filter));
    subscription
}

fn event(target: Target, event_type: &str) -> Event {
    Event {
        id: EventId::from_u128(1),
        project: PROJECT,
        source: None,
        target,
        event_type: event_type.to_owned(),
        body: Bytes::from_static(br#"{"amount":5}"#),
        headers: Headers::default(),
        idempotency_key: None,
        received_at: Timestamp::EPOCH,
        ordering_key: None,
        occurred_at: None,
        content_type: None,
        attributes: None,
        url_query: None,
    }
}

/// Matches as (endpoint, subscription), in order.
fn pairs(snapshot: &Snapshot, event: &Event) -> Vec<(u128, Option<u128>)> {
    let matches = snapshot.matches(event);
    matches
        .iter()
        .map(|one| (one.endpoint.id.as_u128(), one.subscription.map(SubscriptionId::as_u128)))
        .collect()
}

fn single(id: u128) -> Target {
    Target::Single(endpoint_id(id))
}

fn snapshot(endpoints: Vec<Endpoint>, subscriptions: Vec<Subscription>) -> Snapshot {
    Snapshot::new(vec![project(PROJECT, Semantics::Strict)], endpoints, subscriptions)
}

#[test]
fn a_single_event_makes_one_delivery_per_matching_subscription() {
    let snapshot = snapshot(
        vec![endpoint(1, PROJECT, None), endpoint(2, PROJECT, None)],
        vec![
            subscription(12, 1, &["*", "invoice.paid"]),
            subscription(11, 1, &["invoice.*"]),
            subscription(13, 1, &["order.made"]),
            subscription(14, 2, &["*"]),
        ],
    );

    assert_eq!(pairs(&snapshot, &event(single(1), "invoice.paid")), [(1, Some(11)), (1, Some(12))]);
    assert_eq!(pairs(&snapshot, &event(single(9), "invoice.paid")), []);
}

#[test]
fn an_endpoint_without_subscriptions_gets_what_names_it() {
    let snapshot = snapshot(
        vec![endpoint(1, PROJECT, Some("acme")), endpoint(2, PROJECT, Some("acme"))],
        vec![subscription(12, 2, &["order.made"])],
    );

    assert_eq!(pairs(&snapshot, &event(single(1), "invoice.paid")), [(1, None)]);
    assert_eq!(pairs(&snapshot, &event(Target::Dynamic(endpoint_id(1)), "invoice.paid")), [(1, None)]);
    assert_eq!(pairs(&snapshot, &event(single(2), "invoice.paid")), []);
    assert_eq!(pairs(&snapshot, &event(Target::Fanout("acme".to_owned()), "invoice.paid")), []);
    assert_eq!(pairs(&snapshot, &event(Target::Broadcast, "invoice.paid")), []);
}

#[test]
fn fanout_reaches_the_endpoints_of_the_owner() {
    let snapshot = snapshot(
        vec![
            endpoint(3, PROJECT, Some("acme")),
            endpoint(1, PROJECT, Some("acme")),
            endpoint(2, PROJECT, Some("other")),
            endpoint(4, OTHER, Some("acme")),
        ],
        vec![
            subscription(11, 3, &["*"]),
            subscription(12, 1, &["invoice.*"]),
            subscription(13, 1, &["*"]),
            subscription(14, 2, &["*"]),
            subscription(15, 4, &["*"]),
        ],
    );

    assert_eq!(
        pairs(&snapshot, &event(Target::Fanout("acme".to_owned()), "invoice.paid")),
        [(1, Some(12)), (1, Some(13)), (3, Some(11))]
    );
    assert_eq!(pairs(&snapshot, &event(Target::Fanout("nobody".to_owned()), "invoice.paid")), []);
}

#[test]
fn broadcast_reaches_each_endpoint_once_by_the_lowest_matching_subscription() {
    let snapshot = snapshot(
        vec![endpoint(1, PROJECT, None), endpoint(2, PROJECT, None), endpoint(3, PROJECT, None)],
        vec![
            filtered(subscription(10, 1, &["*"]), "*", &json!({"amount": 6})),
            subscription(12, 1, &["invoice.paid"]),
            subscription(13, 1, &["invoice.*"]),
            subscription(11, 2, &["*", "invoice.*"]),
            subscription(14, 3, &["order.*"]),
        ],
    );

    assert_eq!(pairs(&snapshot, &event(Target::Broadcast, "invoice.paid")), [(2, Some(11)), (1, Some(12))]);
}

#[test]
fn a_dynamic_event_is_not_filtered_by_its_body() {
    let snapshot = snapshot(
        vec![endpoint(1, PROJECT, None)],
        vec![
            filtered(subscription(11, 1, &["invoice.*"]), "*", &json!({"amount": 6})),
            subscription(12, 1, &["order.*"]),
        ],
    );

    assert_eq!(pairs(&snapshot, &event(Target::Dynamic(endpoint_id(1)), "invoice.paid")), [(1, Some(11))]);
    assert_eq!(pairs(&snapshot, &event(single(1), "invoice.paid")), []);
    assert_eq!(pairs(&snapshot, &event(Target::Dynamic(endpoint_id(2)), "invoice.paid")), []);
}

#[test]
fn the_most_specific_filter_decides() {
    let wanted = filtered(subscription(11, 1, &["*"]), "*", &json!({"amount": 6}));
    let wanted = filtered(wanted, "invoice.*", &json!({"amount": {"$gt": 1}}));
    let snapshot =
        snapshot(vec![endpoint(1, PROJECT, None)], vec![filtered(wanted, "invoice.lost", &json!({}))]);
    let pairs = |event_type: &str, body: &'static str| {
        pairs(&snapshot, &Event { body: Bytes::from_static(body.as_bytes()), ..event(single(1), event_type) })
    };

    assert_eq!(pairs("invoice.paid", r#"{"amount":5}"#), [(1, Some(11))]);
    assert_eq!(pairs("order.made", r#"{"amount":5}"#), []);
    assert_eq!(pairs("order.made", r#"{"amount":6,"huge":1e400}"#), [(1, Some(11))]);
    assert_eq!(pairs("invoice.lost", "not json"), [(1, Some(11))]);
    assert_eq!(pairs("invoice.paid", "not json"), []);
}

#[test]
fn a_payload_of_another_media_type_matches_no_filter_over_it_even_if_it_reads_as_json() {
    let wanted = filtered(subscription(11, 1, &["*"]), "*", &json!({"amount": 5}));
    let snapshot = snapshot(vec![endpoint(1, PROJECT, None)], vec![wanted]);
    let pairs = |content_type: Option<&str>| {
        let body = Bytes::from_static(br#"{"amount":5}"#);
        let content_type = content_type.map(str::to_owned);
        pairs(&snapshot, &Event { body, content_type, ..event(single(1), "invoice.paid") })
    };

    assert_eq!(pairs(Some("text/plain")), []);
    assert_eq!(pairs(Some("application/vnd.invoice+json")), [(1, Some(11))]);
    assert_eq!(pairs(None), [(1, Some(11))]);
}

#[test]
fn header_filters_see_the_first_value() {
    let mut wanted = subscription(11, 1, &["*"]);
    let filter = FilterSet::parse(None, Some(&json!({"x-region": "eu"}))).unwrap();
    wanted.filters.push((TypePattern::Any, filter));
    let snapshot = snapshot(vec![endpoint(1, PROJECT, None)], vec![wanted]);
    let with = |first: &str, second: &str| {
        let headers =
            [("X-Region", first), ("x-region", second)].map(|(name, value)| (name.into(), value.into()));
        Event { headers: headers.into_iter().collect(), ..event(single(1), "invoice.paid") }
    };

    assert_eq!(pairs(&snapshot, &with("eu", "us")), [(1, Some(11))]);
    assert_eq!(pairs(&snapshot, &with("us", "eu")), []);
}

#[test]
fn the_project_decides_on_filter_semantics() {
    let wanted = || filtered(subscription(11, 1, &["*"]), "*", &json!({"amount": "5"}));
    for (semantics, expected) in [(Semantics::Strict, vec![]), (Semantics::Compat, vec![(1, Some(11))])] {
        let snapshot = Snapshot::new(
            vec![project(PROJECT, semantics)],
            vec![endpoint(1, PROJECT, None)],
            vec![wanted()],
        );
        assert_eq!(pairs(&snapshot, &event(single(1), "invoice.paid")), expected);
    }
}

#[test]
fn nothing_crosses_projects() {
    let snapshot = snapshot(
        vec![endpoint(1, OTHER, Some("acme"))],
        vec![subscription(11, 1, &["*"]), subscription(12, 7, &["*"])],
    );

    for target in
        [single(1), Target::Dynamic(endpoint_id(1)), Target::Fanout("acme".to_owned()), Target::Broadcast]
    {
        assert_eq!(pairs(&snapshot, &event(target.clone(), "invoice.paid")), [], "{target:?}");
    }
    assert!(snapshot.endpoint_by_url(PROJECT, "https://receiver.example/hook").is_none());
    assert!(snapshot.endpoint_by_url(OTHER, "https://receiver.example/hook").is_some());
}

#[test]
fn inactive_endpoints_match() {
    let mut inactive = endpoint(1, PROJECT, None);
    inactive.status = EndpointStatus::Inactive;
    let snapshot = snapshot(vec![inactive], vec![subscription(11, 1, &["*"])]);

    assert_eq!(pairs(&snapshot, &event(Target::Broadcast, "invoice.paid")), [(1, Some(11))]);
}

#[test]
fn of_several_endpoints_with_a_url_the_lowest_id_is_found() {
    let mut root = endpoint(4, PROJECT, None);
    root.url = Url::parse("https://root.example").unwrap();
    let snapshot = snapshot(vec![endpoint(3, PROJECT, None), endpoint(2, PROJECT, None), root], Vec::new());
    let found = |url: &str| snapshot.endpoint_by_url(PROJECT, url).map(|endpoint| endpoint.id.as_u128());

    assert_eq!(found("https://receiver.example/hook"), Some(2));
    assert_eq!(found("https://receiver.example/hook/"), None);
    assert_eq!(found("https://root.example"), Some(4));
    assert_eq!(found("https://root.example/"), Some(4));
    assert_eq!(found("not a url"), None);
}

#[test]
fn the_retry_schedule_is_the_subscriptions_or_the_projects() {
    let (own, shared) = (
        RetrySchedule::linear(Duration::from_secs(1), 2).unwrap(),
        RetrySchedule::linear(Duration::from_secs(9), 9).unwrap(),
    );
    let mut settings = project(PROJECT, Semantics::Strict);
    settings.settings.retry = shared.clone();
    let mut special = subscription(11, 1, &["*"]);
    special.retry = Some(own.clone());
    let snapshot = Snapshot::new(
        vec![settings],
        vec![endpoint(1, PROJECT, None)],
        vec![special, subscription(12, 1, &["*"])],
    );
    let schedule =
        |project, id: Option<u128>| snapshot.retry_schedule(project, id.map(SubscriptionId::from_u128));

    assert_eq!(schedule(PROJECT, Some(11)), &own);
    for id in [Some(12), Some(13), None] {
        assert_eq!(schedule(PROJECT, id), &shared);
    }
    assert_eq!(schedule(OTHER, Some(11)), &RetrySchedule::default());
}

#[test]
fn additions_leave_the_first_snapshot_and_what_is_known_alone() {
    let before = snapshot(vec![endpoint(1, PROJECT, None)], vec![subscription(11, 1, &["invoice.*"])]);
    let mut renamed = endpoint(1, PROJECT, None);
    renamed.name = "renamed".to_owned();

    let after = before.with_dynamic(vec![
        (endpoint(2, PROJECT, None), subscription(12, 2, &["*"])),
        (renamed, subscription(11, 1, &["*"])),
    ]);

    assert_eq!(pairs(&before, &event(Target::Broadcast, "order.made")), []);
    assert_eq!(pairs(&after, &event(Target::Broadcast, "order.made")), [(2, Some(12))]);
    assert_eq!(pairs(&after, &event(Target::Broadcast, "invoice.paid")), [(1, Some(11)), (2, Some(12))]);
    assert_eq!(after.endpoint(endpoint_id(1)).unwrap().name, "endpoint 1");
    assert_eq!((before.endpoints().count(), after.endpoints().count()), (1, 2));
    assert_eq!((after.projects().count(), after.subscriptions().count()), (1, 2));
}

/// What [`Snapshot::matches`] means, by looking at everything.
fn naive(endpoints: &[Endpoint], subscriptions: &[Subscription], event: &Event) -> Vec<(u128, Option<u128>)> {
    let body = json!({"amount": 5});
    let found = |id: EndpointId| endpoints.iter().find(|one| one.id == id && one.project == event.project);
    let dynamic = matches!(event.target, Target::Dynamic(_));
    let mut of_project: Vec<_> = subscriptions
        .iter()
        .filter(|one| one.project == event.project && found(one.endpoint).is_some())
        .collect();
    of_project.sort_by_key(|one| one.id);
    let hits: Vec<_> = of_project
        .iter()
        .filter(|one| one.event_types.iter().any(|pattern| pattern.matches(&event.event_type)))
        .filter(|one| {
            dynamic
                || one
                    .filter_for(&event.event_type)
                    .is_none_or(|filter| filter.matches(&body, &json!({}), Semantics::Strict))
        })
        .map(|one| (one.endpoint, one.id))
        .collect();
    let plain = |(endpoint, id): (EndpointId, SubscriptionId)| (endpoint.as_u128(), Some(id.as_u128()));
    match &event.target {
        Target::Single(id) | Target::Dynamic(id) => {
            if found(*id).is_some() && !of_project.iter().any(|one| one.endpoint == *id) {
                return vec![(id.as_u128(), None)];
            }
            hits.into_iter().filter(|(endpoint, _)| endpoint == id).map(plain).collect()
        }
        Target::Fanout(owner) => {
            let owned = |id| found(id).is_some_and(|one| one.owner_id.as_ref() == Some(owner));
            hits.into_iter()
                .filter(|(id, _)| owned(*id))
                .map(plain)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        }
        Target::Broadcast => {
            let mut served = BTreeSet::new();
            hits.into_iter().filter(|(endpoint, _)| served.insert(*endpoint)).map(plain).collect()
        }
        Target::Incoming => Vec::new(),
    }
}

#[test]
fn a_subscription_of_a_source_takes_its_events_alone() {
    let source = |id: u128| Some(SourceId::from_u128(id));
    let bound = |id: u128, to: u128| Subscription { source: source(to), ..subscription(id, id % 10, &["*"]) };
    let snapshot = Snapshot::new(
        vec![Project::new(PROJECT, String::new())],
        vec![endpoint(1, PROJECT, Some("o")), endpoint(2, PROJECT, Some("o"))],
        vec![bound(11, 7), bound(21, 7), bound(12, 8), subscription(22, 2, &["*"])],
    );
    let of = |target: Target, from: Option<SourceId>| {
        let event = Event { source: from, ..event(target, "a") };
        snapshot.matches(&event).iter().map(|found| found.subscription.unwrap().as_u128()).collect::<Vec<_>>()
    };

    assert_eq!(of(Target::Incoming, source(7)), [11, 21]);
    assert_eq!(of(Target::Incoming, source(8)), [12]);
    assert!(of(Target::Incoming, source(9)).is_empty());
    assert!(of(Target::Incoming, None).is_empty());
    // From elsewhere, and from a broker's source that has subscriptions of its own.
    assert_eq!(of(Target::Broadcast, None), [22]);
    assert_eq!(of(Target::Broadcast, source(8)), [12]);
    assert_eq!(of(Target::Fanout("o".to_owned()), source(7)), [11, 21, 22]);
}

fn any_pattern() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["*", "a", "a.*", "a.b", "a.b.*", "a.b.c", "a..*", "b.*", "b"])
}

fn any_project() -> impl Strategy<Value = ProjectId> {
    prop_oneof![4 => Just(PROJECT), 1 => Just(OTHER)]
}

fn any_subscription() -> impl Strategy<Value = Subscription> {
    let patterns = prop::collection::vec(any_pattern(), 0..4);
    let filters = prop::collection::vec((any_pattern(), 4..7), 0..3);
    (0_u128..5, patterns, filters, any_project()).prop_map(|(endpoint, patterns, filters, project)| {
        let wanted = Subscription { project, ..subscription(0, endpoint, &patterns) };
        filters
            .into_iter()
            .fold(wanted, |wanted, (pattern, amount)| filtered(wanted, pattern, &json!({"amount": amount})))
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        owners in prop::collection::vec((any_project(), prop::option::of(prop::sample::select(vec!["x", "y"]))), 1..5),
        mut subscriptions in prop::collection::vec(any_subscription(), 0..12),
        event_type in prop::sample::select(vec!["a", "a.", "a.b", "a.b.c", "a..b", "b", "b.c", "", "."]),
        named in 0_u128..5,
        split in 0_usize..12,
    ) {
        let endpoints: Vec<_> =
            owners.into_iter().zip(0..).map(|((project, owner), id)| endpoint(id, project, owner)).collect();
        for (index, subscription) in subscriptions.iter_mut().enumerate() {
            // Not in the order of the list.
            subscription.id = SubscriptionId::from_u128((index as u128 * 7) % 13);
        }
        let whole = snapshot(endpoints.clone(), subscriptions.clone());
        let later = subscriptions.split_off(split.min(subscriptions.len()));
        let grown = snapshot(endpoints.clone(), subscriptions.clone())
            .with_dynamic(later.iter().cloned().map(|one| (endpoints[0].clone(), one)).collect());
        subscriptions.extend(later);

        for target in [
            single(named),
            Target::Dynamic(endpoint_id(named)),
            Target::Fanout("x".to_owned()),
            Target::Broadcast,
        ] {
            let event = event(target, event_type);
            let expected = naive(&endpoints, &subscriptions, &event);

            prop_assert_eq!(&pairs(&whole, &event), &expected);
            prop_assert_eq!(&pairs(&grown, &event), &expected);
        }
    }
}

/// The lane of an event in a subscription ordered by `key`, for every kind of target.
fn lane(key: &str, change: impl FnOnce(&mut Event)) -> Option<LaneId> {
    let ordered = crate::subscription::Ordered::new(key.parse().unwrap(), Default::default()).unwrap();
    let subscription = Subscription { ordered: Some(ordered), ..subscription(7, 1, &["*"]) };
    let project = project(PROJECT, Semantics::Strict);
    let snapshot = Snapshot::new(vec![project], vec![endpoint(1, PROJECT, Some("o"))], vec![subscription]);
    let mut event = event(Target::Broadcast, "a");
    change(&mut event);
    let targets = [
        Target::Broadcast,
        Target::Fanout("o".to_owned()),
        Target::Single(endpoint_id(1)),
        Target::Dynamic(endpoint_id(1)),
    ];
    let lanes: Vec<Option<LaneId>> = targets
        .into_iter()
        .map(|target| {
            event.target = target;
            let found = snapshot.matches(&event);
            assert_eq!(found.len(), 1);
            found[0].lane
        })
        .collect();
    assert!(lanes.windows(2).all(|pair| pair[0] == pair[1]), "{lanes:?}");
    lanes[0]
}

#[test]
fn the_lane_is_that_of_the_key_where_the_subscription_says_it_is() {
    let of = |key: &str| Some(LaneId::derive(SubscriptionId::from_u128(7), key));
    let body = |text: &'static str| move |event: &mut Event| event.body = Bytes::from_static(text.as_bytes());
    let key = |text: &'static str| move |event: &mut Event| event.ordering_key = Some(text.to_owned());

    assert_eq!(lane("key", key("k")), of("k"));
    assert_eq!(lane("header:x-k", |event| event.headers.push("X-K", "k")), of("k"));
    assert_eq!(lane("body:amount", |_| {}), of("5"));
    assert_eq!(lane("body:a.0.b", body(r#"{"a":[{"b":"k"}]}"#)), of("k"));
    assert_eq!(lane("body:a.b", body(r#"{"a.b":true}"#)), of("true"));
    // Without a key there is no order.
    assert_eq!(lane("key", |_| {}), None);
    assert_eq!(lane("key", key("")), None);
    assert_eq!(lane("header:x-k", |_| {}), None);
    for text in [r#"{"a":null}"#, r#"{"a":{"b":1}}"#, r#"{"a":[1]}"#, "{}", "[1]", "not JSON"] {
        assert_eq!(lane("body:a", body(text)), None, "{text}");
    }
    assert_eq!(
        lane("body:amount", |event| event.content_type = Some("text/plain".to_owned())),
        None,
        "a body that is not said to be JSON has no places"
    );
}
