//! The in-memory broker's faults do what they say.

use std::num::NonZeroUsize;
use std::time::Duration;

use longshore_source::memory::{MemoryBroker, MemorySource};
use longshore_source::{Receipt, Source, SourceError};
use tokio::time::timeout;

const LEASE: Duration = Duration::from_secs(30);
const TEN: NonZeroUsize = NonZeroUsize::new(10).unwrap();

#[tokio::test(start_paused = true)]
async fn a_lease_runs_out_when_its_source_is_gone() {
    let broker = MemoryBroker::new(LEASE);
    broker.publish("body");
    let mut source = MemorySource::connect(&broker, TEN);
    let taken = source.recv(TEN).await.unwrap();
    drop(source);

    tokio::time::sleep(LEASE - Duration::from_millis(1)).await;
    assert_eq!((broker.stats().ready, broker.stats().unacked), (0, 1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((broker.stats().ready, broker.stats().unacked), (1, 0));
    drop(taken);
}

#[tokio::test(start_paused = true)]
async fn a_crash_redelivers_and_late_acks_count_for_nothing() {
    let broker = MemoryBroker::new(LEASE);
    broker.publish("body");
    let mut source = MemorySource::connect(&broker, TEN);
    let late = source.recv(TEN).await.unwrap().pop().unwrap();

    broker.crash();
    let again = source.recv(TEN).await.unwrap().pop().unwrap();
    late.ack.ack(Receipt::default());
    assert_eq!((again.redelivered, again.attempt), (true, Some(2)));
    again.ack.ack(Receipt::default());
    source.close(LEASE).await.unwrap();

    let stats = broker.stats();
    assert_eq!((stats.acked, stats.stale, stats.redelivered), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_down_delivers_nothing_and_keeps_everything() {
    let broker = MemoryBroker::new(LEASE);
    broker.publish("body");
    let mut source = MemorySource::connect(&broker, TEN);
    let taken = source.recv(TEN).await.unwrap();

    broker.set_down(true);
    drop(taken);
    assert!(timeout(Duration::from_secs(3600), source.recv(TEN)).await.is_err());
    broker.set_down(false);
    assert_eq!(source.recv(TEN).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_broker_takes_acks_and_delivers_nothing() {
    let broker = MemoryBroker::new(LEASE);
    broker.publish("first");
    let mut source = MemorySource::connect(&broker, TEN);
    let taken = source.recv(TEN).await.unwrap().pop().unwrap();

    broker.set_stalled(true);
    broker.publish("second");
    taken.ack.ack(Receipt::default());
    assert!(timeout(Duration::from_secs(3600), source.recv(TEN)).await.is_err());
    assert_eq!(broker.stats().acked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_ends_the_source_and_a_new_one_goes_on() {
    let broker = MemoryBroker::new(LEASE);
    let mut source = MemorySource::connect(&broker, TEN);

    broker.disconnect();
    broker.publish("body");

    let ended = source.recv(TEN).await;
    assert!(matches!(ended, Err(SourceError::Disconnected(_))));
    assert_eq!(MemorySource::connect(&broker, TEN).recv(TEN).await.unwrap().len(), 1);
}
