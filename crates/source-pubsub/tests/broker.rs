//! What the source does to a server, and what the server and the network do to it.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::time::Duration;

use longshore_source::{Context, Message, Receipt, Source, SourceError, State, Status};
use longshore_source_pubsub::{PubSubConfig, PubSubSource, check};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::publication::Publication;
use longshore_testkit::pubsub::{PubSub, SubscriptionOptions, TestSubscription};
use tokio::time::{Instant, timeout};

const MANY: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(500);

fn config(subscription: &TestSubscription) -> PubSubConfig {
    PubSubConfig { ack_deadline: 10, ..serde_json::from_value(subscription.settings()).unwrap() }
}

async fn connect(config: PubSubConfig) -> (PubSubSource, Status) {
    let context = Context::new("pubsub", &config.subscription_id);
    let status = context.status.clone();
    (longshore_source_pubsub::connect(config, context).await.unwrap(), status)
}

async fn plain() -> (TestSubscription, PubSubSource) {
    let subscription = PubSub::connect().await.subscription().await;
    let (source, _) = connect(config(&subscription)).await;
    (subscription, source)
}

async fn take(source: &mut PubSubSource, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let max = NonZeroUsize::new(count - messages.len()).unwrap();
        messages.extend(timeout(SOON, source.recv(max)).await.expect("no message came").unwrap());
    }
    messages
}

async fn is_quiet(source: &mut PubSubSource) -> bool {
    timeout(QUIET, source.recv(MANY)).await.is_err()
}

fn ack(messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        message.ack.ack(Receipt::default());
    }
}

fn numbered(count: usize) -> impl Iterator<Item = Publication> {
    (0..count).map(|number| Publication::new(format!("body {number}")))
}

fn text(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages.iter().map(text).collect()
}

async fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "it did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn position_headers_and_body_are_the_brokers() {
    let (subscription, mut source) = plain().await;
    let message =
        Publication::new("{}").header("ce-type", "a.b").header("content-type", "application/json").key("k");
    let ids = subscription.publish([message, Publication::default().header("empty", "")]).await;

    let mut messages = take(&mut source, 2).await;
    messages.sort_by_key(|message| message.body.is_empty());

    let message = &mut messages[0];
    message.headers.sort();
    let headers = [("ce-type", "a.b"), ("content-type", "application/json")];
    assert_eq!(message.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(message.position.message_id.as_deref(), Some(ids[0].as_str()));
    assert_eq!(message.position.key.as_deref(), Some("k"));
    assert_eq!(message.position.address, subscription.id());
    assert!(message.position.timestamp_ms > Some(1_700_000_000_000));
    assert_eq!((message.redelivered, message.attempt, message.tombstone), (false, None, false));
    assert_eq!(messages[1].position.key, None);
    assert_eq!(messages[1].headers, [("empty".to_owned(), String::new())]);
    ack(messages);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn no_more_messages_are_fetched_than_may_be_in_flight() {
    let subscription = PubSub::connect().await.subscription().await;
    subscription.publish(numbered(50)).await;
    let (mut source, _) =
        connect(PubSubConfig { max_in_flight: 10, streams: 3, ..config(&subscription) }).await;

    let mut out = take(&mut source, 10).await;
    assert!(is_quiet(&mut source).await);
    // What the server has sent is what we may have: the rest is there for others.
    assert_eq!(subscription.left().await, 40);

    ack(out.drain(..5));
    out.extend(take(&mut source, 5).await);
    drop(out);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 45);
}

#[tokio::test]
async fn no_more_bytes_are_fetched_than_may_be_in_flight() {
    let subscription = PubSub::connect().await.subscription().await;
    subscription.publish((0..20).map(|_| Publication::new(vec![b'x'; 1_000_000]))).await;
    let bytes = PubSubConfig { max_in_flight_bytes: 5_000_000, streams: 1, ..config(&subscription) };
    let (mut source, _) = connect(bytes).await;

    let mut out = take(&mut source, 5).await;
    while let Ok(more) = timeout(QUIET, source.recv(MANY)).await {
        out.extend(more.unwrap());
    }
    assert!(out.len() <= 6, "{} MB are out", out.len());
    let fetched = 20 - subscription.left().await;
    assert!(fetched <= 6, "{fetched} MB were fetched");

    drop(out);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 20);
}

