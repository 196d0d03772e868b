//! What follows from outcomes beyond their deliveries: endpoints switched off, meta events, alerts.

use std::time::Duration;

use longshore_core::notice::{DisableReason, Notice, NoticeKind};
use longshore_core::ports::{Aftermath, ClaimedDelivery, DeliveryQueue, Next, Notices, Outcome};
use longshore_core::retry::End;
use longshore_core::{ProcessId, SourceId};
use longshore_store::notices::{Channel, MetaAttempt, MetaNext};
use longshore_store::{SourceReport, SourceStatus, Store};
use serde_json::{Value, json};

use super::bed::{Bed, ENDPOINT, PROJECT, attempted, claim};

const SOON: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(3_600);

/// A project that is told of everything by every way but Slack, with one endpoint.
async fn told() -> Bed {
    let bed = Bed::new().await;
    let settings = json!({
        "meta_events": {"enabled": true, "url": "https://a.example/", "event_types": [
            "endpoint.disabled", "eventdelivery.failed", "eventdelivery.success", "source.failing", "source.recovered"
        ]},
        "alerts": {"emails": ["ops@a.example"]},
    });
    bed.run(&format!(
        "INSERT INTO projects (id, name, settings) VALUES ('{}', 'shop', '{settings}')",
        PROJECT.as_uuid()
    ))
    .await;
    bed.run(&format!(
        "INSERT INTO endpoints (project_id, id, name, url) VALUES ('{}', '{}', 'e', 'https://e.example/')",
        PROJECT.as_uuid(),
        ENDPOINT.as_uuid()
    ))
    .await;
    bed
}

impl Bed {
    /// The kinds and data of the meta events so far, in their order.
    async fn told(&self) -> Vec<(String, Value)> {
        sqlx::query_as("SELECT event_type, data FROM meta_events ORDER BY id")
            .fetch_all(&self.sql)
            .await
            .unwrap()
    }

    async fn kinds(&self) -> Vec<String> {
        self.told().await.into_iter().map(|(kind, _)| kind).collect()
    }

    async fn status(&self) -> (String, Option<String>) {
        let status = sqlx::query_as("SELECT status, status_reason FROM endpoints");
        status.fetch_one(&self.sql).await.unwrap()
    }
}

/// A failed attempt after which the delivery is given up, in a project that switches failing endpoints off.
fn ended(delivery: &ClaimedDelivery, end: End) -> Outcome {
    let aftermath = Aftermath { end: Some(end), is_told: true, is_watched: true, ..Aftermath::default() };
    Outcome { aftermath, ..attempted(delivery, Next::Failure) }
}

fn watched(delivery: &ClaimedDelivery, next: Next) -> Outcome {
    let aftermath = Aftermath { is_watched: true, ..Aftermath::default() };
    Outcome { aftermath, ..attempted(delivery, next) }
}

/// The same delivery, claimed for its next attempt.
async fn again(bed: &Bed, store: &Store) -> ClaimedDelivery {
    bed.run("UPDATE schedule SET due_at = now()").await;
    claim(store, 1).await.remove(0)
}

#[tokio::test]
async fn of_processes_that_exhaust_deliveries_at_once_one_switches_the_endpoint_off_and_it_is_told_once() {
    let bed = told().await;
    let (one, other) = (bed.process().await, bed.process().await);
    let (first, second) = (bed.fresh(&one).await, bed.fresh(&other).await);

    let (a, b) = ([ended(&first, End::Exhausted)], [ended(&second, End::Expired)]);
    let (recorded, also) = tokio::join!(one.record(&a, HOUR), other.record(&b, HOUR));
    assert_eq!((recorded.unwrap().refused, also.unwrap().refused), (0, 0));
    // A repetition, as after a lost reply, is followed by nothing.
    assert_eq!(one.record(&a, HOUR).await.unwrap().refused, 1);

    assert_eq!(bed.status().await, ("inactive".to_owned(), Some("exhausted".to_owned())));
    let mut kinds = bed.kinds().await;
    kinds.sort_unstable();
    assert_eq!(kinds, ["endpoint.disabled", "eventdelivery.failed", "eventdelivery.failed"]);
    let told = bed.told().await;
    let (_, disabled) = told.iter().find(|(kind, _)| kind == "endpoint.disabled").unwrap();
    assert_eq!((&disabled["status"], &disabled["status_reason"]), (&json!("inactive"), &json!("exhausted")));
    assert_eq!(disabled["uid"], json!(ENDPOINT));
    let of_first = told.iter().find(|(_, data)| data["uid"] == json!(first.id)).unwrap();
    assert_eq!(of_first.1["reason"], "exhausted");
    assert_eq!(of_first.1["event_type"], "invoice.paid");
    assert_eq!(of_first.1["last_attempt"]["http_status"], 503);
}

