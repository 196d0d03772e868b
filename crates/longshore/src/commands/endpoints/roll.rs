//! `longshore endpoints roll-secret`: a new secret beside the old ones.

use anyhow::{Context, anyhow};
use longshore_core::Secret;
use longshore_core::signature::SigningKey;
use longshore_store::Store;
use longshore_store::endpoints::Rolled;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde_json::json;

use super::{Found, find};
use crate::cli::RollArgs;
use crate::config::{Faults, read_secret_file};
use crate::failure::say;

/// Rolls it and tells the new secret once.
pub(super) async fn run(store: &Store, args: &RollArgs) -> anyhow::Result<()> {
    let secret = match &args.secret_file {
        Some(path) => {
            let read = read_secret_file(&path.to_string_lossy());
            read.map_err(|problem| Faults::one("--secret-file", problem))?
        }
        None => args.key_type.generate(&mut OsRng.unwrap_err()),
    };
    let key = SigningKey::parse(secret.expose());
    let key = key.map_err(|error| Faults::one("--secret-file", error.to_string()))?;
    let found = find(store, &args.endpoint).await?;
    let rolled = store.roll_secret(found.project, found.endpoint.id, &secret, args.expire_in).await;
    let rolled = rolled.context("nothing was changed")?.ok_or_else(|| anyhow!("{} is gone", found.name()))?;
    // What came from a file is known there.
    let told = args.secret_file.is_none().then_some(&secret);
    if args.endpoint.list.json {
        let value = json!({
            "endpoint": found.endpoint.id.to_string(),
            "secret": told.map(|secret| secret.expose()),
            "public_key": key.public_key(),
            "beside": rolled.beside,
            "old_until": rolled.until.to_string(),
        });
        say(&serde_json::to_string_pretty(&value)?);
    } else {
        tell(&found, told, &key, &rolled);
    }
    Ok(())
}

fn tell(found: &Found, secret: Option<&Secret<String>>, key: &SigningKey, rolled: &Rolled) {
    let name = found.name();
    match secret {
        Some(secret) => say(&format!("new secret of {name}, shown only now: {}", secret.expose())),
        None => say(&format!("{name} signs with the secret of the file")),
    }
    if let Some(public_key) = key.public_key() {
        say(&format!("its public key: {public_key}"));
    }
    match rolled.beside {
        0 => say("it is the only one that signs"),
        1 => say(&format!("the secret before signs beside it until {} at most", rolled.until)),
        more => say(&format!("the {more} secrets before sign beside it until {} at most", rolled.until)),
    }
    if found.endpoint.is_managed {
        say(
            "a resource file that lists this endpoint's secrets puts those back when it is applied: list the new one there",
        );
    }
}
