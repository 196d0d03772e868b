//! Messages that are not the contract's envelope, from the broker to the endpoint: by a mapping, as CloudEvents, and
//! with payloads of any media type.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::event::Target;
use longshore_core::filter::FilterSet;
use longshore_core::quarantine::Reason;
use longshore_core::{DeliveryState, EndpointId, Snapshot, Subscription, SubscriptionId, TypePattern};
use longshore_pipeline::ingest::Origin;
use longshore_source::memory::{MemorySource, Publication};
use longshore_source::{Features, Message, Source, SourceError, Status};
use serde_json::{Value, json};

use super::bed::{A, B, Bed, PROJECT, Process, SECOND, SOURCE, endpoint, host, project, retries, with};

const OWNER: &str = "acct_42";

/// The memory source with what a log adds: a record's key, and records without a value.
struct Log(MemorySource);

fn as_record(mut message: Message) -> Message {
    let key = message.headers.iter().position(|(name, _)| name == "key");
    message.position.key = key.map(|at| message.headers.remove(at).1);
    message.tombstone = message.body.is_empty();
    message
}

impl Source for Log {
    fn features(&self) -> Features {
        self.0.features()
    }

    async fn recv(&mut self, max: NonZeroUsize) -> Result<Vec<Message>, SourceError> {
        Ok(self.0.recv(max).await?.into_iter().map(as_record).collect())
    }

    async fn close(self, deadline: Duration) -> Result<(), SourceError> {
        self.0.close(deadline).await
    }
}

fn subscription(id: u128, endpoint: EndpointId, body: Option<&Value>) -> Subscription {
    let filters = body.map(|body| (TypePattern::Any, FilterSet::parse(Some(body), None).unwrap()));
    Subscription {
        id: SubscriptionId::from_u128(id),
        project: PROJECT,
        endpoint,
        name: "s".to_owned(),
        event_types: vec![TypePattern::Any],
        filters: filters.into_iter().collect(),
        retry: None,
        ordered: None,
        source: None,
    }
}

/// A wants everything; B wants what its filter lets through.
fn bed(filter: Option<&Value>) -> Bed {
    let bed = Bed::new();
    let owned = |id| with(endpoint(id), |endpoint| endpoint.owner_id = Some(OWNER.to_owned()));
    let subscriptions = vec![subscription(1, A, None), subscription(2, B, filter)];
    let snapshot = Snapshot::new(vec![project(retries(&[5]))], vec![owned(A), owned(B)], subscriptions);
    bed.config.send_replace(Arc::new(snapshot));
    bed
}

fn start(bed: &Bed, mapping: Value) -> Process {
    let broker = bed.broker.clone();
    let connect = move || Log(MemorySource::connect(&broker, NonZeroUsize::new(200).unwrap()));
    let origin = Origin {
        source: Some((SOURCE, PROJECT)),
        kind: "memory",
        status: Status::new("memory", "mapping"),
        mapping: longshore_pipeline::ingest::fixed(serde_json::from_value(mapping).unwrap()),
    };
    bed.start_with(connect, origin, bed.script.clone(), bed.clock)
}

