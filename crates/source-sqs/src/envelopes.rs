//! Opens what other AWS services wrap around a message. Pure; each envelope only where the settings ask for it.
//!
//! - **SNS** without raw delivery: `Message` becomes the body and `MessageAttributes` the headers; the notification's
//!   `MessageId` is what endpoints are told as the message's id.
//! - **EventBridge**: the event becomes a CloudEvent in structured JSON: `detail-type` is its type, the first of the
//!   `resources` its subject, `detail` its data, byte for byte; `account` and `region` become extensions.
//! - **S3**: a notification of one record becomes a CloudEvent after the published adapter for S3 (CloudEvents
//!   repository, "adapters/aws-s3.md"): type `com.amazonaws.s3.` and the event's name, subject the object's key, data
//!   the record. S3 sends one record; were there several, the first names the event and the data is the notification.
//!   The test event that S3 sends when notifications are set up is no event.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::message::Incoming;

const STRUCTURED: &str = "application/cloudevents+json";

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(rename = "Type")]
    kind: Cow<'a, str>,
    #[serde(rename = "MessageId", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "TopicArn", borrow)]
    _topic: Cow<'a, str>,
    #[serde(rename = "Message", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "MessageAttributes", default)]
    attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "Value")]
    value: String,
}

/// Opens an SNS notification; false when the body is none.
pub(crate) fn open_sns(message: &mut Incoming) -> bool {
    let body = message.body.clone();
    let Some(notification) = parse::<Notification<'_>>(&body) else { return false };
    if notification.kind != "Notification" {
        return false;
    }
    for (name, attribute) in &notification.attributes {
        message.set_header(name, &attribute.value);
    }
    message.position.label = Some(notification.id.into_owned());
    message.body = Bytes::from(notification.message.into_owned());
    true
}

#[derive(Deserialize)]
struct BusEvent<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "detail-type", borrow)]
    detail_type: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    region: Option<Cow<'a, str>>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(borrow)]
    detail: &'a RawValue,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    awsaccount: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    awsregion: Option<&'a str>,
    data: &'a RawValue,
}

/// Turns an EventBridge event into a CloudEvent; false when the body is none.
pub(crate) fn open_event_bridge(message: &mut Incoming) -> bool {
    let body = message.body.clone();
    let Some(event) = parse::<BusEvent<'_>>(&body) else { return false };
    put(
        message,
        &CloudEvent {
            specversion: "1.0",
            id: &event.id,
            source: &event.source,
            kind: &event.detail_type,
            time: Some(&event.time),
            subject: event.resources.first().map(String::as_str).filter(|subject| !subject.is_empty()),
            datacontenttype: "application/json",
            awsaccount: event.account.as_deref(),
            awsregion: event.region.as_deref(),
            data: event.detail,
        },
    )
}

/// What an S3 notification turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum S3 {
    /// The body is no notification of S3.
    Other,
    /// It is a CloudEvent now.
    Event,
    /// It says that notifications were set up.
    Test,
}

#[derive(Deserialize)]
struct Records<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_source: String,
    aws_region: String,
    event_time: Option<String>,
    event_name: String,
    #[serde(default)]
    response_elements: BTreeMap<String, String>,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

#[derive(Deserialize)]
struct TestEvent<'a> {
    #[serde(rename = "Event", borrow)]
    event: Cow<'a, str>,
}

/// Turns an S3 notification into a CloudEvent.
pub(crate) fn open_s3(message: &mut Incoming) -> S3 {
    let body = message.body.clone();
    if parse::<TestEvent<'_>>(&body).is_some_and(|test| test.event == "s3:TestEvent") {
        return S3::Test;
    }
    let Some(notification) = parse::<Records<'_>>(&body) else { return S3::Other };
    let Some(first) = notification.records.first() else { return S3::Other };
    let Some(record) =
        parse::<Record>(first.get().as_bytes()).filter(|record| record.event_source == "aws:s3")
    else {
        return S3::Other;
    };
    let whole = parse::<&RawValue>(&body);
    let data = if notification.records.len() == 1 { Some(*first) } else { whole };
    let Some(data) = data else { return S3::Other };
    let element = |name: &str| record.response_elements.get(name).map_or("", String::as_str);
    let id = format!("{}.{}", element("x-amz-request-id"), element("x-amz-id-2"));
    // Without those elements the message's own id serves.
    let id = if id == "." { message.position.message_id.clone().unwrap_or_default() } else { id };
    let source = format!("{}.{}.{}", record.event_source, record.aws_region, record.s3.bucket.name);
    let event = CloudEvent {
        specversion: "1.0",
        id: &id,
        source: &source,
        kind: &format!("com.amazonaws.s3.{}", record.event_name.trim_start_matches("s3:")),
        time: record.event_time.as_deref(),
        subject: Some(&record.s3.object.key),
        datacontenttype: "application/json",
        awsaccount: None,
        awsregion: Some(&record.aws_region),
        data,
    };
    if put(message, &event) { S3::Event } else { S3::Other }
}

/// Whether the body is what Amazon's extended client leaves of a payload that it put into S3 (the public
/// `PayloadS3Pointer` of its payload-offloading library). It is not fetched.
pub(crate) fn is_s3_pointer(body: &[u8]) -> bool {
    const CLASSES: [&str; 2] = [
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        "com.amazon.sqs.javamessaging.MessageS3Pointer",
    ];
    body.trim_ascii_start().starts_with(b"[")
        && parse::<(Cow<'_, str>, &RawValue)>(body)
            .is_some_and(|(class, _)| CLASSES.contains(&class.as_ref()))
}

fn put(message: &mut Incoming, event: &CloudEvent<'_>) -> bool {
    let Ok(body) = serde_json::to_vec(event) else { return false };
    message.position.label = Some(event.id.to_owned());
    message.set_header("content-type", STRUCTURED);
    message.body = body.into();
    true
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests;
