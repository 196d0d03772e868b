//! Credentials that are replaced while messages flow.

use longshore_testkit::broker::BrokerKind;
use longshore_testkit::servers::OwnServers;
use serde_json::Value;
use tokio::time::Instant;

use crate::brokers::{on, rate};
use crate::load::{Load, broadcast};
use crate::record;
use crate::stage::{PATIENCE, Stage};

/// Who the source is before and after.
const USERS: [(&str, &str); 2] = [("before", "p1"), ("after", "p2")];

on!(rotated_credentials_need_no_restart: rabbitmq);

/// The source's settings with another user in its URL.
fn settings_as(stage: &Stage, (user, password): (&str, &str)) -> Value {
    let text = stage.queue.settings().to_string();
    assert!(text.contains("guest:guest@"), "the test's own user is another one");
    serde_json::from_str(&text.replace("guest:guest@", &format!("{user}:{password}@"))).unwrap()
}

async fn rotated_credentials_need_no_restart(kind: BrokerKind) {
    let own = OwnServers::start(&[kind.server()]).await;
    let stage = Stage::own(None, Some(own.address(kind)), kind).await;
    let [(before, _), (_, _)] = USERS;
    for (user, password) in USERS {
        own.rabbitmqctl(&["add_user", user, password]).await;
        own.rabbitmqctl(&["set_permissions", user, ".*", ".*", ".*"]).await;
    }
    stage.subscribe_with(&settings_as(&stage, USERS[0])).await;
    let mut gateway = stage.setup().start().await;
    let pid = gateway.pid();
    let load = Load::start(&stage.queue, rate(kind), broadcast);
    stage.receiver.wait_for(rate(kind) as usize, PATIENCE).await;

    // The new one is made known, and then the old one is refused; its connections are closed at once.
    stage.subscribe_with(&settings_as(&stage, USERS[1])).await;
    let changed = Instant::now();
    own.rabbitmqctl(&["delete_user", before]).await;
    let seen = stage.receiver.count();
    stage.receiver.wait_for(seen + rate(kind) as usize, PATIENCE).await;
    let resumed = changed.elapsed();
    let published = load.stop().await;
    stage.settle(published.confirmed.len(), PATIENCE).await;

    assert_eq!(gateway.pid(), pid, "nothing was restarted");
    let tally = stage.finish(&mut gateway, &published, PATIENCE).await;
    let note =
        format!("the old user removed under load; a second's worth delivered {resumed:.1?} after the change");
    let verdict = tally.pass(&stage, record::CREDENTIALS, note);
    assert_eq!(tally.repeated, 0, "what was stored is recognised");
    verdict.append();
}
