//! How far the logs of a source are stored, in the transaction of their messages.

use std::collections::HashMap;

use longshore_core::ports::{EventLog, PersistBatch, SourceOffset};
use longshore_core::{Clock, SourceId, SystemClock, Timestamp};
use longshore_store::Store;

use super::bed::{Bed, ENDPOINT, event, with};
use super::persist::quarantined;

const SOURCE: SourceId = SourceId::from_u128(0x50);

fn offset(log: &str, next: u64, received_at: Timestamp) -> SourceOffset {
    SourceOffset { source: SOURCE, log: log.to_owned(), next, received_at }
}

async fn raise(store: &Store, offsets: &[(&str, u64)]) {
    let now = SystemClock.now();
    let offsets = offsets.iter().map(|(log, next)| offset(log, *next, now)).collect();
    let batch = PersistBatch { events: vec![event(&[(ENDPOINT, true)])], offsets, ..PersistBatch::default() };
    store.persist(&batch).await.unwrap();
}

fn marks<const N: usize>(of: [(&str, u64); N]) -> HashMap<String, u64> {
    of.into_iter().map(|(log, next)| (log.to_owned(), next)).collect()
}

#[tokio::test]
async fn marks_rise_with_what_is_stored_and_never_sink() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);

    raise(&one, &[("b", 7), ("a", 3)]).await;
    raise(&two, &[("a", 5), ("b", 6)]).await;
    raise(&one, &[]).await;

    assert_eq!(two.source_offsets(SOURCE).await.unwrap(), marks([("a", 5), ("b", 7)]));
    assert!(one.source_offsets(SourceId::from_u128(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_mark_is_stored_with_quarantined_messages_alone_and_not_at_all_with_a_refused_batch() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let now = SystemClock.now();
    let message = quarantined();
    let offsets = vec![offset("a", 1, now)];
    let only = PersistBatch { quarantined: vec![message], offsets, ..PersistBatch::default() };
    store.persist(&only).await.unwrap();

    let refused = with(&event(&[]), |event| event.event_type = "\0".to_owned());
    for quarantined in [Vec::new(), vec![quarantined()]] {
        let offsets = vec![offset("a", 9, now)];
        let batch = PersistBatch { events: vec![event(&[]), refused.clone()], quarantined, offsets };
        store.persist(&batch).await.unwrap_err();
    }

    assert_eq!(store.source_offsets(SOURCE).await.unwrap(), marks([("a", 1)]));
}

#[tokio::test]
async fn a_forgotten_log_counts_anew_from_what_is_received_after() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    raise(&store, &[("a", 900), ("b", 9)]).await;
    // A batch of the old log that is still on its way when the new one begins.
    let held = PersistBatch { offsets: vec![offset("a", 905, SystemClock.now())], ..PersistBatch::default() };

    store.forget_source_offset(SOURCE, "a").await.unwrap();
    assert_eq!(store.source_offsets(SOURCE).await.unwrap(), marks([("b", 9)]));
    store.persist(&held).await.unwrap();
    assert_eq!(store.source_offsets(SOURCE).await.unwrap(), marks([("b", 9)]));
    raise(&store, &[("a", 2)]).await;
    store.persist(&held).await.unwrap();

    assert_eq!(store.source_offsets(SOURCE).await.unwrap(), marks([("a", 2), ("b", 9)]));
    // One that was never stored can be forgotten too.
    store.forget_source_offset(SOURCE, "c").await.unwrap();
    raise(&store, &[("c", 1)]).await;
    assert_eq!(store.source_offsets(SOURCE).await.unwrap().get("c"), Some(&1));
}

#[tokio::test]
async fn processes_that_raise_the_same_marks_do_not_block_each_other_for_good() {
    let bed = Bed::new().await;
    let (one, two) = (bed.process().await, bed.process().await);
    let logs: Vec<String> = (0..20).map(|log| format!("orders/{log}")).collect();
    let run = |store: Store, is_reversed: bool| {
        let logs = logs.clone();
        async move {
            for next in 1..=30 {
                let mut offsets: Vec<(&str, u64)> = logs.iter().map(|log| (log.as_str(), next)).collect();
                if is_reversed {
                    offsets.reverse();
                }
                raise(&store, &offsets).await;
            }
        }
    };

    tokio::join!(run(one.clone(), false), run(two, true));

    let found = one.source_offsets(SOURCE).await.unwrap();
    assert!(found.len() == 20 && found.values().all(|next| *next == 30), "{found:?}");
}
