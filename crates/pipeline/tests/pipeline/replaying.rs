//! Quarantined messages become events after all, once.

use std::sync::Arc;

use longshore_core::ports::{Replayable, StoreError};
use longshore_core::quarantine::Reason;
use longshore_core::{Clock, DeliveryState, Endpoint, EventId, IdGenerator, Mapping, Snapshot};
use longshore_pipeline::ingest::replay::{Replayed, replay};
use longshore_pipeline::ingest::{Origin, fixed};
use longshore_source::Status;
use longshore_source::memory::Publication;
use longshore_testkit::memory::Op;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::bed::{A, B, Bed, PROJECT, SECOND, SOURCE, endpoint, message, project, retries};

fn snapshot(endpoints: Vec<Endpoint>) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(vec![project(retries(&[5]))], endpoints, Vec::new()))
}

/// Everything in quarantine, once more, as another process.
async fn replay_all(bed: &Bed) -> Result<Vec<Replayed>, StoreError> {
    let messages = bed.database.quarantined().into_iter().map(|message| Replayable {
        id: message.id,
        project: message.project,
        source: message.source.unwrap(),
        facts: message.facts,
        headers: message.headers,
        body: message.body,
    });
    let origin = Origin {
        source: Some((SOURCE, PROJECT)),
        kind: "memory",
        status: Status::new("memory", "bed"),
        mapping: fixed(Mapping::default()),
    };
    let ids = IdGenerator::new(bed.clock.now(), StdRng::from_os_rng());
    let mut answers = Vec::new();
    let log = bed.database.process();
    replay(&log, &origin, &Default::default(), messages.collect(), &ids, &bed.clock, |_, became| {
        answers.push(became);
    })
    .await?;
    Ok(answers)
}

/// The three ways in which a message is recognised: by its position, by its name, not at all.
fn messages(bed: &Bed) -> [Publication; 3] {
    let full = message(B, 1, &bed.clock);
    [
        full.clone(),
        Publication { timestamp_ms: None, message_id: Some("named".to_owned()), ..full.clone() },
        Publication { timestamp_ms: None, message_id: None, ..full },
    ]
}

/// A bed in which a message for B is in quarantine, and B exists by now.
async fn quarantined(publication: Publication) -> Bed {
    let bed = Bed::with(vec![endpoint(A)]);
    bed.database.set_snapshot(snapshot(vec![endpoint(A)]));
    let process = bed.start();
    bed.broker.publish(publication);
    bed.wait("quarantine", |_| bed.broker.stats().acked == 1).await;
    process.stop().await;
    assert_eq!(bed.database.quarantined()[0].reason, Reason::UnknownEndpoint);
    bed.database.set_snapshot(snapshot(vec![endpoint(A), endpoint(B)]));
    bed.configure(vec![endpoint(A), endpoint(B)], 2);
    bed
}

