//! What the sources say of themselves, from process to reader.

use std::time::Duration;

use longshore_core::ports::DeliveryQueue;
use longshore_core::{ProjectId, SourceId};
use longshore_store::{SourceReport, SourceStatus, SourceStatusFilter, Store, StoredSourceStatus};

use super::bed::{Bed, PROJECT, here};

fn consumer(source: u128, worker: u16, received: u64) -> SourceStatus {
    SourceStatus {
        project: PROJECT,
        source: SourceId::from_u128(source),
        worker,
        kind: "kafka".to_owned(),
        name: "orders".to_owned(),
        report: SourceReport { state: "consuming".to_owned(), received, ..SourceReport::default() },
    }
}

async fn all(store: &Store) -> Vec<StoredSourceStatus> {
    store.source_status(SourceStatusFilter::default()).await.unwrap()
}

#[tokio::test]
async fn a_report_is_read_as_it_was_said() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let full = SourceStatus {
        report: SourceReport {
            state: "failing".to_owned(),
            problem: Some("no such topic\0".to_owned()),
            warnings: vec!["no dead-letter queue".to_owned(), "\"\\".to_owned()],
            last_progress: Some(Duration::from_secs(3_600)),
            lag: Some(u64::MAX),
            in_flight: 2,
            oldest_in_flight: Some(Duration::from_secs(60)),
            received: 3,
            stored: 4,
            duplicate: 5,
            redelivered: 6,
            quarantined: 7,
            returned: 8,
            reconnects: 9,
        },
        ..consumer(1, 3, 0)
    };

    store.report_sources(&[full.clone(), consumer(2, 0, 1)]).await.unwrap();

    let found = all(&store).await;
    let mut said = found[0].status.clone();
    let (progress, oldest) =
        (said.report.last_progress.take().unwrap(), said.report.oldest_in_flight.take().unwrap());
    assert!((3_600..3_660).contains(&progress.as_secs()), "{progress:?}");
    assert!((60..120).contains(&oldest.as_secs()), "{oldest:?}");
    let mut expected = full;
    expected.report = SourceReport {
        problem: Some("no such topic\u{fffd}".to_owned()),
        last_progress: None,
        lag: Some(i64::MAX.unsigned_abs()),
        oldest_in_flight: None,
        ..expected.report
    };
    assert_eq!(said, expected);
    assert_eq!((found[0].process, found[0].is_alive), (store.owner(), true));
    assert_eq!(found[1].status, consumer(2, 0, 1));
}

#[tokio::test]
async fn each_report_replaces_the_last_one_of_its_process_alone() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    one.report_sources(&[consumer(1, 0, 1), consumer(1, 1, 1)]).await.unwrap();
    two.report_sources(&[consumer(1, 0, 5)]).await.unwrap();

    one.report_sources(&[consumer(1, 1, 2), consumer(2, 0, 1)]).await.unwrap();

    let mut found: Vec<_> = all(&two)
        .await
        .into_iter()
        .map(|row| {
            (
                row.process == one.owner(),
                row.status.source.as_u128(),
                row.status.worker,
                row.status.report.received,
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(false, 1, 0, 5), (true, 1, 1, 2), (true, 2, 0, 1)]);
    let of_two = SourceStatusFilter { source: Some(SourceId::from_u128(2)), ..SourceStatusFilter::default() };
    assert_eq!(one.source_status(of_two).await.unwrap().len(), 1);
    let elsewhere = SourceStatusFilter { project: Some(ProjectId::from_u128(9)), source: None };
    assert!(one.source_status(elsewhere).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_process_that_is_gone_says_nothing() {
    let bed = Bed::new().await;
    let (resigned, dead, heir) =
        (bed.process().await, bed.process_for(Duration::ZERO).await, bed.process().await);
    for store in [&resigned, &dead, &heir] {
        store.report_sources(&[consumer(1, 0, 1)]).await.unwrap();
    }
    assert_eq!(all(&heir).await.iter().filter(|row| row.is_alive).count(), 2);

    // Buries the dead as well.
    resigned.resign(here()).await.unwrap();

    let left: Vec<_> = all(&heir).await.into_iter().map(|row| row.process).collect();
    assert_eq!(left, [heir.owner()]);
}

#[tokio::test]
async fn what_nobody_buried_goes_with_age() {
    let bed = Bed::new().await;
    let (lost, store) = (bed.process().await, bed.process().await);
    lost.report_sources(&[consumer(1, 0, 1)]).await.unwrap();
    store.report_sources(&[consumer(1, 0, 1)]).await.unwrap();
    assert_eq!(all(&store).await.len(), 2);

    bed.run("UPDATE source_status SET updated_at = updated_at - interval '11 minutes'").await;
    store.report_sources(&[consumer(1, 0, 2)]).await.unwrap();

    assert_eq!(all(&store).await[0].status, consumer(1, 0, 2));
    assert_eq!(all(&store).await.len(), 1);
}

#[tokio::test]
async fn reports_are_updates_in_place() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let consumers: Vec<_> = (0..8).map(|worker| consumer(1, worker, 1)).collect();

    for _ in 0..50 {
        store.report_sources(&consumers).await.unwrap();
    }

    // Statistics are told when a connection ends, shortly after.
    store.close().await;
    let updated = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'source_status'";
    let counted = async {
        while bed.count(updated).await < 392 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.unwrap();
    let moved = "SELECT n_tup_upd - n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'source_status'";
    // A few move at first, to where there is room.
    assert!(bed.count(moved).await < 40, "{} of 392 moved", bed.count(moved).await);
}