#[tokio::test]
async fn a_success_anywhere_since_the_first_attempt_keeps_the_endpoint_on() {
    let bed = told().await;
    let (one, other) = (bed.process().await, bed.process().await);
    let failing = bed.fresh(&one).await;
    one.record(&[watched(&failing, Next::RetryAfter(SOON))], HOUR).await.unwrap();
    assert_eq!(bed.count("SELECT count(*) FROM failing_endpoints").await, 1);

    bed.run("UPDATE failing_endpoints SET failing_since = failing_since - interval '1 second'").await;
    // The other process does not know of the failure yet; it remembers its success until it does.
    let lucky = bed.fresh(&other).await;
    other.record(&[watched(&lucky, Next::Success)], HOUR).await.unwrap();
    other.refresh_failing().await.unwrap();

    assert_eq!(bed.count("SELECT count(*) FROM failing_endpoints").await, 0);
    one.record(&[ended(&again(&bed, &one).await, End::Exhausted)], HOUR).await.unwrap();
    assert_eq!(bed.status().await, ("active".to_owned(), None));
    assert_eq!(bed.kinds().await, ["eventdelivery.failed"]);
}

#[tokio::test]
async fn a_success_before_the_first_attempt_does_not() {
    let bed = told().await;
    let store = bed.process().await;
    store.record(&[watched(&bed.fresh(&store).await, Next::Success)], HOUR).await.unwrap();
    store.refresh_failing().await.unwrap();

    store.record(&[watched(&bed.fresh(&store).await, Next::RetryAfter(SOON))], HOUR).await.unwrap();
    store.refresh_failing().await.unwrap();
    store.record(&[ended(&again(&bed, &store).await, End::Exhausted)], HOUR).await.unwrap();

    assert_eq!(bed.status().await.0, "inactive");
}

#[tokio::test]
async fn an_outcome_that_is_refused_is_followed_by_nothing() {
    let bed = told().await;
    let store = bed.process().await;
    let delivery = bed.fresh(&store).await;

    let stranger = ClaimedDelivery { owner: ProcessId::from_u128(7), ..delivery };
    assert_eq!(store.record(&[ended(&stranger, End::Gone)], HOUR).await.unwrap().refused, 1);

    assert_eq!(bed.status().await.0, "active");
    assert!(bed.kinds().await.is_empty());
    assert_eq!(bed.count("SELECT count(*) FROM attempts").await, 1);
}

#[tokio::test]
async fn who_is_gone_is_switched_off_whatever_the_project_says_and_what_is_final_switches_nobody_off() {
    let bed = told().await;
    let store = bed.process().await;

    store.record(&[ended(&bed.fresh(&store).await, End::Final)], HOUR).await.unwrap();
    assert_eq!(bed.status().await.0, "active");
    let unwatched = |end| Aftermath { end: Some(end), ..Aftermath::default() };
    let exhausted = attempted(&bed.fresh(&store).await, Next::Failure);
    store.record(&[Outcome { aftermath: unwatched(End::Exhausted), ..exhausted }], HOUR).await.unwrap();
    assert_eq!(bed.status().await.0, "active");
    bed.run("UPDATE endpoints SET status = 'paused'").await;
    let gone = attempted(&bed.fresh(&store).await, Next::Failure);
    store.record(&[Outcome { aftermath: unwatched(End::Gone), ..gone }], HOUR).await.unwrap();

    assert_eq!(bed.status().await, ("inactive".to_owned(), Some("gone".to_owned())));
}

