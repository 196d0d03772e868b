//! Meta events and alerts on their way out of the database.
//!
//! | module | holds |
//! |---|---|
//! | [`outbox`] | meta events: taken, sent, recorded |
//! | [`webhook`] | the request of a meta event |
//! | [`alerts`] | alerts: taken, told, and not told again for a while |
//! | [`text`] | what an alert says to people |
//! | [`mail`], [`slack`] | the two channels of alerts |
//! | [`watch`] | which endpoints fail and which sources do, looked at now and then |
//!
//! Invariants: each channel is a task of its own with bounds of its own, so that one that hangs delays no other, nor
//! the dispatcher; a process that dies leaves what it had taken to the others when its lease on it ends.

mod alerts;
mod mail;
mod outbox;
mod slack;
mod text;
mod watch;
mod webhook;

use std::sync::Arc;

use anyhow::Context;
use longshore_core::Snapshot;
use longshore_pipeline::dispatch::HttpTransport;
use longshore_store::Store;
use longshore_store::notices::Channel;
use tokio::sync::watch::Receiver;
use tracing::warn;

use self::alerts::Alerts;
use self::mail::Mail;
use self::outbox::Outbox;
use self::slack::Slack;
use crate::config::Config;
use crate::lifecycle::{Stage, Tasks};

/// Starts what empties the outbox and tells the alerts.
///
/// # Errors
/// An SMTP server that cannot be spoken to, by what its settings say.
pub(crate) fn start(
    tasks: &mut Tasks,
    config: &Config,
    store: &Store,
    snapshot: &Receiver<Arc<Snapshot>>,
    transport: &HttpTransport,
) -> anyhow::Result<()> {
    let stop = tasks.stop().clone();
    let outbox = Outbox { store: store.clone(), transport: transport.clone(), config: snapshot.clone() };
    let tokens = (stop.ingested.clone(), stop.hard.clone());
    tasks.spawn("meta events", Stage::Dispatch, async move {
        outbox.run(&tokens.0, &tokens.1).await;
        Ok(())
    });
    let slack = Slack { transport: transport.clone() };
    let alerts = Alerts { store: store.clone(), config: snapshot.clone(), channel: Channel::Slack };
    let tokens = (stop.ingested.clone(), stop.hard.clone());
    tasks.spawn("Slack alerts", Stage::Dispatch, async move {
        alerts.run(slack, &tokens.0, &tokens.1).await;
        Ok(())
    });
    if let Some(mail) = Mail::new(&config.smtp).context("`smtp`")? {
        let alerts = Alerts { store: store.clone(), config: snapshot.clone(), channel: Channel::Email };
        let tokens = (stop.ingested.clone(), stop.hard.clone());
        tasks.spawn("e-mail alerts", Stage::Dispatch, async move {
            alerts.run(mail, &tokens.0, &tokens.1).await;
            Ok(())
        });
    } else if snapshot.borrow().projects().any(|project| !project.settings.alerts.emails.is_empty()) {
        warn!("projects want alerts by e-mail, but `smtp.host` is not set: nobody is mailed");
    }
    let (store, hard) = (store.clone(), stop.hard);
    tasks.spawn("endpoints and sources that fail", Stage::Support, async move {
        watch::run(&store, hard).await;
        Ok(())
    });
    Ok(())
}
