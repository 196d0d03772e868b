//! Several events in one request: when it goes, what becomes of its deliveries, and what is in it.

use std::time::Duration;

use cloudevents::AttributesReader;
use longshore_core::duration::HumanDuration;
use longshore_core::endpoint::{BatchSettings, CloudEventsMode, Endpoint, EndpointStatus};
use longshore_core::{BatchId, DeliveryState};
use longshore_testkit::receiver::Reply as Answer;
use serde_json::Value;
use tokio::time::Instant;

use super::bed::{A, B, Bed, SECOND, endpoint, host, with};
use super::forms::{Wire, verify};
use super::transport::{Call, DOWN, OK, Reply};

const WAIT: Duration = Duration::from_secs(2);

fn batch(max_events: u16, max_wait: Duration) -> Option<BatchSettings> {
    Some(BatchSettings { max_events, max_wait: HumanDuration(max_wait) })
}

fn batched(max_events: u16, max_wait: Duration) -> Endpoint {
    with(endpoint(A), |endpoint| endpoint.settings.batch = batch(max_events, max_wait))
}

/// How many events are in a request.
fn events(call: &Call) -> usize {
    serde_json::from_slice::<Vec<Value>>(&call.body).unwrap().len()
}

fn sizes(calls: &[Call]) -> Vec<usize> {
    calls.iter().map(events).collect()
}

