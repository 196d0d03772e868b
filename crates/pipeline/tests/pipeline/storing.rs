//! From the broker into the store: nothing lost, nothing doubled, nothing acked too early.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::ports::StoreError;
use longshore_core::quarantine::Reason;
use longshore_core::{DeliveryState, Endpoint, EndpointId, Snapshot};
use longshore_pipeline::ingest::Origin;
use longshore_source::memory::Publication;
use longshore_source::{
    AckToken, Features, Message, Position, Refusal, Route, Settled, Source, SourceError, Status,
};
use longshore_testkit::memory::{Fault, MemoryDatabase, Op};
use tokio::sync::mpsc;

use super::bed::{A, B, Bed, PROJECT, SECOND, endpoint, message, project, retries};

/// How often each event body is stored.
fn bodies(database: &MemoryDatabase) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for stored in database.events() {
        *counts.entry(stored.event.body.to_vec()).or_default() += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_stored_acked_and_delivered_once() {
    let bed = Bed::new();
    let process = bed.start();

    bed.publish(A, 0..100);
    bed.publish(B, 100..200);
    bed.until(DeliveryState::Success, 200).await;
    bed.wait("every ack", |_| bed.broker.stats().acked == 200).await;

    assert_eq!((bed.script.calls().len(), bed.database.events().len()), (200, 200));
    assert_eq!(bed.script.calls_to("e1.example")[0].body, "{\"n\":0}");
    assert_eq!(process.ledger.held(), (0, 0));
    assert_eq!(bed.broker.stats().redelivered, 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_nothing_is_acked_or_given_back_and_memory_is_flat() {
    let bed = Bed::new();
    let process = bed.start();
    bed.publish(A, 0..10);
    bed.until(DeliveryState::Success, 10).await;
    bed.wait("every ack", |_| bed.broker.stats().acked == 10).await;

    bed.database.set_outage(true);
    let mut most = 0;
    for second in 0..120 {
        bed.publish(if second % 2 == 0 { A } else { B }, (0..50).map(|n| 1_000 + second * 50 + n));
        tokio::time::sleep(SECOND / 4).await;
        most = most.max(process.ledger.held().0);
        let stats = bed.broker.stats();
        assert_eq!((stats.acked, stats.redelivered, stats.stale), (10, 0, 0));
        assert!(stats.unacked <= 200, "{stats:?}");
    }
    assert!(most <= 50, "one batch is held, not {most}");
    bed.database.set_outage(false);

    bed.until(DeliveryState::Success, 6_010).await;
    assert_eq!(bed.broker.stats().redelivered, 0);
    assert_eq!(bed.database.events().len(), 6_010);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_reply_was_lost_makes_one_event_and_its_delivery() {
    let bed = Bed::new();
    let process = bed.start();
    bed.database.lose_replies(Op::Persist, 2);

    bed.publish(A, 0..20);
    bed.until(DeliveryState::Success, 20).await;
    bed.wait("every ack", |_| bed.broker.stats().acked == 20).await;

    assert_eq!((bed.database.events().len(), bed.script.calls().len()), (20, 20));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_delivers_again_makes_no_second_event() {
    let bed = Bed::new();
    let _process = bed.start();
    bed.database.set_latency(SECOND / 2);

    bed.publish(A, 0..100);
    tokio::time::sleep(SECOND / 4).await;
    bed.broker.crash();
    bed.wait("every ack", |_| bed.broker.stats().acked == 100).await;
    bed.until(DeliveryState::Success, 100).await;

    assert!(bed.broker.stats().redelivered > 0);
    assert_eq!(bed.database.events().len(), 100);
    assert_eq!(bed.script.calls().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn poison_is_quarantined_with_its_bytes_and_stops_nobody() {
    let bed = Bed::new();
    let _process = bed.start();

    for n in 0..1_000 {
        if n % 100 == 99 {
            let body = format!("\u{1}not json {n}").into_bytes();
            bed.broker.publish(Publication {
                headers: vec![("x-a".to_owned(), "1".to_owned())],
                message_id: Some(format!("m-{n}")),
                address: "orders".to_owned(),
                ..Publication::from(body)
            });
        } else {
            bed.publish(A, [n]);
        }
    }
    bed.until(DeliveryState::Success, 990).await;
    bed.wait("every ack", |_| bed.broker.stats().acked == 1_000).await;

    let quarantined = bed.database.quarantined();
    assert_eq!(quarantined.len(), 10);
    let first = quarantined.iter().find(|message| &message.body[..] == b"\x01not json 99").unwrap();
    assert_eq!((first.reason, first.position.as_str()), (Reason::Undecodable, "m-99 orders"));
    assert_eq!(first.headers.get("x-a"), Some("1"));
    assert!(!first.detail.contains("not json 99"), "{}", first.detail);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_store_refuses_goes_to_quarantine_as_it_came_and_others_are_stored() {
    let bed = Bed::new();
    let process = bed.start();
    bed.database.reject(|new| new.event.body.as_ref() == b"{\"n\":7}");

    bed.publish(A, 0..20);
    bed.until(DeliveryState::Success, 19).await;
    bed.wait("every ack", |_| bed.broker.stats().acked == 20).await;

    let quarantined = bed.database.quarantined();
    assert_eq!((quarantined.len(), bed.database.events().len()), (1, 19));
    assert_eq!((quarantined[0].reason, quarantined[0].position.as_str()), (Reason::Rejected, "m-7"));
    // The whole message, so that it can be replayed.
    assert_eq!(quarantined[0].body, message(A, 7, &bed.clock).body);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_published_right_after_its_endpoint_was_made_is_matched() {
    let bed = Bed::with(vec![endpoint(A)]);
    let _process = bed.start();
    // The configuration is newer than what the process has seen.
    bed.database.set_config_version(2);
    bed.publish(B, [1]);
    tokio::time::sleep(SECOND / 2).await;
    assert!(bed.database.events().is_empty() && bed.database.quarantined().is_empty());

    bed.configure(vec![endpoint(A), endpoint(B)], 2);

    bed.until(DeliveryState::Success, 1).await;
    assert_eq!(bed.script.calls_to("e2.example").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_snapshot_does_not_match_waits_until_the_version_is_known() {
    let bed = Bed::with(vec![endpoint(A)]);
    let _process = bed.start();
    bed.database.set_outage(true);
    bed.database.set_config_version(2);

    bed.publish(B, [1]);
    tokio::time::sleep(30 * SECOND).await;
    bed.database.set_outage(false);
    tokio::time::sleep(SECOND / 10).await;
    bed.configure(vec![endpoint(A), endpoint(B)], 2);

    bed.until(DeliveryState::Success, 1).await;
    assert!(bed.database.quarantined().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unknown_endpoint_is_waited_for_once_and_then_quarantined() {
    let bed = Bed::new();
    let _process = bed.start();
    bed.database.set_config_version(2);
    let started = tokio::time::Instant::now();

    bed.publish(EndpointId::from_u128(99), [1]);
    bed.wait("quarantine", |database| database.quarantined().len() == 1).await;
    bed.publish(EndpointId::from_u128(99), [2]);
    bed.wait("quarantine", |database| database.quarantined().len() == 2).await;

    assert!(
        started.elapsed() < 2 * SECOND,
        "the same version is not waited for twice: {:?}",
        started.elapsed()
    );
    assert_eq!(bed.database.quarantined()[0].reason, Reason::UnknownEndpoint);
    assert!(bed.database.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_event_waits_for_its_endpoint_however_late_the_configuration_is() {
    let bed = Bed::new();
    let _process = bed.start();
    let body = r#"{"event_type":"a","url":"https://e77.example/","data":{"n":1}}"#;
    let kind = ("x-convoy-message-type".to_owned(), "dynamic".to_owned());
    bed.broker.publish(Publication { headers: vec![kind], ..Publication::from(body) });
    bed.wait("registration", |database| database.dynamic_endpoints().len() == 1).await;
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!((bed.database.events().len(), bed.broker.stats().acked), (0, 0));

    let registered = bed.database.dynamic_endpoints().remove(0);
    bed.configure(vec![endpoint(A), Endpoint { url: registered.url, ..endpoint(registered.id) }], 1);

    bed.until(DeliveryState::Success, 1).await;
    assert_eq!(bed.script.calls_to("e77.example").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_event_for_a_place_that_webhooks_do_not_go_to_registers_nothing() {
    let bed = Bed::new();
    let _process = bed.start();
    let kind = ("x-convoy-message-type".to_owned(), "dynamic".to_owned());
    let urls = [
        "http://plain.example/",
        "https://0x7f.1/",
        "https://169.254.169.254/",
        "https://a@b.example/",
        "https://b.example/#c",
    ];
    for url in urls {
        let body = format!(r#"{{"event_type":"a","url":"{url}","data":{{"n":1}}}}"#);
        bed.broker.publish(Publication { headers: vec![kind.clone()], ..Publication::from(body) });
    }

    bed.wait("quarantine", |database| database.quarantined().len() == urls.len()).await;

    assert!(bed.database.quarantined().iter().all(|message| message.detail.starts_with("`url`")));
    assert!(bed.database.dynamic_endpoints().is_empty() && bed.database.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_refused_for_good_is_the_fault_of_its_message_alone() {
    let bed = Bed::new();
    bed.database.reject_endpoints(|endpoint| endpoint.url.host_str() == Some("refused.example"));
    let dynamic = |host: &str| {
        let body = format!(r#"{{"event_type":"a","url":"https://{host}/","data":{{"n":1}}}}"#);
        let kind = ("x-convoy-message-type".to_owned(), "dynamic".to_owned());
        bed.broker.publish(Publication { headers: vec![kind], ..Publication::from(body) });
    };
    dynamic("e77.example");
    dynamic("refused.example");
    let _process = bed.start();
    bed.wait("registration", |database| database.dynamic_endpoints().len() == 1).await;
    let registered = bed.database.dynamic_endpoints().remove(0);
    bed.configure(vec![Endpoint { url: registered.url, ..endpoint(registered.id) }], 1);

    bed.until(DeliveryState::Success, 1).await;
    bed.wait("quarantine", |database| database.quarantined().len() == 1).await;
    assert_eq!(bed.script.calls_to("e77.example").len(), 1);
    let kept = bed.database.quarantined().remove(0);
    assert_eq!(kept.reason, Reason::Rejected);
    assert_eq!(
        kept.detail,
        "`url` names an endpoint that cannot be registered: an endpoint that the test refuses"
    );
    assert!(String::from_utf8_lossy(&kept.body).contains("refused.example"));
    bed.wait("every ack", |_| bed.broker.stats().acked == 2).await;
}

/// A source whose producers wait for the answer.
struct Replying {
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Source for Replying {
    fn features(&self) -> Features {
        Features { replies: true, ..Features::default() }
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        let mut messages = Vec::new();
        if self.messages.recv_many(&mut messages, max.get()).await == 0 {
            std::future::pending::<()>().await;
        }
        Ok(messages)
    }

    async fn close(self, _: Duration) -> Result<(), SourceError> {
        Ok(())
    }
}

struct Producer {
    to: mpsc::UnboundedSender<Message>,
}

impl Producer {
    fn start(bed: &Bed) -> (Self, super::bed::Process) {
        let (to, messages) = mpsc::unbounded_channel();
        let source = std::sync::Mutex::new(Some(Replying { messages }));
        let connect = move || source.lock().unwrap().take().unwrap();
        let process = bed.start_with(
            connect,
            Origin {
                source: None,
                kind: "http",
                status: Status::new("http", "bed"),
                mapping: longshore_pipeline::ingest::fixed(longshore_core::Mapping::default()),
            },
            bed.script.clone(),
            bed.clock,
        );
        (Self { to }, process)
    }

    async fn post(&self, body: &str) -> Settled {
        self.post_as("single", body).await
    }

    async fn post_as(&self, kind: &'static str, body: &str) -> Settled {
        let (answer, mut answered) = mpsc::unbounded_channel();
        let message = Message {
            body: body.to_owned().into(),
            headers: Vec::new(),
            position: Position::default(),
            route: Some(Route { project: PROJECT.as_u128(), kind, inbound: None }),
            redelivered: false,
            attempt: None,
            tombstone: false,
            ack: AckToken::new(move |settled| answer.send(settled).unwrap()),
        };
        self.to.send(message).unwrap();
        answered.recv().await.unwrap()
    }
}

fn refused(settled: Settled) -> Refusal {
    match settled {
        Settled::Refuse(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_producer_who_waits_is_told_what_is_wrong_and_nothing_is_stored() {
    let bed = Bed::new();
    let (producer, _process) = Producer::start(&bed);
    bed.database.reject(|new| new.event.body.as_ref() == b"13");

    let unknown = producer.post(r#"{"event_type":"a","endpoint_id":"nobody","data":1}"#).await;
    let typeless = producer.post(&format!(r#"{{"endpoint_id":"{A}","data":1}}"#)).await;
    let rejected = producer.post(&format!(r#"{{"event_type":"a","endpoint_id":"{A}","data":13}}"#)).await;
    let stored = producer.post(&format!(r#"{{"event_type":"a","endpoint_id":"{A}","data":1}}"#)).await;

    bed.database.reject_endpoints(|_| true);
    let dynamic =
        producer.post_as("dynamic", r#"{"event_type":"a","url":"https://e.example/","data":1}"#).await;

    assert_eq!(refused(unknown).field, "endpoint_id");
    let dynamic = refused(dynamic);
    assert_eq!(dynamic.field, "url");
    assert!(!dynamic.problem.contains("the test refuses"), "{}", dynamic.problem);
    assert_eq!(refused(typeless).field, "event_type");
    assert_eq!(refused(rejected).field, "");
    assert!(matches!(stored, Settled::Ack(receipt) if receipt.event != 0));
    assert!(bed.database.quarantined().is_empty());
    assert_eq!(bed.database.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_producer_who_waits_is_sent_away_when_the_store_stays_away() {
    let bed = Bed::new();
    let (producer, process) = Producer::start(&bed);
    bed.database.set_outage(true);
    let body = format!(r#"{{"event_type":"a","endpoint_id":"{A}","data":1}}"#);
    let started = tokio::time::Instant::now();

    assert_eq!(producer.post(&body).await, Settled::Retry(None));

    assert!(started.elapsed() <= 5 * SECOND);
    assert_eq!(producer.post(&body).await, Settled::Retry(None));
    assert!(started.elapsed() <= 5 * SECOND, "the second one is not held as well");
    bed.database.set_outage(false);
    assert!(matches!(producer.post(&body).await, Settled::Ack(_)));
    bed.until(DeliveryState::Success, bed.database.events().len()).await;
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_producer_was_sent_away_is_delivered_if_it_was_stored_after_all() {
    let bed = Bed::new();
    let (producer, process) = Producer::start(&bed);
    bed.database.plan(Op::Persist, [Fault::LostReply]);
    bed.database.plan(Op::Persist, [Fault::Unavailable; 10]);
    let body = format!(r#"{{"event_type":"a","endpoint_id":"{A}","data":1}}"#);

    assert_eq!(producer.post(&body).await, Settled::Retry(None));
    assert_eq!(bed.database.events().len(), 1);

    bed.until(DeliveryState::Success, 1).await;
    assert_eq!((bed.database.events().len(), bed.script.calls().len()), (1, 1));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_misconfigured_is_waited_for_too() {
    let bed = Bed::new();
    let _process = bed.start();
    bed.database.plan(Op::Persist, [Fault::Misconfigured; 5]);
    assert!(StoreError::Misconfigured(String::new()).is_transient());

    bed.publish(A, 0..5);

    bed.until(DeliveryState::Success, 5).await;
    assert_eq!(bodies(&bed.database).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_project_that_changes_while_messages_come_keeps_each_once() {
    let bed = Bed::new();
    let _process = bed.start();
    for round in 0..20_i64 {
        let snapshot =
            Snapshot::new(vec![project(retries(&[5]))], vec![endpoint(A), endpoint(B)], Vec::new());
        bed.config.send_replace(Arc::new(snapshot.at_version(round)));
        bed.publish(A, (0..5).map(|n| round.unsigned_abs() * 5 + n));
        tokio::time::sleep(SECOND / 50).await;
    }

    bed.until(DeliveryState::Success, 100).await;

    assert!(bodies(&bed.database).values().all(|count| *count == 1));
}
