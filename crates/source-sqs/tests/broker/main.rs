//! What SQS promises and what becomes of it, against a real server.
#![expect(clippy::unwrap_used, reason = "a failing set-up is a failing test")]

mod refusals;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_source::{Context, Receipt, Source as _, SourceError, State};
use longshore_source_sqs::{SqsConfig, check};
use longshore_testkit::chaos::ChaosProxy;
use longshore_testkit::publication::Publication;
use longshore_testkit::servers::{OwnServers, Server, Stop};
use longshore_testkit::sqs::Sqs;
use serde_json::json;
use support::{ack, bodies, config, config_at, connect, numbered, take, text};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_queue_is_found_by_name_url_and_arn() {
    let queue = Sqs::connect().await.queue().await;
    let by_name = config(&queue);
    let plain = SqsConfig { queue_name: None, ..by_name.clone() };
    let owner = Some("000000000000".to_owned());
    let ways = [
        SqsConfig { queue_owner: owner, ..by_name },
        SqsConfig { queue_url: Some(queue.url().to_owned()), endpoint: None, ..plain.clone() },
        SqsConfig { queue_arn: Some(queue.arn().await), default_region: None, ..plain },
    ];

    for (number, config) in ways.into_iter().enumerate() {
        queue.publish(numbered(number..number + 1)).await;
        let mut source = connect(config.clone()).await.unwrap();
        let messages = take(&mut source, 1, SOON).await;
        assert_eq!(text(&messages[0]), format!("{number}"), "{config:?}");
        assert_eq!(messages[0].position.address, queue.name());
        ack(messages);
        source.close(SOON).await.unwrap();
        assert!(check(&config).await.is_ok());
    }
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_named() {
    let queue = Sqs::connect().await.queue().await;
    let missing = SqsConfig { queue_name: Some("no-such-queue".to_owned()), ..config(&queue) };

    for error in [connect(missing.clone()).await.unwrap_err(), check(&missing).await.unwrap_err()] {
        assert!(matches!(error, SourceError::Misconfigured(_)), "{error:?}");
        let sentence = error.to_string();
        assert!(
            sentence.contains("no-such-queue") && sentence.contains("there is no such queue"),
            "{sentence}"
        );
    }
    queue.delete().await;
}

#[tokio::test]
async fn a_missing_redrive_policy_is_warned_about() {
    let server = Sqs::connect().await;
    let dead = server.queue().await;
    let policy = json!({ "deadLetterTargetArn": dead.arn().await, "maxReceiveCount": 5 }).to_string();
    let with = server.queue_with(&[("VisibilityTimeout", "30"), ("RedrivePolicy", &policy)]).await;
    let without = server.queue_with(&[("VisibilityTimeout", "30")]).await;

    assert_eq!(check(&config(&with)).await.unwrap(), Vec::<String>::new());
    let warnings = check(&config(&without)).await.unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("no redrive policy"), "{warnings:?}");
    let context = Context::new("sqs", "redrive");
    let status = context.status.clone();
    let source = longshore_source_sqs::connect(config(&without), context).await.unwrap();
    assert_eq!(status.report().warnings, warnings);

    source.close(SOON).await.unwrap();
    for queue in [dead, with, without] {
        queue.delete().await;
    }
}

