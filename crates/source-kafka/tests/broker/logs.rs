//! Positions: what is committed, where reading starts, and what happens to the log meanwhile.

use std::time::Duration;

use longshore_source::{Context, Source as _, SourceError};
use longshore_testkit::kafka::Kafka;
use longshore_testkit::publication::Publication;
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::support::{
    LIMIT, Stored, ack, bodies, close, commits, config, connect, eventually, is_quiet, many, none, numbers,
    source, take,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_holds_the_commit() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..10)).await;
    let mut source = source(&topic, json!({ "commit_interval": "50ms" })).await;

    let mut messages = take(&mut source, 10).await;
    let late = messages.split_off(4);
    let hole = messages.pop();
    ack(late);
    ack(messages);
    commits(&topic, &[Some(3)]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    commits(&topic, &[Some(3)]).await;
    ack(hole);
    commits(&topic, &[Some(10)]).await;
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_before_what_is_behind_it_and_nothing_comes_twice() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..20)).await;
    let context = Context::new("kafka", "orders");
    let status = context.status.clone();
    let mut source = longshore_source_kafka::connect(config(&topic, none()), context).await.unwrap();

    let mut messages = take(&mut source, 10).await;
    let out = messages.pop();
    let delay = Duration::from_millis(700);
    let begun = Instant::now();
    for (number, message) in messages.into_iter().enumerate() {
        match number {
            3 => message.ack.retry(Some(delay)),
            5 => message.ack.retry(None),
            _ => ack([message]),
        }
    }
    eventually("the source to know", async || (status.report().returned == 2).then_some(())).await;
    let messages = take(&mut source, 12).await;

    assert!(begun.elapsed() >= delay, "the retry came after {:?}", begun.elapsed());
    // 9 is still out, the others are settled.
    assert_eq!(numbers(&messages), [3, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    ack(messages);
    ack(out);
    close(source).await;
    assert_eq!(topic.left(topic.name()).await, 0);
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_beats_an_older_commit() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..10)).await;
    topic.commit(topic.name(), 0, 2).await;
    let context = Stored::context(&topic, 0, 7);
    let mut source = longshore_source_kafka::connect(config(&topic, none()), context).await.unwrap();

    let messages = take(&mut source, 3).await;
    assert_eq!(numbers(&messages), [7, 8, 9]);
    drop(messages);
    close(source).await;

    // Beyond the end, it is about another topic.
    let context = Stored::context(&topic, 0, 11);
    topic.commit(topic.name(), 0, 8).await;
    let mut source = longshore_source_kafka::connect(config(&topic, none()), context).await.unwrap();
    let messages = take(&mut source, 2).await;
    assert_eq!(numbers(&messages), [8, 9]);
    drop(messages);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_a_topic_that_is_gone_is_ignored_for_good() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..10)).await;
    let stored = || Stored::context(&topic, 0, 7);
    let mut first = longshore_source_kafka::connect(config(&topic, none()), stored()).await.unwrap();

    let mut messages = take(&mut first, 10).await;
    assert_eq!(numbers(&messages), (0..10).collect::<Vec<_>>());
    let rest = messages.split_off(2);
    ack(messages);
    drop(rest);
    close(first).await;
    commits(&topic, &[Some(2)]).await;

    // Now there is a commit, and the same old watermark.
    let mut second = longshore_source_kafka::connect(config(&topic, none()), stored()).await.unwrap();
    let messages = take(&mut second, 8).await;
    assert_eq!(numbers(&messages), (2..10).collect::<Vec<_>>());
    ack(messages);
    close(second).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_position_is_committed_at_once() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(2).await;
    topic.publish_to(0, bodies(0..5)).await;
    topic.delete_records(0, 3).await;
    let waiting = source(&topic, json!({ "commit_interval": "50ms" })).await;

    commits(&topic, &[Some(3), Some(0)]).await;
    close(waiting).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_begins_behind_what_was_there() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..5)).await;
    let mut source = source(&topic, json!({ "offset_reset": "latest", "commit_interval": "50ms" })).await;
    commits(&topic, &[Some(5)]).await;
    topic.publish(bodies(5..7)).await;

    let messages = take(&mut source, 2).await;
    assert_eq!(numbers(&messages), [5, 6]);
    ack(messages);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_position_and_without_a_reset_the_source_ends() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let mut source = source(&topic, json!({ "offset_reset": "error" })).await;

    let error = timeout(LIMIT, source.recv(many())).await.unwrap().unwrap_err();
    assert!(matches!(&error, SourceError::Misconfigured(said) if said.contains("offset_reset")), "{error}");
    drop(source);
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_again_is_read_from_its_start_under_our_eyes() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..20)).await;
    let over = json!({ "metadata_refresh": "500ms", "commit_interval": "50ms" });
    let mut source = source(&topic, over).await;
    let messages = take(&mut source, 20).await;
    let held = messages.into_iter().next_back();
    topic.recreate(1).await;
    // More than there was, so that the old position is one of the new topic too.
    topic.publish(bodies(100..150)).await;

    let mut seen = std::collections::BTreeSet::new();
    let begun = Instant::now();
    while !(100..150).all(|number| seen.contains(&number)) {
        assert!(begun.elapsed() < LIMIT, "only {seen:?} came");
        if let Ok(messages) = timeout(Duration::from_secs(1), source.recv(many())).await {
            let messages = messages.unwrap();
            seen.extend(numbers(&messages));
            ack(messages);
        }
    }
    // Of the topic that is gone: it moves nothing.
    ack(held);
    commits(&topic, &[Some(50)]).await;
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_created_again_while_nobody_read_is_read_from_its_start() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..5)).await;
    let mut first = source(&topic, none()).await;
    ack(take(&mut first, 5).await);
    close(first).await;
    topic.recreate(1).await;
    topic.publish(bodies(100..110)).await;

    let context = Stored::context(&topic, 0, 5);
    let mut second = longshore_source_kafka::connect(config(&topic, none()), context).await.unwrap();
    let messages = take(&mut second, 10).await;
    assert_eq!(numbers(&messages), (100..110).collect::<Vec<_>>());
    ack(messages);
    close(second).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_start() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    // Even if the source begins at the end: it reads the topic, and these are new.
    let over = json!({ "metadata_refresh": "300ms", "offset_reset": "latest" });
    let mut source = source(&topic, over).await;
    commits(&topic, &[Some(0)]).await;
    topic.grow(3).await;
    topic.publish_to(2, bodies(0..3)).await;

    let messages = take(&mut source, 3).await;
    assert_eq!(numbers(&messages), [0, 1, 2]);
    ack(messages);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_topics_that_come_later() {
    let kafka = Kafka::connect().await;
    let first = kafka.topic(1).await;
    first.publish(bodies(0..1)).await;
    let over = json!({
        "topic_name": null,
        "topic_pattern": format!("{}(-[a-z]+)?", first.name().replace('.', r"\.")),
        "metadata_refresh": "300ms",
    });
    let mut source = source(&first, over).await;
    let messages = take(&mut source, 1).await;
    assert_eq!(numbers(&messages), [0]);
    ack(messages);
    let other = kafka.named_topic(&format!("{}-later", first.name()), 1, &[]).await;
    let foreign = kafka.named_topic(&format!("x{}", first.name()), 1, &[]).await;
    foreign.publish(bodies(7..8)).await;
    other.publish(bodies(1..3)).await;

    let messages = take(&mut source, 2).await;
    assert_eq!(numbers(&messages), [1, 2]);
    ack(messages);
    assert!(is_quiet(&mut source).await);
    close(source).await;
    for topic in [first, other, foreign] {
        topic.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_retention_took_is_told_and_reading_goes_on() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..10)).await;
    topic.commit(topic.name(), 0, 2).await;
    topic.delete_records(0, 6).await;
    let context = Context::new("kafka", "orders");
    let status = context.status.clone();
    let mut source = longshore_source_kafka::connect(config(&topic, none()), context).await.unwrap();

    let messages = take(&mut source, 4).await;
    assert_eq!(numbers(&messages), [6, 7, 8, 9]);
    let problem = status.report().problem.unwrap_or_default();
    assert!(problem.contains("records may be lost"), "the problem is: {problem}");
    ack(messages);
    close(source).await;
    topic.delete().await;

    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..10)).await;
    topic.commit(topic.name(), 0, 2).await;
    topic.delete_records(0, 6).await;
    let mut strict = connect(config(&topic, json!({ "offset_reset": "error" }))).await.unwrap();
    let error = timeout(LIMIT, strict.recv(many())).await.unwrap().unwrap_err();
    assert!(matches!(error, SourceError::Misconfigured(_)), "{error}");
    drop(strict);
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_backlog_is_bounded_in_memory_and_the_member_stays() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(2).await;
    // 250 MB, of which half is the bound: other tests of this process need memory too.
    let body = vec![b'x'; 2_500];
    topic.publish((0..100_000).map(|_| Publication::new(body.clone()))).await;
    let context = Context::new("kafka", "orders");
    let status = context.status.clone();
    let config =
        config(&topic, json!({ "max_in_flight": 100, "max_poll_interval": "6s", "session_timeout": "6s" }));
    let before = resident_kb();
    let mut source = longshore_source_kafka::connect(config, context).await.unwrap();
    let first = take(&mut source, 100).await;
    // Longer than a member may go without polling.
    assert!(timeout(Duration::from_secs(7), source.recv(many())).await.is_err());

    let grown = resident_kb().saturating_sub(before);
    assert!(grown < 125_000, "grown by {grown} kB");
    let report = status.report();
    assert_eq!((report.received, report.in_flight), (100, 100));
    assert!(eventually("lag", async || status.report().lag).await >= 99_000);
    ack(first);
    let begun = Instant::now();
    let mut count = 100;
    while count < 100_000 {
        let messages = timeout(LIMIT, source.recv(many())).await.unwrap().unwrap();
        count += messages.len();
        ack(messages);
    }
    // Left and joined again, it would have read the first ones twice.
    assert_eq!(count, 100_000);
    println!("the rest took {:?}", begun.elapsed());
    close(source).await;
    assert_eq!(topic.left(topic.name()).await, 0);
    topic.delete().await;
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn close_keeps_its_deadline_and_leaves_the_group() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish(bodies(0..3)).await;
    let mut first = source(&topic, none()).await;
    let mut messages = take(&mut first, 3).await;
    let held = messages.split_off(1);
    ack(messages);
    let begun = Instant::now();
    first.close(Duration::from_millis(300)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "close took {:?}", begun.elapsed());
    ack(held);
    commits(&topic, &[Some(1)]).await;

    let mut second = source(&topic, none()).await;
    let begun = Instant::now();
    ack(take(&mut second, 2).await);
    assert!(begun.elapsed() < Duration::from_secs(10), "the first has not left: {:?}", begun.elapsed());
    close(second).await;
    topic.delete().await;
}
