//! Meta events: listed, shown, sent again.

use http::Method;
use longshore_core::{Clock, MetaEventId, ProjectId, SystemClock};
use serde_json::{Value, json};

use crate::bed::{Bed, FOREIGN, PROJECT, key};

/// A meta event of that project, so many minutes old.
async fn tell(bed: &Bed, project: &str, minutes: u64, columns: &str) -> String {
    let at = SystemClock.now().before(std::time::Duration::from_secs(minutes * 60));
    let id = MetaEventId::from_u128(MetaEventId::floor(at).as_u128() | 7);
    let project: ProjectId = project.parse().unwrap();
    let sql = format!(
        "INSERT INTO meta_events (project_id, id, event_type, data, created_at) VALUES
             ('{}', '{}', 'endpoint.disabled', '{{\"uid\": \"é\"}}', now() - interval '{minutes} minutes')",
        project.as_uuid(),
        id.as_uuid()
    );
    bed.run(&sql).await;
    if !columns.is_empty() {
        bed.run(&format!("UPDATE meta_events SET {columns} WHERE id = '{}'", id.as_uuid())).await;
    }
    id.to_string()
}

const FAILED: &str = "state = 'Failure', attempt_count = 5, throttled_count = 1, next_attempt_at = NULL,
    finished_at = now(), attempted_at = now(), outcome = 'server_error', http_status = 503, error = '',
    response_body = 'go away'";

fn ids(page: &Value) -> Vec<&str> {
    page["content"].as_array().unwrap().iter().map(|item| item["uid"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_shown_in_the_contracts_shape() {
    let bed = Bed::new().await;
    let fresh = tell(&bed, PROJECT, 0, "").await;
    let failed = tell(&bed, PROJECT, 60, FAILED).await;

    let answer = bed.ask(Method::GET, &format!("/meta-events/{failed}")).key(key("viewer")).send().await;
    let shown = answer.data();
    assert_eq!((&shown["uid"], &shown["project_id"]), (&json!(failed), &json!(PROJECT)));
    assert_eq!((&shown["event_type"], &shown["status"]), (&json!("endpoint.disabled"), &json!("Failure")));
    assert_eq!(shown["metadata"]["data"], json!({"event_type": "endpoint.disabled", "data": {"uid": "é"}}));
    assert_eq!(shown["metadata"]["raw"], r#"{"event_type":"endpoint.disabled","data":{"uid": "é"}}"#);
    assert_eq!(shown["metadata"]["num_trials"], 5);
    assert!(shown["metadata"].get("next_send_time").is_none());
    assert_eq!(
        shown["attempt"],
        json!({"response_data": "go away", "outcome": "server_error", "http_status": 503})
    );

    let waiting = bed.get(&format!("/meta-events/{fresh}")).await;
    assert_eq!(waiting.text("/status"), "Scheduled");
    assert!(waiting.data().get("attempt").is_none());
    assert!(!waiting.text("/metadata/next_send_time").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_listed_by_time_page_by_page() {
    let bed = Bed::new().await;
    let mut all = Vec::new();
    for minutes in [10, 20, 30, 40, 50] {
        all.push(tell(&bed, PROJECT, minutes, "").await);
    }
    tell(&bed, FOREIGN, 15, "").await;

    let first = bed.get("/meta-events?perPage=2").await;
    assert_eq!(ids(first.data()), all[..2]);
    let cursor = first.text("/pagination/next_page_cursor");
    let second = bed.get(&format!("/meta-events?perPage=2&next_page_cursor={cursor}")).await;
    assert_eq!(ids(second.data()), all[2..4]);
    let cursor = second.text("/pagination/prev_page_cursor");
    let back = bed.get(&format!("/meta-events?perPage=2&direction=prev&prev_page_cursor={cursor}")).await;
    assert_eq!(ids(back.data()), all[..2]);
    assert_eq!(ids(bed.get("/meta-events?sort=ASC&perPage=1").await.data()), [&all[4]]);

    let at = |minutes: u64| SystemClock.now().before(std::time::Duration::from_secs(minutes * 60));
    let query = format!("/meta-events?startDate={}&endDate={}", at(45), at(25));
    assert_eq!(ids(bed.get(&query).await.data()), all[2..4]);
    assert!(ids(bed.get("/meta-events?endDate=2020-01-01T00:00:00").await.data()).is_empty());
    for (query, field) in
        [("startDate=yesterday", "`startDate`"), ("endDate=1", "`endDate`"), ("perPage=0", "`perPage`")]
    {
        let refused = bed.get(&format!("/meta-events?{query}")).await;
        assert_eq!(refused.status, 400);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resending_queues_them_again_with_all_attempts() {
    let bed = Bed::new().await;
    let failed = tell(&bed, PROJECT, 60 * 24 * 20, FAILED).await;

    let resent = bed.ask(Method::PUT, &format!("/meta-events/{failed}/resend")).send().await;
    assert_eq!((resent.status, resent.text("/status")), (200, "Scheduled".to_owned()));
    assert_eq!(resent.data()["metadata"]["num_trials"], 0);
    // Taken as what happened now, so that its age costs it no attempt.
    let lease = std::time::Duration::from_secs(60);
    let taken = bed.store.claim_meta_events(10, 10, &[], lease).await.unwrap();
    assert_eq!((taken[0].id.to_string(), taken[0].attempt, taken[0].throttled), (failed.clone(), 1, 0));
    assert!(SystemClock.now().since(taken[0].created_at) < lease);
    assert_eq!(bed.get("/audit-log").await.text("/content/0/action"), "meta_event.resent");

    // While it is being sent nothing is done to it.
    let busy = bed.ask(Method::PUT, &format!("/meta-events/{failed}/resend")).send().await;
    assert_eq!(busy.status, 409);
    // What comes late of an attempt before it was queued again changes nothing.
    let mut late = taken[0].clone();
    late.created_at = late.created_at.before(lease);
    let ended = longshore_store::notices::MetaAttempt {
        next: longshore_store::notices::MetaNext::Success,
        outcome: "success",
        http_status: Some(204),
        error: String::new(),
        response_body: Vec::new(),
    };
    bed.store.end_meta_event(&late, &ended).await.unwrap();
    assert_eq!(bed.get(&format!("/meta-events/{failed}")).await.text("/status"), "Processing");
    bed.store.end_meta_event(&taken[0], &ended).await.unwrap();
    assert_eq!(bed.get(&format!("/meta-events/{failed}")).await.text("/status"), "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_others_are_not_there() {
    let bed = Bed::new().await;
    let foreign = tell(&bed, FOREIGN, 5, FAILED).await;
    let own = tell(&bed, PROJECT, 6, FAILED).await;

    for id in [&foreign[..], "01JD000000000000000000N0NE", "nonsense"] {
        assert_eq!(bed.get(&format!("/meta-events/{id}")).await.status, 404, "{id}");
        let resent = bed.ask(Method::PUT, &format!("/meta-events/{id}/resend")).send().await;
        assert_eq!((resent.status, resent.message()), (404, "meta event not found"), "{id}");
    }
    let viewer = bed.ask(Method::PUT, &format!("/meta-events/{own}/resend")).key(key("viewer")).send().await;
    assert_eq!(viewer.status, 403);
}