#[tokio::test(start_paused = true)]
async fn a_full_request_goes_at_once_and_the_rest_when_its_first_event_has_waited() {
    let bed = Bed::with(vec![batched(10, WAIT), endpoint(B)]);
    let process = bed.start();
    let start = Instant::now();

    bed.publish(A, 0..25);
    bed.publish(B, 25..28);
    bed.until(DeliveryState::Success, 28).await;

    let calls = bed.script.calls_to(&host(A));
    assert_eq!(sizes(&calls), [10, 10, 5]);
    assert!(calls[1].at - start < SECOND, "{:?}", calls[1].at - start);
    let waited = calls[2].at - start;
    assert!(waited >= WAIT && waited < WAIT + SECOND / 2, "{waited:?}");
    assert!(bed.script.calls_to(&host(B)).iter().all(|call| call.at - start < SECOND), "nobody else waits");
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn requests_count_against_the_endpoints_concurrency_and_events_do_not() {
    let bed = Bed::with(vec![with(batched(50, SECOND), |endpoint| endpoint.max_concurrency = 2)]);
    bed.script.on(&host(A), [Reply::Status(200, SECOND)]);
    let process = bed.start();

    bed.publish(A, 0..400);
    bed.until(DeliveryState::Success, 400).await;

    let calls = bed.script.calls_to(&host(A));
    assert_eq!(bed.script.most_to(&host(A)), 2);
    assert_eq!(sizes(&calls).iter().sum::<usize>(), 400);
    assert!(calls.len() <= 12, "{:?}", sizes(&calls));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_judged_each_by_itself_and_retries_regroup() {
    let bed = Bed::with(vec![batched(3, WAIT)]);
    let process = bed.start();
    bed.script.on(&host(A), [DOWN, OK]);

    bed.publish(A, 0..3);
    bed.until(DeliveryState::Retry, 3).await;
    // Falls due in five seconds; by then one more waits for company.
    tokio::time::sleep(4 * SECOND).await;
    bed.publish(A, [3]);
    bed.until(DeliveryState::Success, 4).await;

    let calls = bed.script.calls_to(&host(A));
    assert_eq!(sizes(&calls), [3, 3, 1]);
    let deliveries = bed.database.deliveries();
    let mut attempts: Vec<u16> = deliveries.iter().map(|delivery| delivery.attempts).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 2, 2]);
    for delivery in &deliveries {
        let numbers: Vec<u16> = delivery.history.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=delivery.attempts).collect::<Vec<_>>());
    }
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_longer_than_most_claims_ends_in_a_request_all_the_same() {
    let bed = Bed::with(vec![with(batched(100, 60 * SECOND), |endpoint| endpoint.http_timeout = SECOND)]);
    let process = bed.start();
    bed.script.on(&host(A), [DOWN, OK]);

    bed.publish(A, 0..5);
    bed.until(DeliveryState::Retry, 5).await;
    tokio::time::sleep(50 * SECOND).await;
    assert_eq!(process.ledger.held().0, 5, "claimed once: the claim lasts as long as the wait");
    bed.until(DeliveryState::Success, 5).await;

    let calls = bed.script.calls_to(&host(A));
    assert_eq!(sizes(&calls), [5, 5]);
    let again = calls[1].at - calls[0].at;
    assert!(again >= 65 * SECOND && again < 70 * SECOND, "{again:?}");
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_company_is_discarded_with_its_endpoint_and_kept_while_it_pauses() {
    for (status, state) in [
        (EndpointStatus::Inactive, DeliveryState::Discarded),
        (EndpointStatus::Paused, DeliveryState::Scheduled),
    ] {
        let bed = Bed::with(vec![batched(10, 30 * SECOND)]);
        let process = bed.start();
        bed.publish(A, 0..4);
        bed.wait("handed over", |database| database.count_in(DeliveryState::Processing) == 4).await;

        bed.configure(vec![with(batched(10, 30 * SECOND), |endpoint| endpoint.status = status)], 1);
        bed.until(state, 4).await;

        assert!(bed.script.calls().is_empty());
        assert_eq!(process.ledger.held(), (0, 0));
        if status == EndpointStatus::Paused {
            bed.configure(vec![batched(10, 30 * SECOND)], 2);
            bed.until(DeliveryState::Success, 4).await;
            assert_eq!(sizes(&bed.script.calls()), [4]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_takes_its_waiting_events_with_it() {
    let bed = Bed::with(vec![batched(10, 30 * SECOND)]);
    let process = bed.start();
    bed.publish(A, 0..4);
    bed.wait("handed over", |database| database.count_in(DeliveryState::Processing) == 4).await;

    bed.configure(vec![endpoint(B)], 1);
    bed.until(DeliveryState::Discarded, 4).await;

    assert!(bed.script.calls().is_empty());
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_what_waits_for_company() {
    let bed = Bed::with(vec![batched(10, 30 * SECOND)]);
    let process = bed.start();
    bed.publish(A, 0..4);
    bed.wait("handed over", |database| database.count_in(DeliveryState::Processing) == 4).await;
    let start = Instant::now();

    process.stop().await;
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    assert!(bed.script.calls().is_empty());

    let _next = bed.start();
    bed.until(DeliveryState::Success, 4).await;
    assert_eq!(sizes(&bed.script.calls()), [4]);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_client_parks_every_delivery_of_the_request() {
    let bed = Bed::with(vec![batched(3, SECOND)]);
    let process = bed.start();
    bed.script.on(&host(A), [Reply::Panic, OK]);

    bed.publish(A, 0..3);
    bed.until(DeliveryState::Success, 3).await;

    assert_eq!(sizes(&bed.script.calls()), [3, 3]);
    assert!(bed.database.deliveries().iter().all(|delivery| delivery.attempts == 1));
    assert_eq!(process.ledger.held(), (0, 0));
}

#[tokio::test]
async fn a_batch_is_verified_like_any_webhook_and_every_delivery_has_its_answer() {
    let wire = Wire::start(|endpoint| endpoint.settings.batch = batch(3, 10 * SECOND)).await;
    wire.receiver.script("/hook", [Answer::status(500).body("busy"), Answer::default().body("ok")]);
    for n in 1..=3 {
        wire.publish(
            n,
            &format!(r#"{{ "n" : {n}.0 }}"#),
            r#""X-A":"1\r\nx-forged: 1","x-a":"2","host":"evil""#,
        );
    }
    let deliveries = wire.until(DeliveryState::Success, 3).await;

    let requests = wire.receiver.requests();
    let id = BatchId::derive(deliveries.iter().map(|delivery| delivery.id)).to_string();
    for (request, attempt) in requests.iter().zip(["1", "2"]) {
        verify(request);
        assert_eq!(request.webhook_id(), Some(id.as_str()));
        assert_eq!(
            (request.header("webhook-batch"), request.header("webhook-attempt")),
            (Some("3"), Some(attempt))
        );
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!((request.header("webhook-event-type"), request.header("x-forged")), (None, None));
        let body = std::str::from_utf8(&request.body).unwrap();
        assert!(body.contains(r#""data":{"n":1.0}}"#), "{body}");
    }
    let items = requests[0].json();
    let mut expected: Vec<String> = deliveries.iter().map(|delivery| delivery.event.to_string()).collect();
    let mut ids: Vec<&str> =
        items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    expected.sort_unstable();
    ids.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(items[0]["type"], "invoice.paid");
    assert_eq!(items[0]["headers"]["x-a"], "1\r\nx-forged: 1");
    assert!(items[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&items[0]["headers"]["host"], items[0].get("content_type")), (&Value::Null, None));
    for delivery in &deliveries {
        let answers: Vec<_> = delivery.history.iter().map(|attempt| attempt.response_body.clone()).collect();
        assert_eq!(answers, ["busy", "ok"]);
        assert_eq!(delivery.history[0].request_headers.get("webhook-id"), Some(id.as_str()));
    }
    let mut attempts: Vec<_> =
        deliveries.iter().flat_map(|one| one.history.iter().map(|made| made.id)).collect();
    attempts.sort_unstable();
    attempts.dedup();
    assert_eq!(attempts.len(), 6, "an id for each");
}

#[tokio::test]
async fn a_batch_of_cloudevents_is_read_by_the_official_parser_also_with_one_event() {
    let wire = Wire::start(|endpoint| {
        endpoint.settings.batch = batch(2, Duration::from_millis(300));
        endpoint.settings.cloudevents = Some(CloudEventsMode::Structured);
    })
    .await;

    for n in 1..=3 {
        wire.publish(n, &format!(r#"{{"n":{n}}}"#), "");
    }
    let deliveries = wire.until(DeliveryState::Success, 3).await;

    let mut ids = Vec::new();
    for (request, count) in wire.receiver.requests().iter().zip([2, 1]) {
        verify(request);
        assert_eq!(request.header("content-type"), Some("application/cloudevents-batch+json"));
        assert_eq!(request.header("webhook-batch"), Some(count.to_string().as_str()));
        let events: Vec<cloudevents::Event> = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(events.len(), count);
        for event in &events {
            assert_eq!(event.ty(), "invoice.paid");
            assert!(event.extension("traceparent").unwrap().to_string().starts_with("00-"));
            ids.push(event.id().to_owned());
        }
    }
    let mut expected: Vec<String> = deliveries.iter().map(|delivery| delivery.event.to_string()).collect();
    expected.sort_unstable();
    ids.sort_unstable();
    assert_eq!(ids, expected);
}
