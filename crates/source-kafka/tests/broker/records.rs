//! Records of every kind.

use longshore_source::Source as _;
use longshore_testkit::kafka::Kafka;
use longshore_testkit::publication::Publication;
use serde_json::json;

use crate::support::{ack, bodies, close, commits, is_quiet, none, numbers, source, take, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_says_where_it_comes_from() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(2).await;
    let mut source = source(&topic, none()).await;
    let first = Publication { timestamp_ms: Some(1_700_000_000_123), ..Publication::new("body") };
    topic.publish_to(1, [first.key("order-7").header("x-kind", "test").header("größe", "µ")]).await;
    topic.publish_to(0, [Publication::new("")]).await;

    let mut messages = take(&mut source, 2).await;
    messages.sort_by_key(|message| message.body.len());

    let (bare, full) = (&messages[0], &messages[1]);
    let position = &full.position;
    assert_eq!(text(full), "body");
    assert_eq!(
        full.headers,
        [("x-kind".to_owned(), "test".to_owned()), ("größe".to_owned(), "µ".to_owned())]
    );
    assert_eq!((position.key.as_deref(), position.label.as_deref()), (Some("order-7"), Some("order-7")));
    assert_eq!((position.timestamp_ms, position.address.as_str()), (Some(1_700_000_000_123), topic.name()));
    let offset = position.offset.as_ref().unwrap();
    assert_eq!((&*offset.log, offset.offset), (format!("{}/1", topic.name()).as_str(), 0));
    let identity = position.message_id.as_deref().unwrap();
    let (place, hash) = identity.split_once('#').unwrap();
    assert_eq!((place, hash.len()), (format!("{}/1/0", topic.name()).as_str(), 16));
    assert_eq!((bare.position.key.as_deref(), bare.tombstone, bare.body.len()), (None, false, 0));
    ack(messages);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_megabyte_comes_whole() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic_with(1, &[("max.message.bytes", "4000000")]).await;
    let mut source = source(&topic, json!({ "max_in_flight_bytes": 100_000 })).await;
    let body: Vec<u8> = (0..1_500_000_u32).map(|number| (number % 251) as u8).collect();
    topic.publish([Publication::new(body.clone()), Publication::new("small")]).await;

    let large = take(&mut source, 1).await;
    assert!(large[0].body == body, "another body");
    assert!(is_quiet(&mut source).await, "the bytes in flight are not counted");
    ack(large);
    let small = take(&mut source, 1).await;
    assert_eq!(text(&small[0]), "small");
    ack(small);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_is_handed_on_or_passed_over() {
    let kafka = Kafka::connect().await;
    for (policy, handed_on) in [("quarantine", true), ("event", true), ("skip", false)] {
        let topic = kafka.topic(1).await;
        let tombstone = || Publication { body: None, ..Publication::default().key("gone") };
        topic.publish([tombstone(), Publication::new("after"), tombstone()]).await;
        let mut source = source(&topic, json!({ "tombstones": policy })).await;

        let messages = take(&mut source, if handed_on { 3 } else { 1 }).await;
        let tombstones = messages.iter().filter(|message| message.tombstone && message.body.is_empty());
        assert_eq!(tombstones.count(), if handed_on { 2 } else { 0 }, "{policy}");
        ack(messages);
        // The one at the end is passed over when its turn comes.
        assert!(is_quiet(&mut source).await);
        commits(&topic, &[Some(3)]).await;
        close(source).await;
        topic.delete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_and_aborted_transactions_are_passed_and_the_end_is_reached() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish_transaction(bodies(0..3), true).await;
    topic.publish_transaction(bodies(3..6), false).await;
    topic.publish(bodies(6..7)).await;
    topic.publish_transaction(bodies(7..10), false).await;
    let mut source = source(&topic, none()).await;

    let messages = take(&mut source, 4).await;
    assert_eq!(numbers(&messages), [0, 1, 2, 6]);
    ack(messages);

    // 10 records and 3 marks.
    commits(&topic, &[Some(13)]).await;
    assert_eq!(topic.left(topic.name()).await, 0);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_records_come_when_nothing_need_be_committed() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    topic.publish_transaction(bodies(0..3), false).await;
    let mut source = source(&topic, json!({ "isolation": "read_uncommitted" })).await;

    let messages = take(&mut source, 3).await;
    assert_eq!(numbers(&messages), [0, 1, 2]);
    ack(messages);
    close(source).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_gaps_that_do_not_hold_the_position() {
    let kafka = Kafka::connect().await;
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "50"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "100"),
    ];
    let topic = kafka.topic_with(1, &settings).await;
    let same = |range| bodies(range).map(|publication| publication.key("same"));
    topic.publish(same(0..50)).await;
    let lone = |number: usize| Publication::new(number.to_string()).key(format!("key {number}"));
    // A later record closes the segment, which is then cleaned; the last segment never is.
    let mut next = 50;
    let messages = crate::support::eventually("compaction", async || {
        topic.publish([lone(next)]).await;
        next += 1;
        let mut source =
            source(&topic, json!({ "consumer_group_id": format!("{}-{next}", topic.name()) })).await;
        let first = take(&mut source, 1).await;
        // The 50 of one key have become one.
        let compacted = numbers(&first)[0] >= 40;
        drop(first);
        compacted.then_some(source)
    })
    .await;
    drop(messages);

    let mut source = source(&topic, none()).await;
    let (_, end) = topic.bounds(0).await;
    let mut last = 0;
    while last + 1 < end {
        let messages = source.recv(crate::support::many()).await.unwrap();
        last = messages.last().unwrap().position.offset.as_ref().unwrap().offset.try_into().unwrap();
        ack(messages);
    }
    commits(&topic, &[Some(end)]).await;
    close(source).await;
    topic.delete().await;
}