#[tokio::test]
async fn the_port_switches_off_once_and_leaves_the_configuration_alone_otherwise() {
    let bed = told().await;
    let (one, other) = (bed.process().await, bed.process().await);

    let (a, b) = tokio::join!(
        one.disable(ENDPOINT, DisableReason::Breaker),
        other.disable(ENDPOINT, DisableReason::Breaker)
    );
    assert_eq!(usize::from(a.unwrap()) + usize::from(b.unwrap()), 1);
    let version = bed.count("SELECT version FROM config_version").await;
    assert!(!one.disable(ENDPOINT, DisableReason::Exhausted).await.unwrap());

    assert_eq!(bed.status().await, ("inactive".to_owned(), Some("breaker".to_owned())));
    assert_eq!(bed.kinds().await, ["endpoint.disabled"]);
    assert_eq!(bed.count("SELECT version FROM config_version").await, version);
}

#[tokio::test]
async fn an_attempt_that_cost_nothing_is_counted_apart_and_says_when_the_next_is_due() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let delivery = bed.fresh(&store).await;
    let throttled = Aftermath { is_throttled: true, ..Aftermath::default() };

    let outcome = attempted(&delivery, Next::RetryAfter(Duration::from_secs(90)));
    store.record(&[Outcome { aftermath: throttled, ..outcome }], HOUR).await.unwrap();

    let next: (bool,) = sqlx::query_as(
        "SELECT a.next_attempt_at = s.due_at FROM attempts a JOIN schedule s ON s.delivery_id = a.delivery_id",
    )
    .fetch_one(&bed.sql)
    .await
    .unwrap();
    assert!(next.0);
    let claimed = again(&bed, &store).await;
    assert_eq!((claimed.attempts, claimed.throttled), (1, 1));
    store.record(&[attempted(&claimed, Next::Failure)], HOUR).await.unwrap();
    assert_eq!(bed.count("SELECT count(*) FROM attempts WHERE next_attempt_at IS NULL").await, 1);
    assert_eq!(bed.count("SELECT throttled_count::int8 FROM deliveries").await, 1);
}

fn notice(kind: NoticeKind, n: u32) -> Notice {
    Notice { project: PROJECT, kind, subject: ENDPOINT.as_u128(), data: json!({ "n": n }) }
}

#[tokio::test]
async fn alerts_about_one_subject_are_gathered_and_told_at_most_once_in_a_while() {
    let bed = told().await;
    let store = bed.process().await;
    let due = || store.claim_alerts(Channel::Email, 10, HOUR);

    store.tell(&[1, 2, 3].map(|n| notice(NoticeKind::DeliveryFailed, n))).await.unwrap();
    let alerts = due().await.unwrap();
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].pending, alerts[0].data.as_str(), alerts[0].attempt), (3, r#"{"n":3}"#, 1));
    assert!(due().await.unwrap().is_empty(), "taken");
    store.tell(&[notice(NoticeKind::DeliveryFailed, 4)]).await.unwrap();
    store.alert_told(&alerts[0], HOUR).await.unwrap();
    assert!(due().await.unwrap().is_empty(), "told a moment ago");
    bed.run("UPDATE alerts SET due_at = now()").await;
    let later = due().await.unwrap();
    assert_eq!((later[0].pending, later[0].attempt), (1, 1));

    store.alert_failed(&later[0], Some(SOON), "no answer").await.unwrap();
    let repeated = due().await.unwrap();
    assert_eq!((repeated[0].pending, repeated[0].attempt), (1, 2));
    store.alert_failed(&repeated[0], None, "no answer").await.unwrap();
    assert!(due().await.unwrap().is_empty(), "forgotten");
    assert!(store.claim_alerts(Channel::Slack, 10, HOUR).await.unwrap().is_empty(), "it has none");
}

