//! Configuration that changes under load.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::receiver::Receiver;
use tokio::time::Instant;

use crate::load::{Load, broadcast};
use crate::stage::{Endpoint, PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_url_takes_effect_within_a_second() {
    let stage = Stage::new(BrokerKind::RabbitMq).await;
    stage.subscribe().await;
    let mut gateway = stage.setup().start().await;
    let load = Load::start(&stage.queue, 200, broadcast);
    stage.receiver.wait_for(100, PATIENCE).await;
    let moved = Receiver::start().await;

    stage.apply(&[Endpoint::at(moved.url("/hook"))], &stage.queue.settings()).await;
    let applied = Instant::now();
    moved.wait_for(200, PATIENCE).await;

    let last_at_old = stage.receiver.requests().last().unwrap().at;
    let late = last_at_old.saturating_duration_since(applied);
    eprintln!("a changed URL: the old one is left {late:?} after `apply` has ended");
    assert!(late < Duration::from_secs(1), "still at the old URL after {late:?}");
    load.stop().await;
    assert_eq!(gateway.sigterm(PATIENCE).await.code(), Some(0));
}
