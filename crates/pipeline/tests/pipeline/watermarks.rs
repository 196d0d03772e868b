//! How far a log is stored is stored with its messages: never less than what is there, never more.

use std::collections::HashMap;
use std::ops::Range;

use longshore_source::LogOffset;
use longshore_source::memory::Publication;
use longshore_testkit::memory::Op;

use super::bed::{A, Bed, SECOND, SOURCE, message};

const LOG: &str = "orders/3";

/// Messages that stand at these offsets of the log.
fn publish(bed: &Bed, offsets: Range<u64>) {
    for offset in offsets {
        bed.broker.publish(at(offset, message(A, offset, &bed.clock)));
    }
}

fn at(offset: u64, publication: Publication) -> Publication {
    Publication { offset: Some(LogOffset { log: LOG.into(), offset }), ..publication }
}

fn mark(bed: &Bed) -> Option<u64> {
    bed.database.source_offsets(SOURCE).get(LOG).copied()
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_between_commit_and_ack_the_mark_is_the_next_unread_message() {
    let bed = Bed::new();
    publish(&bed, 5..14);
    // The highest one becomes no event, and is stored all the same.
    bed.broker.publish(at(14, Publication::from("poison")));
    bed.database.lose_replies(Op::Persist, 1);
    let process = bed.start();

    bed.wait("the commit", |database| database.events().len() == 9).await;
    process.kill();

    assert_eq!(bed.broker.stats().acked, 0);
    assert_eq!(bed.database.quarantined().len(), 1);
    assert_eq!(bed.database.source_offsets(SOURCE), HashMap::from([(LOG.to_owned(), 15)]));
}

#[tokio::test(start_paused = true)]
async fn a_held_batch_moves_no_mark_and_a_redelivered_one_does_not_move_it_back() {
    let bed = Bed::new();
    let process = bed.start();
    publish(&bed, 0..3);
    bed.wait("every ack", |_| bed.broker.stats().acked == 3).await;
    assert_eq!(mark(&bed), Some(3));

    bed.database.set_outage(true);
    publish(&bed, 3..6);
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(mark(&bed), Some(3));
    bed.database.set_outage(false);
    bed.wait("every ack", |_| bed.broker.stats().acked == 6).await;
    assert_eq!(mark(&bed), Some(6));

    publish(&bed, 1..2);
    bed.wait("every ack", |_| bed.broker.stats().acked == 7).await;
    assert_eq!(mark(&bed), Some(6));
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_stored_row_by_row_leaves_the_mark_to_the_next() {
    let bed = Bed::new();
    bed.database.reject(|new| new.event.body.as_ref() == b"{\"n\":7}");
    publish(&bed, 0..20);
    let _process = bed.start();
    bed.wait("every ack", |_| bed.broker.stats().acked == 20).await;
    assert_eq!((bed.database.events().len(), bed.database.quarantined().len()), (19, 1));
    assert_eq!(mark(&bed), None);

    publish(&bed, 20..21);
    bed.wait("every ack", |_| bed.broker.stats().acked == 21).await;

    assert_eq!(mark(&bed), Some(21));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_by_itself_moves_the_mark_with_its_quarantine() {
    let bed = Bed::new();
    bed.database.reject(|_| true);
    let _process = bed.start();

    publish(&bed, 7..8);
    bed.wait("every ack", |_| bed.broker.stats().acked == 1).await;

    assert_eq!((bed.database.quarantined().len(), mark(&bed)), (1, Some(8)));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_began_anew_takes_over_and_what_was_read_of_the_old_one_does_not_count() {
    let bed = Bed::new();
    let _process = bed.start();
    publish(&bed, 900..901);
    bed.wait("every ack", |_| bed.broker.stats().acked == 1).await;
    bed.database.set_outage(true);
    publish(&bed, 901..905);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(mark(&bed), Some(901));

    // The log was made anew while a batch of the old one is held.
    bed.database.forget_source_offset(SOURCE, LOG);
    bed.database.set_outage(false);
    bed.wait("every ack", |_| bed.broker.stats().acked == 5).await;
    assert_eq!(mark(&bed), None);
    publish(&bed, 0..2);
    bed.wait("every ack", |_| bed.broker.stats().acked == 7).await;

    assert_eq!(mark(&bed), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_logs_leaves_no_mark() {
    let bed = Bed::new();
    let _process = bed.start();

    bed.publish(A, 0..10);
    bed.wait("every ack", |_| bed.broker.stats().acked == 10).await;

    assert!(bed.database.source_offsets(SOURCE).is_empty());
}
