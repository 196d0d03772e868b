//! Refusals and faults that AWS knows and test servers do not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_source::{Context, Source as _, SourceError, State};
use longshore_source_sqs::{SqsConfig, check};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::SOON;
use crate::support::scripted::{Answer, Scripted};
use crate::support::{MANY, ack, connect, take};

/// What an empty queue answers.
fn usual(operation: &str) -> Answer {
    Ok(match operation {
        "GetQueueUrl" => json!({ "QueueUrl": "http://sqs/000000000000/scripted" }),
        "GetQueueAttributes" => json!({ "Attributes": { "VisibilityTimeout": "30", "RedrivePolicy": "{}" } }),
        "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => json!({ "Successful": [], "Failed": [] }),
        _ => json!({}),
    })
}

fn config(server: &Scripted) -> SqsConfig {
    serde_json::from_value(server.settings()).unwrap()
}

#[tokio::test]
async fn what_is_denied_at_the_start_ends_it() {
    for (denied, code) in [
        ("GetQueueUrl", "AccessDeniedException"),
        ("ReceiveMessage", "AccessDeniedException"),
        ("ReceiveMessage", "KmsAccessDenied"),
        ("GetQueueUrl", "InvalidClientTokenId"),
    ] {
        let server = Scripted::start(
            move |operation, _| if operation == denied { Err(code) } else { usual(operation) },
        )
        .await;
        for error in [connect(config(&server)).await.unwrap_err(), check(&config(&server)).await.unwrap_err()]
        {
            assert!(
                matches!(&error, SourceError::Denied(text) if text.contains(code)),
                "{denied}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_check_finds_the_missing_right_to_settle() {
    for denied in ["DeleteMessage", "ChangeMessageVisibilityBatch"] {
        let refuse = move |operation: &str, _: &Value| {
            if operation == denied { Err("AccessDeniedException") } else { usual(operation) }
        };
        let server = Scripted::start(refuse).await;
        let checked = check(&config(&server)).await;
        assert!(matches!(checked, Err(SourceError::Denied(_))), "{denied}: {checked:?}");
    }
}

#[tokio::test]
async fn attributes_that_may_not_be_read_are_a_warning() {
    let asked = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&asked);
    let server = Scripted::start(move |operation, input| match operation {
        "GetQueueAttributes" => Err("AccessDeniedException"),
        "ReceiveMessage" => {
            *noted.lock().unwrap() = input["VisibilityTimeout"].as_u64();
            usual(operation)
        }
        _ => usual(operation),
    })
    .await;

    let warnings = check(&config(&server)).await.unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("sqs:GetQueueAttributes"), "{warnings:?}");
    let source = connect(config(&server)).await.unwrap();
    // Not known, hence asked for.
    assert_eq!(source.features().lease, Some(Duration::from_secs(30)));
    assert_eq!(*asked.lock().unwrap(), Some(30));
    source.close(SOON).await.unwrap();
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let server = Scripted::start(move |operation, _| {
        // The first one is that of the start.
        let number = if operation == "ReceiveMessage" { count.fetch_add(1, Ordering::SeqCst) } else { 0 };
        if (1..=4).contains(&number) { Err("OverLimit") } else { usual(operation) }
    })
    .await;
    let context = Context::new("sqs", "throttled");
    let status = context.status.clone();
    let mut source = longshore_source_sqs::connect(config(&server), context).await.unwrap();

    let mut was_failing = false;
    let recovered = async {
        while status.report().reconnects == 0 {
            let report = status.report();
            was_failing |=
                report.state == State::Failing && report.problem.is_some_and(|why| why.contains("OverLimit"));
            assert!(timeout(Duration::from_millis(10), source.recv(MANY)).await.is_err());
        }
    };
    timeout(SOON, recovered).await.expect("throttling was not waited out");

    assert!(was_failing, "throttling went unnoticed");
    source.close(SOON).await.unwrap();
}

/// One of ten is refused for no fault of ours, twice; another one is refused for good.
#[tokio::test]
async fn what_fails_in_a_batch_is_tried_again_alone() {
    let handed_out = AtomicUsize::new(0);
    let deleted = Arc::new(Mutex::new(Vec::<Vec<String>>::new()));
    let noted = Arc::clone(&deleted);
    let server = Scripted::start(move |operation, input| match operation {
        "ReceiveMessage" if handed_out.fetch_add(1, Ordering::SeqCst) == 0 => {
            let message = |n: usize| json!({ "MessageId": format!("m{n}"), "ReceiptHandle": format!("r{n}"), "Body": "x" });
            Ok(json!({ "Messages": (0..10).map(message).collect::<Vec<_>>() }))
        }
        "DeleteMessageBatch" => {
            let entries = input["Entries"].as_array().unwrap();
            let receipts = entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap().to_owned());
            let mut requests = noted.lock().unwrap();
            requests.push(receipts.collect());
            let mut failed = Vec::new();
            for entry in entries {
                let (id, receipt) = (&entry["Id"], entry["ReceiptHandle"].as_str().unwrap());
                if receipt == "r3" && requests.len() <= 2 {
                    failed.push(json!({ "Id": id, "SenderFault": false, "Code": "InternalError" }));
                }
                if receipt == "r7" {
                    failed.push(json!({ "Id": id, "SenderFault": true, "Code": "ReceiptHandleIsInvalid" }));
                }
            }
            Ok(json!({ "Successful": [], "Failed": failed }))
        }
        _ => usual(operation),
    })
    .await;
    let context = Context::new("sqs", "partial");
    let status = context.status.clone();
    let mut source = longshore_source_sqs::connect(config(&server), context).await.unwrap();

    ack(take(&mut source, 10, SOON).await);
    let closed = source.close(SOON).await;

    let requests = deleted.lock().unwrap().clone();
    assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1, 1], "{requests:?}");
    assert_eq!((&requests[1][0], &requests[2][0]), (&"r3".to_owned(), &"r3".to_owned()));
    assert_eq!(status.report().returned, 1, "exactly the one that is refused for good is stale");
    assert!(matches!(&closed, Err(SourceError::Disconnected(text)) if text.contains("1 ack")), "{closed:?}");
}