#[tokio::test]
async fn meta_events_are_taken_by_one_each_in_parts_and_by_others_after_the_lease() {
    let bed = told().await;
    let (one, other) = (bed.process().await, bed.process().await);
    one.tell(&[1, 2, 3].map(|n| notice(NoticeKind::EndpointDisabled, n))).await.unwrap();
    one.tell(&[notice(NoticeKind::EndpointCreated, 9)]).await.unwrap();
    assert_eq!(bed.kinds().await.len(), 3, "a kind that nobody asked for is not written");

    let taken = one.claim_meta_events(10, 2, &[], HOUR).await.unwrap();
    assert_eq!(taken.len(), 2);
    assert!(other.claim_meta_events(10, 2, &[PROJECT], HOUR).await.unwrap().is_empty());
    assert_eq!(other.claim_meta_events(10, 2, &[], HOUR).await.unwrap().len(), 1);
    assert!(one.claim_meta_events(10, 2, &[], HOUR).await.unwrap().is_empty());

    let ended = |next| MetaAttempt {
        next,
        outcome: "server_error",
        http_status: Some(503),
        error: String::new(),
        response_body: b"\0x".to_vec(),
    };
    one.end_meta_event(&taken[0], &ended(MetaNext::Success)).await.unwrap();
    let retry = MetaNext::Retry { after: SOON, is_throttled: true };
    one.end_meta_event(&taken[1], &ended(retry)).await.unwrap();
    let again = other.claim_meta_events(10, 9, &[], SOON).await.unwrap();
    assert_eq!((again[0].id, again[0].attempt, again[0].throttled), (taken[1].id, 2, 1));
    // Its lease is over: somebody else takes it, and who was late changes nothing any more.
    assert_eq!(one.claim_meta_events(10, 9, &[], HOUR).await.unwrap()[0].attempt, 3);
    other.end_meta_event(&again[0], &ended(MetaNext::Failure)).await.unwrap();

    assert_eq!(bed.count("SELECT count(*) FROM meta_events WHERE state = 'Processing'").await, 2);
    assert_eq!(bed.count("SELECT count(*) FROM meta_events WHERE state = 'Success'").await, 1);
    bed.run("UPDATE meta_events SET created_at = now() - interval '40 days'").await;
    one.drop_notices(Duration::from_secs(30 * 86_400)).await.unwrap();
    assert_eq!(bed.count("SELECT count(*) FROM meta_events").await, 2, "what is not over stays");
}

fn says(state: &str) -> SourceStatus {
    SourceStatus {
        project: PROJECT,
        source: SourceId::from_u128(5),
        worker: 0,
        kind: "kafka".to_owned(),
        name: "orders".to_owned(),
        report: SourceReport {
            state: state.to_owned(),
            problem: (state == "failing").then(|| "no route".to_owned()),
            ..SourceReport::default()
        },
    }
}

#[tokio::test]
async fn a_source_that_keeps_failing_is_told_once_and_so_is_its_recovery() {
    let bed = told().await;
    let (one, other) = (bed.process().await, bed.process().await);
    one.report_sources(&[says("failing")]).await.unwrap();
    other.report_sources(&[says("consuming")]).await.unwrap();

    one.watch_sources(HOUR).await.unwrap();
    assert!(bed.kinds().await.is_empty(), "not long enough");
    // Connecting again is no recovery: the time goes on.
    one.report_sources(&[says("connecting")]).await.unwrap();
    one.report_sources(&[says("failing")]).await.unwrap();
    bed.run("UPDATE source_status SET failing_since = failing_since - interval '2 hours'").await;
    let (a, b) = tokio::join!(one.watch_sources(HOUR), other.watch_sources(HOUR));
    a.and(b).unwrap();
    assert_eq!(bed.kinds().await, ["source.failing"]);
    assert_eq!(bed.told().await[0].1["problem"], "no route");

    one.report_sources(&[says("connecting")]).await.unwrap();
    other.watch_sources(HOUR).await.unwrap();
    assert_eq!(bed.kinds().await.len(), 1);
    one.report_sources(&[says("consuming")]).await.unwrap();
    let (a, b) = tokio::join!(one.watch_sources(HOUR), other.watch_sources(HOUR));
    a.and(b).unwrap();

    assert_eq!(bed.kinds().await, ["source.failing", "source.recovered"]);
    assert_eq!(bed.count("SELECT count(*) FROM source_outages").await, 0);
}

#[tokio::test]
async fn a_project_whose_settings_are_unreadable_keeps_nobody_from_recording() {
    let bed = told().await;
    let store = bed.process().await;
    bed.run(r#"UPDATE projects SET settings = '{"of": "the future"}'"#).await;

    assert_eq!(
        store.record(&[ended(&bed.fresh(&store).await, End::Exhausted)], HOUR).await.unwrap().refused,
        0
    );

    assert_eq!(bed.status().await.0, "inactive");
    assert!(bed.kinds().await.is_empty());
}
