//! Several members, and partitions that move between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_source::{Context, Source as _};
use longshore_testkit::kafka::{Kafka, TestTopic};
use longshore_testkit::publication::Publication;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::support::{
    LIMIT, ack, bodies, close, commits, config, eventually, is_quiet, many, none, numbers, source, take,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_comes_after_the_partition_has_gone_commits_nothing() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(2).await;
    for partition in 0..2 {
        topic.publish_to(partition, bodies(0..5)).await;
    }
    let over = || json!({ "assignment": "range", "session_timeout": "2s", "commit_interval": "50ms" });
    let context = Context::new("kafka", "orders");
    let status = context.status.clone();
    let mut first = longshore_source_kafka::connect(config(&topic, over()), context).await.unwrap();
    let held = take(&mut first, 10).await;
    let mut second = source(&topic, over()).await;
    // What is out is waited for, but not for ever.
    let again = take(&mut second, 5).await;
    ack(held);
    eventually("late acks", async || (status.report().returned == 10).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    commits(&topic, &[Some(0), Some(0)]).await;
    let own = take(&mut first, 5).await;
    ack(own);
    ack(again);
    commits(&topic, &[Some(5), Some(5)]).await;
    close(first).await;
    close(second).await;
    topic.delete().await;
}

/// What was received, in the order in which it was, by partition: each as its number.
type Seen = Arc<Mutex<BTreeMap<String, Vec<usize>>>>;

/// A member that acks what it gets until it is told to stop.
fn member(topic: &TestTopic, over: Value, seen: &Seen) -> (watch::Sender<bool>, JoinHandle<()>) {
    let (stop, mut stopped) = watch::channel(false);
    let (topic, seen) = (topic.clone(), Arc::clone(seen));
    let task = tokio::spawn(async move {
        let mut member = source(&topic, over).await;
        loop {
            let messages = tokio::select! {
                _ = stopped.changed() => break,
                messages = member.recv(many()) => messages.unwrap(),
            };
            {
                let mut seen = seen.lock().unwrap();
                for message in &messages {
                    let log = message.position.offset.as_ref().unwrap().log.to_string();
                    seen.entry(log).or_default().push(numbers(std::slice::from_ref(message))[0]);
                }
            }
            ack(messages);
        }
        close(member).await;
    });
    (stop, task)
}

async fn ten_joins_and_leaves(over: Value) {
    const PARTITIONS: i32 = 6;
    const EACH: usize = 500;
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(PARTITIONS).await;
    let seen = Seen::default();
    let publishing = topic.clone();
    let publisher = tokio::spawn(async move {
        for lot in 0..EACH / 10 {
            for partition in 0..PARTITIONS {
                publishing.publish_to(partition, bodies(lot * 10..lot * 10 + 10)).await;
            }
        }
    });
    let mut members = vec![member(&topic, over.clone(), &seen)];
    for round in 0..10 {
        members.push(member(&topic, over.clone(), &seen));
        tokio::time::sleep(Duration::from_millis(150)).await;
        if round % 2 == 1 {
            let (stop, task) = members.remove(0);
            let _ = stop.send(true);
            timeout(LIMIT, task).await.expect("a member does not close").unwrap();
        }
    }
    publisher.await.unwrap();
    let begun = Instant::now();
    let whole: BTreeSet<usize> = (0..EACH).collect();
    loop {
        let seen = seen.lock().unwrap().clone();
        let done =
            seen.values().filter(|numbers| numbers.iter().copied().collect::<BTreeSet<_>>() == whole).count();
        if done == PARTITIONS as usize {
            break;
        }
        assert!(
            begun.elapsed() < LIMIT,
            "lost: {:?}",
            seen.iter().map(|(log, n)| (log, n.len())).collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (stop, task) in members {
        let _ = stop.send(true);
        timeout(LIMIT, task).await.expect("a member does not close").unwrap();
    }
    for (log, numbers) in seen.lock().unwrap().iter() {
        let mut firsts = BTreeSet::new();
        let first_times: Vec<usize> =
            numbers.iter().copied().filter(|number| firsts.insert(*number)).collect();
        assert!(first_times.is_sorted(), "out of order in {log}");
    }
    assert_eq!(topic.left(topic.name()).await, 0);
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_joins_and_leaves_lose_nothing_when_cooperative() {
    ten_joins_and_leaves(none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_joins_and_leaves_lose_nothing_when_eager() {
    ten_joins_and_leaves(json!({ "assignment": "range" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_joins_and_leaves_lose_nothing_when_the_broker_shares() {
    ten_joins_and_leaves(json!({ "group_protocol": "consumer" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_partitions_that_closes_holds_nobody_up() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(1).await;
    let over = || json!({ "session_timeout": "60s" });
    topic.publish_to(0, bodies(0..5)).await;
    let mut first = source(&topic, over()).await;
    ack(take(&mut first, 5).await);
    let mut idle = source(&topic, over()).await;
    // By then it is a member: the first learns of it by a heartbeat, of which there is one a second.
    assert!(
        timeout(Duration::from_secs(2), idle.recv(many())).await.is_err(),
        "the first keeps its partition"
    );
    close(idle).await;
    close(first).await;

    topic.publish_to(0, bodies(5..10)).await;
    let mut next = source(&topic, over()).await;
    ack(take(&mut next, 5).await);
    close(next).await;
    topic.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_finds_its_partitions_when_it_comes_back() {
    let kafka = Kafka::connect().await;
    let topic = kafka.topic(2).await;
    let over = json!({ "group_instance_id": "fleet", "session_timeout": "30s" });
    let of = |worker| Context { worker, ..Context::new("kafka", "orders") };
    let mut first = longshore_source_kafka::connect(config(&topic, over.clone()), of(0)).await.unwrap();
    let mut second = longshore_source_kafka::connect(config(&topic, over.clone()), of(1)).await.unwrap();
    // Both have one when both get something.
    let mut number = 0;
    eventually("a partition each", async || {
        for partition in 0..2 {
            topic.publish_to(partition, bodies(number..number + 1)).await;
        }
        number += 1;
        let both = [
            timeout(Duration::from_millis(500), first.recv(many())).await,
            timeout(Duration::from_millis(500), second.recv(many())).await,
        ];
        let both: Vec<_> = both.into_iter().flatten().map(Result::unwrap).collect();
        let got = both.len() == 2 && both.iter().all(|messages| messages.len() == 1);
        both.into_iter().for_each(ack);
        got.then_some(())
    })
    .await;
    // Whatever the first rounds left over.
    while let Ok(messages) = timeout(Duration::from_millis(300), first.recv(many())).await {
        ack(messages.unwrap());
    }
    close(first).await;
    for partition in 0..2 {
        topic.publish_to(partition, [Publication::new("1000")]).await;
    }

    let own = take(&mut second, 1).await;
    assert_eq!(numbers(&own), [1000]);
    ack(own);
    assert!(is_quiet(&mut second).await, "the partition has moved");
    let begun = Instant::now();
    let mut first = longshore_source_kafka::connect(config(&topic, over), of(0)).await.unwrap();
    let kept = take(&mut first, 1).await;
    assert_eq!(numbers(&kept), [1000]);
    assert!(begun.elapsed() < Duration::from_secs(15), "it waited for its own session to end");
    ack(kept);
    close(first).await;
    close(second).await;
    topic.delete().await;
}