#[tokio::test]
async fn a_message_of_ten_megabytes_comes_whole() {
    let (subscription, mut source) = plain().await;
    let body: Vec<u8> = (0..9_900_000_u32).map(|at| (at % 251) as u8).collect();
    subscription.publish([Publication::new(body.clone())]).await;

    let messages = take(&mut source, 1).await;
    assert!(messages[0].body == body, "the body is another");
    ack(messages);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn a_key_is_in_order_and_a_retried_head_holds_the_rest_up() {
    let options = SubscriptionOptions { ordering: true, ..SubscriptionOptions::default() };
    let subscription = PubSub::connect().await.subscription_with(options).await;
    let (mut source, _) = connect(config(&subscription)).await;
    assert!(source.features().ordered);
    subscription.publish(numbered(5).map(|message| message.key("one"))).await;

    let head = take(&mut source, 1).await.pop().unwrap();
    assert_eq!(text(&head), "body 0");
    let begun = Instant::now();
    head.ack.retry(Some(Duration::from_secs(1)));
    subscription.publish([Publication::new("other").key("two")]).await;
    // Another key is not held up.
    let other = take(&mut source, 1).await;
    assert_eq!(texts(&other), ["other"]);
    ack(other);

    let mut seen = Vec::new();
    while seen.len() < 5 {
        let messages = take(&mut source, 1).await;
        assert!(begun.elapsed() >= Duration::from_secs(1), "it came before its time");
        seen.extend(texts(&messages));
        ack(messages);
    }
    assert_eq!(seen, (0..5).map(|number| format!("body {number}")).collect::<Vec<_>>());
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn an_exactly_once_ack_after_its_lease_is_stale_and_the_message_comes_again() {
    let options =
        SubscriptionOptions { exactly_once: true, dead_letter: Some(10), ..SubscriptionOptions::default() };
    let subscription = PubSub::connect().await.subscription_with(options).await;
    subscription.publish(numbered(2)).await;
    let (mut source, status) = connect(PubSubConfig { max_extension: 10, ..config(&subscription) }).await;
    let mut messages = take(&mut source, 2).await;
    ack(messages.pop());
    until(|| status.report().last_progress.is_some()).await;
    assert_eq!(status.report().returned, 0, "a confirmed acknowledgement counts as stale");

    // `max_extension` lets the lease of the other one end; then it comes a second time.
    // The last extension lasts for up to `ack_deadline` after it.
    let again = timeout(2 * SOON, source.recv(MANY)).await.expect("the lease did not end").unwrap();
    assert_eq!(texts(&again), texts(&messages));
    assert_eq!((again[0].redelivered, again[0].attempt), (true, Some(2)));
    ack(messages);
    until(|| status.report().returned == 1).await;
    ack(again);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn streams_that_end_are_opened_again_without_a_fault_and_without_loss() {
    let labels = HashMap::from([("stream-ms".to_owned(), "150".to_owned())]);
    let options = SubscriptionOptions { labels, ..SubscriptionOptions::default() };
    let subscription = PubSub::connect().await.subscription_with(options).await;
    let (mut source, status) = connect(PubSubConfig { max_in_flight: 20, ..config(&subscription) }).await;

    let mut seen = BTreeSet::new();
    let begun = Instant::now();
    for round in 0..10 {
        subscription.publish((0..10).map(|number| Publication::new(format!("{round} {number}")))).await;
        let messages = take(&mut source, 10).await;
        seen.extend(texts(&messages));
        ack(messages);
        assert_ne!(status.report().state, State::Failing);
    }
    until(|| status.report().reconnects >= 4).await;
    assert_eq!(status.report().problem, None);
    assert!(begun.elapsed() < SOON);
    assert_eq!(seen.len(), 100);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn an_outage_is_a_fault_and_acks_made_meanwhile_count() {
    let server = PubSub::connect().await;
    let wire = ChaosProxy::start(server.endpoint()).await;
    let subscription = server.subscription().await;
    subscription.publish(numbered(30)).await;
    let settings = subscription.settings_at(&wire.addr().to_string());
    let config = PubSubConfig { ack_deadline: 60, ..serde_json::from_value(settings).unwrap() };
    let (mut source, status) = connect(config).await;
    // All of them: what the outage catches on its way comes only when its lease has ended.
    let early = take(&mut source, 30).await;

    wire.refuse();
    until(|| status.report().state == State::Failing).await;
    assert!(status.report().problem.is_some());
    // Acknowledgement ids outlive the connection.
    ack(early);
    subscription.publish([Publication::new("after")]).await;
    wire.restore();
    let late = take(&mut source, 1).await;
    assert_eq!(texts(&late), ["after"]);
    ack(late);

    until(|| status.report().state == State::Consuming && status.report().reconnects > 0).await;
    source.close(SOON).await.unwrap();
    assert_eq!((subscription.left().await, status.report().returned), (0, 0));
}

#[tokio::test]
async fn an_acknowledgement_that_the_service_refuses_for_a_while_is_repeated() {
    let labels = HashMap::from([("acks-unavailable".to_owned(), "3".to_owned())]);
    let options = SubscriptionOptions { labels, ..SubscriptionOptions::default() };
    let subscription = PubSub::connect().await.subscription_with(options).await;
    let (mut source, status) = connect(config(&subscription)).await;
    subscription.publish(numbered(10)).await;

    ack(take(&mut source, 10).await);

    source.close(SOON).await.unwrap();
    assert_eq!((subscription.left().await, status.report().returned), (0, 0));
}

#[tokio::test]
async fn a_subscription_that_is_deleted_is_consumed_again_once_it_exists() {
    let subscription = PubSub::connect().await.subscription().await;
    let (mut source, status) = connect(config(&subscription)).await;
    subscription.publish(numbered(1)).await;
    ack(take(&mut source, 1).await);

    subscription.delete().await;
    until(|| status.report().state == State::Failing).await;
    let problem = status.report().problem.unwrap();
    assert!(problem.contains("no such subscription"), "{problem}");
    subscription.create().await;
    subscription.publish([Publication::new("second life")]).await;

    let messages = take(&mut source, 1).await;
    assert_eq!(texts(&messages), ["second life"]);
    assert_eq!(status.report().state, State::Consuming);
    ack(messages);
    source.close(SOON).await.unwrap();
    assert_eq!(subscription.left().await, 0);
}

#[tokio::test]
async fn close_gives_back_what_was_fetched_and_not_handed_out() {
    let subscription = PubSub::connect().await.subscription().await;
    subscription.publish(numbered(300)).await;
    let (mut source, status) = connect(PubSubConfig { ack_deadline: 600, ..config(&subscription) }).await;

    let mut messages = take(&mut source, 10).await;
    messages.truncate(4);
    let held = messages.pop();
    ack(messages);
    let begun = Instant::now();
    source.close(Duration::from_secs(2)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(6), "close took {:?}", begun.elapsed());

    // With leases of ten minutes, only what was given back is there.
    assert_eq!(subscription.left().await, 297);
    ack(held);
    assert_eq!(status.report().state, State::Stopped);
}

#[tokio::test]
async fn what_is_wrong_is_said_at_once() {
    let server = PubSub::connect().await;
    let (pulled, detached) = (server.subscription().await, server.subscription().await);
    detached.detach().await;
    let push_to = Some("https://receiver.example".to_owned());
    let pushed =
        server.subscription_with(SubscriptionOptions { push_to, ..SubscriptionOptions::default() }).await;
    let id = |id: &str| PubSubConfig { subscription_id: id.to_owned(), ..config(&pulled) };
    let cases = [
        (id("no-such"), "misconfigured", "no such subscription"),
        (PubSubConfig { project_id: "denied".to_owned(), ..config(&pulled) }, "denied", "Pub/Sub Subscriber"),
        (config(&detached), "misconfigured", "is detached"),
        (config(&pushed), "misconfigured", "is a push subscription"),
        (id("a/b"), "misconfigured", "`subscription_id`"),
        (
            PubSubConfig { endpoint: Some("http://127.0.0.1:1".to_owned()), ..config(&pulled) },
            "disconnected",
            "refused",
        ),
    ];
    for (config, class, part) in cases {
        let context = Context::new("pubsub", "wrong");
        let refused = longshore_source_pubsub::connect(config.clone(), context).await.expect_err("connected");
        let checked = check(&config).await.expect_err("checked");
        for text in [refused.to_string(), checked.to_string()] {
            assert!(text.starts_with(class) && text.contains(part), "{text}");
        }
    }
}

#[tokio::test]
async fn a_check_warns_of_what_should_be_changed() {
    let server = PubSub::connect().await;
    let bare = SubscriptionOptions { exactly_once: true, ..SubscriptionOptions::default() };
    let bare = server.subscription_with(bare).await;
    let good = SubscriptionOptions {
        dead_letter: Some(20),
        retry_after: Some(Duration::from_secs(10)),
        never_expires: true,
        ..SubscriptionOptions::default()
    };
    let good = server.subscription_with(good).await;

    let warnings = check(&config(&bare)).await.unwrap();
    for part in ["no retry policy", "no dead-letter topic", "31 days", "`ack_deadline` is 10 s"] {
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{part}: {warnings:?}");
    }
    assert_eq!(check(&config(&good)).await.unwrap(), Vec::<String>::new());
    let (source, status) = connect(config(&bare)).await;
    assert_eq!(status.report().warnings, warnings);
    assert_eq!(status.report().lag, None);
    source.close(SOON).await.unwrap();
}

#[tokio::test]
async fn a_filter_is_the_subscriptions_business() {
    let filter = Some(r#"attributes.kind = "order""#.to_owned());
    let options = SubscriptionOptions { filter, ..SubscriptionOptions::default() };
    let subscription = PubSub::connect().await.subscription_with(options).await;
    let (mut source, _) = connect(config(&subscription)).await;

    let kinds = ["invoice", "order"].map(|kind| Publication::new(kind).header("kind", kind));
    subscription.publish(kinds).await;

    let messages = take(&mut source, 1).await;
    assert_eq!(texts(&messages), ["order"]);
    ack(messages);
    assert!(is_quiet(&mut source).await);
    let closed: Result<(), SourceError> = source.close(SOON).await;
    closed.unwrap();
}