#[tokio::test]
async fn attributes_groups_and_odd_characters_come_through() {
    let queue = Sqs::connect().await.queue().await;
    let odd = "\u{9}\u{20}é\u{1F600}\u{FFFD}\u{E000}\n\r \"\\\u{D7FF}";
    let message =
        Publication::new(odd).header("x-convoy-message-type", "single").header("bin", "base64:AP8=");
    queue.publish([message.key("tenant-7")]).await;

    let mut source = connect(config(&queue)).await.unwrap();
    let messages = take(&mut source, 1, SOON).await;

    let message = &messages[0];
    assert_eq!(text(message), odd);
    let headers = [("bin", "AP8="), ("x-convoy-message-type", "single")];
    assert_eq!(message.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((message.attempt, message.redelivered), (Some(1), false));
    assert_eq!(message.position.key.as_deref(), Some("tenant-7"));
    assert!(message.position.message_id.is_some() && message.position.timestamp_ms.is_some());
    ack(messages);
    source.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test]
async fn a_slow_consumer_keeps_its_messages() {
    let queue = Sqs::connect().await.queue().await;
    queue.publish(numbered(0..25)).await;
    let mut slow = connect(config(&queue)).await.unwrap();
    let messages = take(&mut slow, 25, SOON).await;

    // Three visibility timeouts.
    let mut other = connect(config(&queue)).await.unwrap();
    let stolen = timeout(Duration::from_secs(6), other.recv(support::MANY)).await;
    assert!(stolen.is_err(), "messages came to another consumer although somebody works on them");

    assert!(messages.iter().all(|message| message.attempt == Some(1)));
    ack(messages);
    slow.close(SOON).await.unwrap();
    other.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test]
async fn a_message_is_not_kept_beyond_its_limit() {
    let queue = Sqs::connect().await.queue().await;
    queue.publish(numbered(0..1)).await;
    // With one slot, so that it cannot receive the message again itself.
    let hoarding = SqsConfig { max_extension: 3, max_in_flight: 1, ..config(&queue) };
    let mut hoarder = connect(hoarding).await.unwrap();
    let held = take(&mut hoarder, 1, SOON).await;

    let mut other = connect(config(&queue)).await.unwrap();
    let messages = take(&mut other, 1, SOON).await;

    assert_eq!(messages[0].attempt, Some(2));
    ack(messages);
    other.close(SOON).await.unwrap();
    drop(held);
    // The one that came too late harms nothing.
    let _ = hoarder.close(SOON).await;
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test]
async fn a_deletion_that_comes_too_late_is_counted_and_the_others_count() {
    let queue = Sqs::connect().await.queue().await;
    queue.publish(numbered(0..5)).await;
    let context = Context::new("sqs", "late");
    let status = context.status.clone();
    let mut source = longshore_source_sqs::connect(config(&queue), context).await.unwrap();
    let messages = take(&mut source, 5, SOON).await;
    // Somebody else deletes one, so that its receipt is worth nothing in the same request as the good ones.
    queue.purge().await;
    queue.publish(numbered(5..10)).await;
    let more = take(&mut source, 5, SOON).await;

    ack(messages.into_iter().chain(more));
    let closed = source.close(SOON).await;

    assert!(matches!(&closed, Err(SourceError::Disconnected(text)) if text.contains("5 ack")), "{closed:?}");
    queue.settles_at(0).await;
    let report = status.report();
    assert_eq!((report.received, report.returned, report.state), (10, 5, State::Stopped));
    queue.delete().await;
}

#[tokio::test]
async fn nothing_of_a_group_overtakes_a_failing_head() {
    let queue = Sqs::connect().await.fifo_queue().await;
    queue.publish((0..4).map(|n| Publication::new(format!("a{n}")).key("a"))).await;
    queue.publish((0..2).map(|n| Publication::new(format!("b{n}")).key("b"))).await;
    let mut source = connect(config(&queue)).await.unwrap();
    assert!(source.features().ordered);

    let mut tokens = std::collections::BTreeMap::new();
    for message in take(&mut source, 6, SOON).await {
        tokens.insert(text(&message), message);
    }
    let mut end = |name: &str| tokens.remove(name).unwrap();
    // Acknowledged in the wrong order, the third before the first fails, the last after.
    ack([end("a2"), end("b1"), end("a0")]);
    end("a1").ack.retry(Some(Duration::from_secs(1)));
    let begun = Instant::now();
    ack([end("a3"), end("b0")]);

    let again = take(&mut source, 3, SOON).await;
    assert!(begun.elapsed() >= Duration::from_millis(950), "came after {:?}", begun.elapsed());
    assert_eq!(bodies(&again), ["a1", "a2", "a3"], "the group must come again from the one that failed");
    ack(again);
    source.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test]
async fn what_waits_behind_a_failed_one_is_not_handed_out() {
    let queue = Sqs::connect().await.fifo_queue().await;
    queue.publish((0..8).map(|n| Publication::new(format!("{n}")).key("a"))).await;
    let mut source = connect(config(&queue)).await.unwrap();

    let head = take(&mut source, 1, SOON).await;
    assert_eq!(bodies(&head), ["0"]);
    drop(head);
    // The settling half has to hear of it; what was received with it lies ready here.
    let mut seen = Vec::new();
    let mut rounds = 0;
    while seen.len() < 8 {
        for message in take(&mut source, 1, SOON).await {
            let wanted = seen.len().to_string();
            // Handed out before the news of the failed one spread: given back like it, it must come again in its turn.
            if text(&message) == wanted {
                seen.push(wanted);
                ack([message]);
            }
        }
        rounds += 1;
        assert!(rounds < 50, "only {seen:?} came in their turn");
    }
    source.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_neither_waits_for_a_poll_nor_strands_what_it_brings() {
    let queue = Sqs::connect().await.queue_with(&[("VisibilityTimeout", "30")]).await;
    let mut source = connect(config(&queue)).await.unwrap();
    assert!(timeout(Duration::from_millis(300), source.recv(support::MANY)).await.is_err());

    // Both calls are open for 20 s. Messages come before, while and after the source closes.
    queue.publish(numbered(0..30)).await;
    let begun = Instant::now();
    let (closed, ()) = tokio::join!(source.close(SOON), queue.publish(numbered(30..40)));
    closed.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "close took {:?}", begun.elapsed());
    queue.publish(numbered(40..50)).await;

    // Another consumer gets all of them long before the visibility timeout is over.
    let mut other = connect(config(&queue)).await.unwrap();
    let messages = take(&mut other, 50, Duration::from_secs(5)).await;
    let seen = messages.iter().map(text).collect::<BTreeSet<_>>();
    assert_eq!(seen.len(), 50);
    ack(messages);
    other.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_out_than_allowed_however_many_wait() {
    let queue = Sqs::connect().await.queue_with(&[("VisibilityTimeout", "30")]).await;
    queue.publish(numbered(0..10_000)).await;
    let few = SqsConfig { max_in_flight: 25, pollers: 4, wait_time: 1, ..config(&queue) };
    let mut source = connect(few).await.unwrap();

    let held = take(&mut source, 25, SOON).await;
    assert!(timeout(Duration::from_secs(1), source.recv(support::MANY)).await.is_err());
    assert_eq!(queue.left().await - queue.visible().await, 25, "more is out at the broker than allowed");
    ack(held);
    let next = take(&mut source, 25, SOON).await;
    drop(next);
    source.close(SOON).await.unwrap();

    // By bytes: each message has 1 to 4 of them.
    let small = SqsConfig { max_in_flight_bytes: 100, pollers: 2, wait_time: 1, ..config(&queue) };
    let mut source = connect(small).await.unwrap();
    let mut held = Vec::new();
    while let Ok(messages) = timeout(Duration::from_secs(1), source.recv(support::MANY)).await {
        held.extend(messages.unwrap());
    }
    let bytes = held.iter().map(|message| message.body.len()).sum::<usize>();
    // Two calls of ten may be under way when the limit is reached.
    assert!((100..=100 + 2 * 10 * 4).contains(&bytes), "{bytes} bytes are out");
    drop(held);
    source.close(SOON).await.unwrap();
    queue.delete().await;
}

#[tokio::test]
async fn a_deleted_queue_is_a_fault_and_waited_for() {
    let server = Sqs::connect().await;
    let queue = server.queue().await;
    let context = Context::new("sqs", "deleted");
    let status = context.status.clone();
    let config = SqsConfig { wait_time: 1, ..config(&queue) };
    let mut source = longshore_source_sqs::connect(config, context).await.unwrap();
    assert_eq!(status.report().state, State::Consuming);

    queue.clone().delete().await;
    let failing = async {
        while status.report().state != State::Failing {
            assert!(timeout(Duration::from_millis(50), source.recv(support::MANY)).await.is_err());
        }
    };
    // The server never answers calls that were open then: they have to be given up first.
    timeout(2 * SOON, failing).await.expect("a deleted queue goes unnoticed");
    // One poller after the other learns why.
    while !status.report().problem.is_some_and(|why| why.contains("no such queue")) {
        assert!(timeout(Duration::from_millis(50), source.recv(support::MANY)).await.is_err());
    }
    server.call("CreateQueue", json!({ "QueueName": queue.name() })).await;
    queue.publish(numbered(0..1)).await;

    let messages = take(&mut source, 1, SOON).await;
    let report = status.report();
    assert_eq!((report.state, report.problem, report.reconnects), (State::Consuming, None, 1));
    ack(messages);
    source.close(SOON).await.unwrap();
    queue.delete().await;
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let server = Sqs::connect().await;
    let queue = server.queue().await;
    let proxy = ChaosProxy::start(ChaosProxy::authority(server.endpoint())).await;
    let config = SqsConfig { wait_time: 1, ..config_at(&queue, &proxy.url(server.endpoint())) };
    let context = Context::new("sqs", "silent");
    let status = context.status.clone();
    let mut source = longshore_source_sqs::connect(config, context).await.unwrap();

    proxy.refuse();
    queue.publish(numbered(0..1)).await;
    let failing = async {
        while status.report().state != State::Failing {
            assert!(timeout(Duration::from_millis(50), source.recv(support::MANY)).await.is_err());
        }
    };
    timeout(SOON, failing).await.expect("a refused connection goes unnoticed");
    proxy.restore();

    let messages = take(&mut source, 1, SOON).await;
    ack(messages);
    source.close(SOON).await.unwrap();
    queue.settles_at(0).await;
    queue.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_is_consumed_on() {
    const COUNT: usize = 300;
    let servers = OwnServers::start(&[Server::Sqs]).await;
    let queue = Sqs::connect_to(servers.sqs_endpoint()).await.queue().await;
    queue.publish(numbered(0..COUNT)).await;
    let mut source = connect(SqsConfig { max_in_flight: 50, ..config(&queue) }).await.unwrap();

    let mut seen = BTreeSet::new();
    let mut messages = take(&mut source, 50, SOON).await;
    let late = messages.split_off(25);
    seen.extend(messages.iter().map(text));
    ack(messages);
    servers.stop(Server::Sqs, Stop::Immediate).await;
    servers.start_again(Server::Sqs).await;
    // Their receipts are of the server's earlier life: it may know them or not, and must harm nothing.
    seen.extend(late.iter().map(text));
    ack(late);

    let begun = Instant::now();
    while seen.len() < COUNT {
        for message in take(&mut source, 1, Duration::from_secs(40)).await {
            seen.insert(text(&message));
            ack([message]);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "only {} came", seen.len());
    }
    while let Ok(messages) = timeout(Duration::from_secs(3), source.recv(support::MANY)).await {
        ack(messages.unwrap());
    }
    source.close(SOON).await.unwrap();
    queue.settles_at(0).await;
}

#[tokio::test]
async fn envelopes_are_opened_on_the_way() {
    let queue = Sqs::connect().await.queue().await;
    let event =
        r#"{"id":"e1","detail-type":"paid","source":"shop","time":"2026-01-01T00:00:00Z","detail":{"n":1}}"#;
    let topic = json!({ "Type": "Notification", "MessageId": "sns-1", "TopicArn": "t", "Message": event });
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;
    queue.publish([Publication::new(test), Publication::new(topic.to_string())]).await;
    let mut settings = queue.settings();
    settings["unwrap"] = json!(["sns", "eventbridge", "s3"]);
    let mut source = connect(serde_json::from_value(settings).unwrap()).await.unwrap();

    let messages = take(&mut source, 1, SOON).await;

    let event = serde_json::from_slice::<serde_json::Value>(&messages[0].body).unwrap();
    assert_eq!((&event["type"], &event["data"]), (&json!("paid"), &json!({ "n": 1 })));
    let structured = ("content-type".to_owned(), "application/cloudevents+json".to_owned());
    assert_eq!(messages[0].headers, [structured]);
    for message in messages {
        message.ack.ack(Receipt::default());
    }
    source.close(SOON).await.unwrap();
    // The test event of S3 is gone as well.
    queue.settles_at(0).await;
    queue.delete().await;
}
