//! `longshore endpoints show`: an endpoint with its breaker and its keys, of which only the public halves are told.

use std::time::Duration;

use anyhow::Context;
use longshore_core::breaker::BreakerState;
use longshore_core::duration::format;
use longshore_core::ports::Breaker;
use longshore_core::{Clock, SystemClock, Timestamp};
use longshore_store::Store;
use longshore_store::endpoints::StoredSecret;
use serde_json::{Value, json};

use super::super::table::table;
use super::{as_json, find};
use crate::cli::NamedEndpoint;
use crate::failure::say;

/// Shows it.
pub(super) async fn run(store: &Store, named: &NamedEndpoint) -> anyhow::Result<()> {
    let found = find(store, named).await?;
    let secrets = store.endpoint_secrets(found.project, found.endpoint.id).await;
    let secrets = secrets.context("cannot read its secrets")?;
    let breakers = store.breakers(Some(found.project)).await.context("cannot read its breaker")?;
    let breaker = breakers.into_iter().find(|breaker| breaker.endpoint == found.endpoint.id);
    let now = SystemClock.now();
    if named.list.json {
        let mut value = as_json(&found.endpoint);
        value["breaker"] = json!({
            "state": breaker.map_or(BreakerState::Closed, |breaker| breaker.state).as_str(),
            "trips": breaker.map_or(0, |breaker| breaker.trips),
        });
        value["keys"] = secrets.iter().map(|secret| key_as_json(secret, now)).collect();
        say(&serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    let endpoint = &found.endpoint;
    let none = || "-".to_owned();
    let status = match (&endpoint.status_reason, endpoint.status_changed_at) {
        (None, None) => endpoint.status.to_string(),
        (None, Some(at)) => format!("{} since {at}", endpoint.status),
        (Some(reason), None) => format!("{} ({reason})", endpoint.status),
        (Some(reason), Some(at)) => format!("{} since {at} ({reason})", endpoint.status),
    };
    say(&format!("name:    {}\nid:      {}\nproject: {}", endpoint.name, endpoint.id, found.place));
    say(&format!("url:     {}\nowner:   {}", endpoint.url, endpoint.owner_id.clone().unwrap_or_else(none)));
    say(&format!("status:  {status}\nbreaker: {}\n", shown(breaker)));
    let rows: Vec<_> = secrets.iter().map(|secret| row(secret, now)).collect();
    say(&table(["KEY", "SIGNS", "CREATED", "EXPIRES", "PUBLIC KEY"], &rows));
    Ok(())
}

/// Nobody has looked at the breaker of an endpoint that does not fail.
fn shown(breaker: Option<Breaker>) -> String {
    let Some(breaker) = breaker.filter(|breaker| breaker.state != BreakerState::Closed) else {
        return BreakerState::Closed.as_str().to_owned();
    };
    let until = format(Duration::from_secs(breaker.until_in.as_secs()));
    format!("{} for {until} more, opened {} times in a row", breaker.state.as_str(), breaker.trips)
}

fn algorithm(secret: &StoredSecret) -> &'static str {
    if secret.key.public_key().is_some() { "ed25519" } else { "hmac" }
}

fn is_live(secret: &StoredSecret, now: Timestamp) -> bool {
    secret.expires_at.is_none_or(|end| now < end)
}

fn row(secret: &StoredSecret, now: Timestamp) -> [String; 5] {
    let none = || "-".to_owned();
    let signs = if is_live(secret, now) { "yes" } else { "no" };
    [
        algorithm(secret).to_owned(),
        signs.to_owned(),
        secret.created_at.to_string(),
        secret.expires_at.map_or_else(none, |at| at.to_string()),
        secret.key.public_key().unwrap_or_else(none),
    ]
}

fn key_as_json(secret: &StoredSecret, now: Timestamp) -> Value {
    json!({
        "id": secret.key.public_key_id(),
        "algorithm": algorithm(secret),
        "signs": is_live(secret, now),
        "created_at": secret.created_at.to_string(),
        "expires_at": secret.expires_at.map(|at| at.to_string()),
        "public_key": secret.key.public_key(),
    })
}