#[tokio::test(start_paused = true)]
async fn what_was_put_right_goes_out_and_is_not_replayed_twice() {
    for publication in messages(&Bed::new()) {
        let bed = quarantined(publication.clone()).await;
        tokio::time::sleep(3 * 86_400 * SECOND).await;

        let answers = replay_all(&bed).await.unwrap();

        let [Replayed::Stored(event)] = answers[..] else { panic!("{answers:?}") };
        let stored = bed.database.event(event).unwrap();
        assert_eq!((&stored.event.body[..], stored.event.source), (&b"{\"n\":1}"[..], Some(SOURCE)));
        if let (Some(name), Some(millis)) = (&publication.message_id, publication.timestamp_ms) {
            let at = longshore_core::Timestamp::from_millis(millis);
            assert_eq!(event, EventId::derive(SOURCE, name.as_bytes(), at));
        }
        // Nobody owns its delivery: whoever runs takes it.
        assert_eq!(bed.database.deliveries()[0].state, DeliveryState::Scheduled);
        let row = bed.database.quarantined()[0].id;
        assert_eq!(bed.database.replayed(row), Some((Some(event), true)));
        assert_eq!(replay_all(&bed).await.unwrap(), [Replayed::Gone]);
        let process = bed.start();
        bed.until(DeliveryState::Success, 1).await;
        assert_eq!((bed.database.events().len(), bed.script.calls_to("e2.example").len()), (1, 1));
        process.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_still_refused_leaves_its_message_in_quarantine() {
    let bed = Bed::with(vec![endpoint(A)]);
    bed.database.set_snapshot(snapshot(vec![endpoint(A)]));
    bed.database.reject_endpoints(|_| true);
    let kind = ("x-convoy-message-type".to_owned(), "dynamic".to_owned());
    let body = r#"{"event_type":"a","url":"https://e77.example/","data":{"n":1}}"#;
    let process = bed.start();
    bed.broker.publish(Publication { headers: vec![kind], ..Publication::from(body) });
    bed.wait("quarantine", |_| bed.broker.stats().acked == 1).await;
    process.stop().await;

    let answers = replay_all(&bed).await.unwrap();

    assert!(matches!(answers[..], [Replayed::Faulty { reason: Reason::Rejected, .. }]), "{answers:?}");
    assert!(bed.database.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_was_cut_off_after_storing_stores_nothing_more() {
    for publication in messages(&Bed::new()) {
        let bed = quarantined(publication).await;
        bed.database.lose_replies(Op::Persist, 1);

        assert!(replay_all(&bed).await.is_err());
        let stored = bed.database.events()[0].event.id;
        tokio::time::sleep(SECOND).await;
        assert_eq!(replay_all(&bed).await.unwrap(), [Replayed::Known(Some(stored))]);

        assert_eq!((bed.database.events().len(), bed.database.deliveries().len()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrived_again_meanwhile_is_known_by_its_name() {
    for publication in messages(&Bed::new()) {
        let has_name = publication.message_id.is_some();
        let bed = quarantined(publication.clone()).await;
        let process = bed.start();
        bed.broker.publish(publication);
        bed.until(DeliveryState::Success, 1).await;
        let stored = bed.database.events()[0].event.id;
        process.stop().await;
        tokio::time::sleep(2 * 86_400 * SECOND).await;

        let answers = replay_all(&bed).await.unwrap();

        if has_name {
            assert_eq!(answers, [Replayed::Known(Some(stored))]);
            assert_eq!(bed.database.events().len(), 1);
        } else {
            // Two messages of the same bytes are two messages.
            assert!(matches!(answers[..], [Replayed::Stored(event)] if event != stored), "{answers:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_still_wrong_stays_with_the_reason_of_today() {
    let bed = quarantined(message(B, 1, &Bed::new().clock)).await;
    let mut small = project(retries(&[5]));
    small.settings.max_payload_bytes = 10;
    bed.database.set_snapshot(Arc::new(Snapshot::new(vec![small], vec![endpoint(B)], Vec::new())));

    let answers = replay_all(&bed).await.unwrap();

    let [Replayed::Faulty { reason: Reason::TooLarge, detail }] = &answers[..] else { panic!("{answers:?}") };
    let row = bed.database.quarantined().remove(0);
    assert_eq!((row.reason, &row.detail), (Reason::TooLarge, detail));
    assert!(bed.database.events().is_empty());

    bed.database.set_snapshot(snapshot(vec![endpoint(B)]));
    bed.database.reject(|_| true);
    let answers = replay_all(&bed).await.unwrap();
    assert!(matches!(&answers[..], [Replayed::Faulty { reason: Reason::Rejected, .. }]), "{answers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_seen_is_stored_and_not_delivered() {
    let bed = Bed::with(vec![endpoint(A)]);
    let process = bed.start();
    for (n, to) in [(1, A), (2, B)] {
        let body = format!(r#"{{"event_type":"a","endpoint_id":"{to}","data":{n},"idempotency_key":"k"}}"#);
        bed.broker.publish(Publication { message_id: Some(format!("m-{n}")), ..Publication::from(body) });
    }
    bed.wait("both", |_| bed.broker.stats().acked == 2).await;
    process.stop().await;
    bed.database.set_snapshot(snapshot(vec![endpoint(A), endpoint(B)]));

    let answers = replay_all(&bed).await.unwrap();

    assert!(matches!(answers[..], [Replayed::Duplicate(_)]), "{answers:?}");
    assert_eq!((bed.database.events().len(), bed.database.deliveries().len()), (2, 1));
}
