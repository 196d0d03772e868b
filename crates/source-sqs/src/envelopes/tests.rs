use serde_json::{Value, json};

use super::*;

fn incoming(body: impl Into<Bytes>) -> Incoming {
    let mut incoming = Incoming { body: body.into(), ..Incoming::default() };
    incoming.position.message_id = Some("sqs-1".to_owned());
    incoming
}

fn json_of(message: &Incoming) -> Value {
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn a_notification_of_sns_is_its_message_with_its_attributes() {
    let notification = json!({
        "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:t",
        "Subject": "s", "Message": "{\"n\":9007199254740993}", "Timestamp": "2026-01-01T00:00:00.000Z",
        "MessageAttributes": { "ce-type": { "Type": "String", "Value": "paid" }, "b": { "Type": "Binary", "Value": "AAE=" } }
    });
    let mut message = incoming(notification.to_string());
    message.headers.push(("CE-Type".to_owned(), "other".to_owned()));

    assert!(open_sns(&mut message));

    assert_eq!(message.body, r#"{"n":9007199254740993}"#);
    assert_eq!(message.position.label.as_deref(), Some("sns-1"));
    assert_eq!(message.position.message_id.as_deref(), Some("sqs-1"));
    assert_eq!((message.header("ce-type"), message.header("b")), (Some("paid"), Some("AAE=")));
    assert_eq!(message.headers.len(), 2);
}

#[test]
fn what_is_no_notification_of_sns_stays() {
    for body in [
        r#"{"event_type":"a","data":{}}"#,
        r#"{"Type":"SubscriptionConfirmation","MessageId":"1","TopicArn":"t","Message":"m"}"#,
        r#"{"Type":"Notification","Message":"m"}"#,
        "not json",
        "",
    ] {
        let mut message = incoming(body);
        assert!(!open_sns(&mut message), "{body}");
        assert_eq!(message, incoming(body));
    }
}

#[test]
fn an_event_of_event_bridge_is_a_cloud_event_with_its_detail_untouched() {
    let body = r#"{"version":"0","id":"6a7e8feb","detail-type":"EC2 Instance State-change","source":"aws.ec2",
        "account":"111122223333","time":"2017-12-22T18:43:48Z","region":"us-west-1",
        "resources":["arn:aws:ec2:us-west-1:123456789012:instance/i-1"],"detail":{"b":1.10,  "a":12345678901234567890}}"#;
    let mut message = incoming(body);
    message.headers.push(("Content-Type".to_owned(), "text/plain".to_owned()));

    assert!(open_event_bridge(&mut message));

    assert!(message.body.ends_with(br#""data":{"b":1.10,  "a":12345678901234567890}}"#));
    let event = json_of(&message);
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "6a7e8feb"),
        ("type", "EC2 Instance State-change"),
        ("source", "aws.ec2"),
        ("time", "2017-12-22T18:43:48Z"),
        ("subject", "arn:aws:ec2:us-west-1:123456789012:instance/i-1"),
        ("awsaccount", "111122223333"),
        ("awsregion", "us-west-1"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(event[name], value, "{name}");
    }
    assert_eq!(message.headers, [("content-type".to_owned(), STRUCTURED.to_owned())]);
    assert_eq!(message.position.label.as_deref(), Some("6a7e8feb"));
}

#[test]
fn what_is_no_event_of_event_bridge_stays() {
    for body in [r#"{"id":"1","source":"a","time":"t","detail":{}}"#, "[]", "{}"] {
        assert!(!open_event_bridge(&mut incoming(body)), "{body}");
    }
}

fn record(name: &str) -> Value {
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1",
        "eventTime": "2026-01-01T00:00:00.000Z", "eventName": name,
        "responseElements": { "x-amz-request-id": "C3D1", "x-amz-id-2": "FMyU" },
        "s3": { "bucket": { "name": "photos" }, "object": { "key": "a%2Fb.jpg", "size": 1024 } }
    })
}

#[test]
fn a_notification_of_s3_is_a_cloud_event() {
    let mut message = incoming(json!({ "Records": [record("ObjectCreated:Put")] }).to_string());

    assert_eq!(open_s3(&mut message), S3::Event);

    let event = json_of(&message);
    assert_eq!(event["type"], "com.amazonaws.s3.ObjectCreated:Put");
    assert_eq!(event["source"], "aws:s3.eu-west-1.photos");
    assert_eq!((&event["id"], &event["subject"]), (&json!("C3D1.FMyU"), &json!("a%2Fb.jpg")));
    assert_eq!(event["data"], record("ObjectCreated:Put"));
    assert_eq!(message.header("content-type"), Some(STRUCTURED));
}

#[test]
fn several_records_stay_one_event() {
    let records = json!({ "Records": [record("ObjectCreated:Put"), record("ObjectRemoved:Delete")] });
    let mut message = incoming(records.to_string());

    assert_eq!(open_s3(&mut message), S3::Event);

    let event = json_of(&message);
    assert_eq!(event["type"], "com.amazonaws.s3.ObjectCreated:Put");
    assert_eq!(event["data"], records);
}

#[test]
fn the_test_event_of_s3_is_none_and_other_bodies_stay() {
    let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"photos","RequestId":"5582"}"#;
    assert_eq!(open_s3(&mut incoming(test)), S3::Test);
    for body in
        [r#"{"Records":[]}"#, r#"{"Records":[{"eventSource":"aws:ses"}]}"#, r#"{"Event":"other"}"#, "x"]
    {
        assert_eq!(open_s3(&mut incoming(body)), S3::Other, "{body}");
    }
}

#[test]
fn a_pointer_of_the_extended_client_is_recognised() {
    let pointer =
        r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#;
    assert!(is_s3_pointer(pointer.as_bytes()));
    for body in [r#"["a",{}]"#, "[1,2]", "{}", ""] {
        assert!(!is_s3_pointer(body.as_bytes()), "{body}");
    }
}
