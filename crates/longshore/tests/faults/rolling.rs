//! A new version is rolled out: one process after another is replaced under load.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;

use crate::brokers::{on, rate};
use crate::lengths;
use crate::load::{Load, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// No consumer group waits longer for a member: the least of the brokers' session timeouts in use.
const PAUSE: Duration = Duration::from_secs(6);

on!(a_rolling_update_loses_and_doubles_nothing: rabbitmq, kafka, sqs, pubsub);

async fn a_rolling_update_loses_and_doubles_nothing(kind: BrokerKind) {
    let stage = Stage::new(kind).await;
    stage.subscribe().await;
    let processes = lengths::processes();
    let mut fleet = std::collections::VecDeque::new();
    for _ in 0..processes {
        fleet.push_back(stage.setup().start().await);
    }
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    stage.receiver.wait_for(rate(kind) as usize, PATIENCE).await;

    for _ in 0..processes {
        // As an orchestrator does: the new one first, then the old one goes.
        fleet.push_back(stage.setup().start().await);
        let mut old = fleet.pop_front().unwrap();
        assert_eq!(old.sigterm(PATIENCE).await.code(), Some(0));
        let before = stage.receiver.count();
        stage.receiver.wait_for(before + rate(kind) as usize / 2, PATIENCE).await;
    }
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), PATIENCE).await;
    let mut last = fleet.pop_back().unwrap();
    for mut other in fleet {
        assert_eq!(other.sigterm(PATIENCE).await.code(), Some(0));
    }

    let mut arrivals: Vec<_> = stage.receiver.requests().iter().map(|request| request.at).collect();
    arrivals.sort_unstable();
    let pause = arrivals.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    let tally = stage.finish(&mut last, &published, PATIENCE).await;
    let note =
        format!("{processes} processes replaced; the longest pause between two webhooks was {pause:.1?}");
    let verdict = tally.pass(&stage, record::ROLLING, note);
    assert_eq!(tally.repeated, 0, "attempts in progress were waited for");
    assert!(pause < PAUSE, "{pause:?}");
    stage.queue.remove().await;
    verdict.append();
}