fn publication(id: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Publication {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Publication {
        headers: headers.collect(),
        message_id: Some(id.to_owned()),
        ..Publication::from(body.into())
    }
}

async fn acked(bed: &Bed, count: u64) {
    bed.wait("every ack", |_| bed.broker.stats().acked == count).await;
}

#[tokio::test(start_paused = true)]
async fn producers_need_not_know_our_envelope() {
    let bed = bed(None);
    let process = start(
        &bed,
        json!({"event_type": "header:x-type", "owner": "body:account", "idempotency_key": "body:id", "data": "body:order"}),
    );
    for n in 0..20 {
        let body = json!({"account": OWNER, "id": n, "order": {"n": n}}).to_string();
        bed.broker.publish(publication(&format!("m-{n}"), &[("X-Type", "order.paid")], body));
    }
    // Without the owner it is for: quarantined, not sent to everybody.
    bed.broker.publish(publication("lost", &[("x-type", "order.paid")], r#"{"order":"s3cret"}"#));
    // A second message with the producer's key of the first.
    bed.broker.publish(publication(
        "again",
        &[("x-type", "order.paid")],
        json!({"account": OWNER, "id": 0, "order": 0}).to_string(),
    ));

    bed.until(DeliveryState::Success, 40).await;
    acked(&bed, 22).await;

    assert_eq!(bed.script.calls_to(&host(A)).len(), 20);
    assert!(bed.script.calls().iter().any(|call| &call.body[..] == br#"{"n":19}"#));
    let events = bed.database.events();
    assert_eq!((events.len(), events.iter().filter(|stored| stored.duplicate).count()), (21, 1));
    assert!(events.iter().all(|stored| stored.event.target == Target::Fanout(OWNER.to_owned())));
    let quarantined = bed.database.quarantined();
    assert_eq!((quarantined.len(), quarantined[0].reason), (1, Reason::InvalidField));
    assert!(quarantined[0].detail.contains("`owner`") && !quarantined[0].detail.contains("s3cret"));
    assert_eq!(&quarantined[0].body[..], br#"{"order":"s3cret"}"#);
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cloud_event_is_delivered_once_whatever_mode_each_copy_comes_in() {
    let bed = bed(None);
    let _process = start(&bed, json!({}));
    let body =
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","ownerid":"acct_42","data":{"n":1}}"#;
    let names = ["specversion", "id", "source", "type", "ownerid"];
    let values = ["1.0", "1", "/s", "t", OWNER];
    bed.broker.publish(publication("m-1", &[("content-type", "application/cloudevents+json")], body));
    bed.broker.publish(publication("m-2", &[], body));
    for (n, prefix) in ["ce-", "ce_", "cloudEvents_", "cloudEvents:"].into_iter().enumerate() {
        let named: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
        let headers: Vec<(&str, &str)> = named.iter().map(String::as_str).zip(values).collect();
        bed.broker.publish(publication(&format!("b-{n}"), &headers, r#"{"n":1}"#));
    }
    bed.broker.publish(publication("batch", &[("content-type", "application/cloudevents-batch+json")], "[]"));

    acked(&bed, 7).await;
    bed.until(DeliveryState::Success, 2).await;

    let events = bed.database.events();
    assert_eq!((events.len(), events.iter().filter(|stored| stored.duplicate).count()), (6, 5));
    assert_eq!(bed.script.calls().len(), 2);
    for stored in &events {
        assert_eq!((&stored.event.body[..], stored.event.event_type.as_str()), (&br#"{"n":1}"#[..], "t"));
        assert!(stored.event.headers.iter().all(|(name, _)| name == "x-broker-message-id"));
    }
    let quarantined = bed.database.quarantined();
    assert_eq!((quarantined.len(), quarantined[0].reason), (1, Reason::Undecodable));
    assert!(quarantined[0].detail.contains("send each event by itself"), "{}", quarantined[0].detail);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_no_json_reaches_those_whose_filter_does_not_ask_about_it() {
    let bed = bed(Some(&json!({"n": 1})));
    let _process = start(&bed, json!({"event_type": "const:file.made", "data": "raw"}));
    bed.broker.publish(publication(
        "m-1",
        &[("content-type", "application/avro")],
        b"\0\xff{\"n\":1}".to_vec(),
    ));
    // It reads as JSON, and its producer says that it is not.
    bed.broker.publish(publication("m-2", &[("content-type", "text/plain")], r#"{"n":1}"#));
    bed.broker.publish(publication("m-3", &[("content-type", "application/json")], r#"{ "n":1}"#));

    bed.until(DeliveryState::Success, 4).await;
    acked(&bed, 3).await;

    assert_eq!((bed.script.calls_to(&host(A)).len(), bed.script.calls_to(&host(B)).len()), (3, 1));
    assert_eq!(&bed.script.calls_to(&host(B))[0].body[..], br#"{ "n":1}"#);
    let mut sent: Vec<_> = bed
        .script
        .calls_to(&host(A))
        .into_iter()
        .map(|call| (call.body.to_vec(), call.content_type.unwrap()))
        .collect();
    sent.sort();
    assert_eq!(sent[0], (b"\0\xff{\"n\":1}".to_vec(), "application/avro".to_owned()));
    assert_eq!(sent[2], (br#"{"n":1}"#.to_vec(), "text/plain".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_key_of_a_log_is_quarantined_unless_the_mapping_makes_an_event_of_it() {
    let silent = bed(None);
    let _process = start(&silent, json!({"event_type": "const:order.changed", "owner": "key"}));
    silent.broker.publish(publication("m-1", &[("key", OWNER)], ""));
    acked(&silent, 1).await;
    assert_eq!((silent.database.quarantined().len(), silent.database.events().len()), (1, 0));

    let telling = bed(None);
    let _process = start(
        &telling,
        json!({
            "event_type": "const:order.changed", "owner": "key",
            "tombstones": "event", "tombstone_event_type": "order.deleted",
        }),
    );
    telling.broker.publish(publication("m-1", &[("key", OWNER)], ""));
    telling.broker.publish(publication("m-2", &[("key", OWNER)], "{}"));
    telling.until(DeliveryState::Success, 4).await;

    let mut types: Vec<_> = telling
        .database
        .events()
        .into_iter()
        .map(|stored| (stored.event.event_type.clone(), stored.event.body.to_vec()))
        .collect();
    types.sort();
    assert_eq!(
        types,
        [("order.changed".to_owned(), b"{}".to_vec()), ("order.deleted".to_owned(), b"null".to_vec())]
    );
    assert!(
        telling.database.events().iter().all(|stored| stored.event.ordering_key.as_deref() == Some(OWNER))
    );
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_message_makes_no_second_event_whatever_its_form() {
    let bed = bed(None);
    let _process = start(&bed, json!({"event_type": "header:x-type", "owner": "ce:ownerid"}));
    bed.database.set_latency(SECOND / 2);
    let at = Some(longshore_core::Clock::now(&bed.clock).as_millis());
    for n in 0..20 {
        let body =
            format!(r#"{{"specversion":"1.0","id":"{n}","source":"/s","type":"t","ownerid":"acct_42"}}"#);
        bed.broker.publish(Publication { timestamp_ms: at, ..publication(&format!("m-{n}"), &[], body) });
    }
    tokio::time::sleep(SECOND / 4).await;
    bed.broker.crash();
    acked(&bed, 20).await;
    bed.until(DeliveryState::Success, 40).await;

    assert!(bed.broker.stats().redelivered > 0);
    let events = bed.database.events();
    assert_eq!((events.len(), events.iter().filter(|stored| stored.duplicate).count()), (20, 0));
    assert_eq!(bed.script.calls().len(), 40);
}
