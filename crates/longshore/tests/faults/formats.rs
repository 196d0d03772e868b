//! One queue, every form of message: the contract's envelope and CloudEvents in each spelling become the same rows.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::publication::Publication;

use crate::brokers::on;
use crate::load::Published;
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Messages of each form.
const EACH: u64 = 20;

on!(every_form_of_message_becomes_the_same_row: rabbitmq, kafka, sqs, pubsub);

/// White space and a number that no float holds: the producer's bytes are kept, compacted.
fn data(number: u64) -> String {
    format!(r#"{{"n": {number}, "amount": 12345678901234567890}}"#)
}

fn envelope(number: u64) -> Publication {
    let body = format!(r#"{{"event_type": "invoice.paid", "data": {}}}"#, data(number));
    Publication::new(body).header("x-convoy-message-type", "broadcast")
}

fn structured(number: u64, content_type: Option<&str>) -> Publication {
    let message = Publication::new(format!(
        r#"{{"specversion": "1.0", "id": "{number}", "source": "/shop", "type": "invoice.paid", "data": {}}}"#,
        data(number)
    ));
    match content_type {
        Some(content_type) => message.header("content-type", content_type),
        None => message,
    }
}

fn binary(number: u64, prefix: &str) -> Publication {
    let id = number.to_string();
    let attributes = [("specversion", "1.0"), ("id", &id), ("source", "/shop"), ("type", "invoice.paid")];
    let message = Publication::new(data(number)).header("content-type", "application/json");
    attributes
        .iter()
        .fold(message, |message, (name, value)| message.header(&format!("{prefix}{name}"), value))
}

/// How often each form can be said on that broker: SQS allows no colon in the name of an attribute.
fn forms(kind: BrokerKind) -> Vec<Box<dyn Fn(u64) -> Publication>> {
    let mut forms: Vec<Box<dyn Fn(u64) -> Publication>> = vec![
        Box::new(envelope),
        Box::new(|number| structured(number, Some("application/cloudevents+json"))),
        Box::new(|number| structured(number, Some("Application/CloudEvents+JSON; charset=utf-8"))),
        Box::new(|number| structured(number, None)),
        Box::new(|number| binary(number, "ce-")),
        Box::new(|number| binary(number, "ce_")),
        Box::new(|number| binary(number, "cloudEvents_")),
    ];
    if kind != BrokerKind::Sqs {
        forms.push(Box::new(|number| binary(number, "cloudEvents:")));
    }
    forms
}

async fn every_form_of_message_becomes_the_same_row(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let forms = forms(kind);
    let numbers = 0..EACH * forms.len() as u64;
    let messages: Vec<_> =
        numbers.clone().map(|number| forms[number as usize % forms.len()](number)).collect();

    stage.queue.publish(messages).await;
    stage.receiver.wait_for(numbers.clone().count(), PATIENCE).await;
    let tally = stage.finish(&mut gateway, &Published::of(numbers.clone()), PATIENCE).await;

    let note = format!("{} forms, {EACH} messages of each, mixed", forms.len());
    let verdict = tally.pass(&stage, record::FORMATS, note);
    let rows = "SELECT count(DISTINCT (event_type, kind, owner_id, endpoint_id, content_type)) FROM events";
    assert_eq!(stage.count(rows).await, 1, "the rows differ by the form of their message");
    let kept = r#"SELECT count(*) FROM events
        WHERE convert_from(body, 'UTF8') ~ '^{"n":\d+,"amount":12345678901234567890}$'"#;
    assert_eq!(stage.count(kept).await, numbers.count() as i64, "the payload is the producer's");
    assert_eq!(tally.repeated, 0, "each is delivered once");
    verdict.append();
}
