//! Quarantined messages as people see them, and the marks of a replay.

use std::time::Duration;

use longshore_core::ports::{EventLog, PersistBatch, QuarantinedMessage, ReplayLog};
use longshore_core::quarantine::{MessageFacts, Reason};
use longshore_core::{Clock, EventId, ProjectId, QuarantineId, SourceId, SystemClock};
use longshore_store::{QuarantineFilter, Store};

use super::bed::{Bed, IDS, PROJECT};
use super::persist::quarantined;

const SOURCE: SourceId = SourceId::from_u128(0x50);

/// `count` messages, one second apart, the last one newest; every third is of another project, source and reason.
async fn fill(store: &Store, count: u32) -> Vec<QuarantinedMessage> {
    let now = SystemClock.now();
    let messages: Vec<_> = (0..count)
        .map(|n| {
            let is_third = n % 3 == 2;
            QuarantinedMessage {
                project: if is_third { ProjectId::from_u128(0xB) } else { PROJECT },
                source: Some(if is_third { SourceId::from_u128(0x51) } else { SOURCE }),
                reason: if is_third { Reason::TooLarge } else { Reason::Undecodable },
                received_at: now.before(Duration::from_secs(u64::from(count - n))),
                ..quarantined()
            }
        })
        .collect();
    let batch = PersistBatch { quarantined: messages.clone(), ..PersistBatch::default() };
    store.persist(&batch).await.unwrap();
    messages
}

async fn listed(store: &Store, filter: &QuarantineFilter, limit: u32) -> Vec<QuarantineId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.quarantined(filter, after, limit).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        ids.extend(page.items.iter().map(|item| item.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
        assert_eq!(page.items.len(), limit as usize, "a short page is the last one");
    }
}

#[tokio::test]
async fn pages_are_newest_first_and_miss_nothing() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let mut expected: Vec<_> = fill(&store, 10).await.iter().map(|message| message.id).collect();
    expected.reverse();

    for limit in [1, 3, 5, 10, 100] {
        assert_eq!(listed(&store, &QuarantineFilter::default(), limit).await, expected, "{limit}");
    }
}

#[tokio::test]
async fn every_filter_filters_and_the_counts_agree() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let messages = fill(&store, 10).await;
    let other = messages.iter().filter(|message| message.project != PROJECT).count();
    let all = QuarantineFilter::default();
    let filters = [
        (QuarantineFilter { project: Some(PROJECT), ..all.clone() }, 10 - other),
        (QuarantineFilter { source: Some(SourceId::from_u128(0x51)), ..all.clone() }, other),
        (QuarantineFilter { reason: Some("too_large".to_owned()), ..all.clone() }, other),
        (QuarantineFilter { from: Some(messages[4].received_at), ..all.clone() }, 6),
        (QuarantineFilter { until: Some(messages[4].received_at), ..all.clone() }, 4),
        (all.clone(), 10),
    ];

    for (filter, expected) in filters {
        assert_eq!(listed(&store, &filter, 4).await.len(), expected, "{filter:?}");
        let counted: u64 =
            store.count_quarantined(&filter).await.unwrap().iter().map(|count| count.count).sum();
        assert_eq!(counted, expected as u64, "{filter:?}");
    }
    let counts = store.count_quarantined(&all).await.unwrap();
    assert_eq!(counts.len(), 2);
    assert_eq!((counts[1].source, counts[1].reason.as_str()), (Some(SourceId::from_u128(0x51)), "too_large"));
}

#[tokio::test]
async fn one_is_shown_as_it_came_and_discarded() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let message = fill(&store, 1).await.remove(0);

    let entry = store.quarantine_entry(message.id).await.unwrap().unwrap();

    assert_eq!((&entry.body, &entry.headers), (&message.body, &message.headers));
    assert_eq!(entry.facts.as_ref(), Some(&message.facts));
    assert_eq!((entry.item.bytes, entry.item.reason.as_str()), (message.body.len() as u64, "undecodable"));
    assert_eq!(store.discard_quarantined(&[message.id, message.id]).await.unwrap(), 1);
    assert!(store.quarantine_entry(message.id).await.unwrap().is_none());
    assert_eq!(store.discard_quarantined(&[message.id]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_replay_keeps_the_id_it_chose_until_it_is_over() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let id = fill(&store, 1).await[0].id;
    let now = SystemClock.now();
    let (first, second, zero) = (IDS.event(now), IDS.event(now), EventId::from_u128(0));

    assert_eq!(store.choose_event(id, first, zero).await.unwrap(), Some(first));
    assert_eq!(store.choose_event(id, second, zero).await.unwrap(), Some(first));
    // The first one would find no partition any more.
    assert_eq!(store.choose_event(id, second, second).await.unwrap(), Some(second));
    store.mark_faulty(id, Reason::Rejected, "no\0").await.unwrap();
    store.mark_replayed(id, Some(second)).await.unwrap();

    assert_eq!(store.choose_event(id, first, zero).await.unwrap(), None);
    store.mark_faulty(id, Reason::TooLarge, "late").await.unwrap();
    store.mark_replayed(id, Some(first)).await.unwrap();
    let item = store.quarantine_entry(id).await.unwrap().unwrap().item;
    assert_eq!((item.event, item.reason.as_str()), (Some(second), "rejected"));
    assert_eq!(item.detail, "no\u{fffd}");
    assert!(item.replayed_at.is_some());
    assert!(store.quarantined(&QuarantineFilter::default(), None, 10).await.unwrap().items.is_empty());
    let all = QuarantineFilter { with_replayed: true, ..QuarantineFilter::default() };
    assert_eq!(listed(&store, &all, 10).await, [id]);
    assert_eq!(store.choose_event(QuarantineId::from_u128(1), first, zero).await.unwrap(), None);
}

#[tokio::test]
async fn only_what_can_be_decoded_again_as_it_was_is_handed_out() {
    let bed = Bed::new().await;
    let store = bed.process().await;
    let messages = fill(&store, 4).await;
    let mut ids: Vec<_> = messages.iter().map(|message| message.id).collect();
    ids.reverse();
    store.mark_replayed(ids[0], None).await.unwrap();
    // As rows of earlier versions are.
    bed.run(&format!("UPDATE quarantine SET message = NULL WHERE id = '{}'", ids[2].as_uuid())).await;

    let found = store.replayable(&ids).await.unwrap();

    assert_eq!(found.iter().map(|it| it.id).collect::<Vec<_>>(), [ids[1], ids[3]]);
    assert_eq!((&found[1].body, &found[1].facts), (&messages[0].body, &messages[0].facts));
    assert_eq!((found[1].source, found[1].project), (SOURCE, PROJECT));
    assert_ne!(found[1].facts, MessageFacts::default());
    let entry = store.quarantine_entry(ids[2]).await.unwrap().unwrap();
    assert_eq!(entry.facts, None);
}
