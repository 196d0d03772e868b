//! `longshore keys`: new keys from the operating system's randomness, and the change of the master key.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longshore_core::signature::SigningKey;
use longshore_store::reseal::{SEALED_COLUMNS, SealedValues};
use longshore_store::seal::KeyId;
use longshore_store::{ApiKeyText, Store};
use rand::rngs::OsRng;
use rand::{Rng, TryRngCore};
use serde_json::{Value, json};

use super::table::table;
use crate::cli::KeysCommand;
use crate::commands::{open_store, require_schema};
use crate::config::Config;
use crate::failure::say;

/// Prints one key of each sort.
pub(super) fn generate() {
    let mut rng = OsRng.unwrap_err();
    say(&format!("master key (security.master_key): {}", master_key(&mut rng)));
    say(&format!("API key (api_keys[].key):         {}", ApiKeyText::generate(&mut rng).expose()));
    say(&format!("endpoint secret (secrets[]):      {}", SigningKey::generate(&mut rng)));
}

/// What needs the database.
pub(super) async fn run(command: &KeysCommand, config: &Config) -> anyhow::Result<()> {
    let store = open_store(config).await?;
    require_schema(&store).await?;
    let as_json = match command {
        KeysCommand::Status(list) => list.json,
        KeysCommand::Rotate => {
            rotate(&store).await?;
            false
        }
        _ => return Ok(()),
    };
    let status = Status::load(&store).await?;
    store.close().await;
    say(&if as_json { serde_json::to_string_pretty(&status.as_json())? } else { status.text() });
    match status.unopened() {
        0 => Ok(()),
        some => bail!(
            "{some} stored credentials do not open with any of the configured keys: add the key they were sealed with to \
             `security.previous_master_keys`, or declare those resources anew"
        ),
    }
}

async fn rotate(store: &Store) -> anyhow::Result<()> {
    // Made when the installation has none yet, while it still shows under which key that has to be.
    store.api_key_hasher().await.context("cannot open what API keys are hashed with")?;
    let mut missed = 0;
    for column in SEALED_COLUMNS {
        let done = store.reseal(*column).await.context("not everything is sealed anew; run it again")?;
        say(&format!("{}.{}: {} sealed anew", column.table, column.column, done.resealed));
        missed += done.missed;
    }
    if missed > 0 {
        bail!(
            "{missed} values were changed by others all the while, or are sealed with an old key again; does every process \
             have the new key? run it again"
        );
    }
    Ok(())
}

/// With which keys everything is sealed.
struct Status {
    current: KeyId,
    previous: Vec<KeyId>,
    columns: Vec<SealedValues>,
}

impl Status {
    async fn load(store: &Store) -> anyhow::Result<Self> {
        let columns = store.sealed_values().await.context("cannot read what is sealed")?;
        let keys = store.keys();
        Ok(Self { current: keys.current(), previous: keys.previous().collect(), columns })
    }

    fn role(&self, key: KeyId) -> &'static str {
        if key == self.current { "current" } else { "previous" }
    }

    fn unopened(&self) -> usize {
        self.columns.iter().map(|column| column.unopened.len()).sum()
    }

    /// How many values each configured key opens.
    fn by_key(&self) -> BTreeMap<KeyId, usize> {
        let mut by_key: BTreeMap<KeyId, usize> = self.previous.iter().map(|key| (*key, 0)).collect();
        for (key, count) in self.columns.iter().flat_map(|column| &column.by_key) {
            *by_key.entry(*key).or_default() += count;
        }
        by_key
    }

    fn text(&self) -> String {
        let mut rows = Vec::new();
        for values in &self.columns {
            let name = format!("{}.{}", values.column.table, values.column.column);
            for (key, count) in &values.by_key {
                let role = self.role(*key).to_owned();
                rows.push([name.clone(), key.to_string(), role, count.to_string()]);
            }
            if !values.unopened.is_empty() {
                let count = values.unopened.len().to_string();
                rows.push([name, "?".to_owned(), "does not open".to_owned(), count]);
            }
        }
        let mut text = table(["SEALED", "KEY", "ROLE", "VALUES"], &rows);
        text.push_str(&format!("\n\ncurrent key: {}\n", self.current));
        text.push_str(&self.advice());
        text
    }

    /// What to do next.
    fn advice(&self) -> String {
        let by_key = self.by_key();
        let (in_use, idle): (Vec<KeyId>, Vec<KeyId>) =
            self.previous.iter().partition(|key| by_key.get(key).is_some_and(|count| *count > 0));
        let names = |keys: &[KeyId]| keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = Vec::new();
        if !in_use.is_empty() {
            let keys = names(&in_use);
            lines.push(format!("still in use: {keys}; run `longshore keys rotate` before you remove it"));
        }
        if !idle.is_empty() {
            let keys = names(&idle);
            lines.push(format!(
                "nothing is sealed with {keys} any more: it can be removed once every process has the current key"
            ));
        }
        if self.previous.is_empty() {
            lines.push("no previous keys are configured".to_owned());
        }
        lines.push("API keys do not depend on the master key: they stay valid".to_owned());
        lines.join("\n")
    }

    fn as_json(&self) -> Value {
        let by_key = self.by_key();
        let columns = self.columns.iter().map(|values| {
            let by_key: serde_json::Map<String, Value> =
                values.by_key.iter().map(|(key, count)| (key.to_string(), json!(count))).collect();
            let unopened: Vec<String> = values.unopened.iter().map(ToString::to_string).collect();
            json!({
                "table": values.column.table,
                "column": values.column.column,
                "by_key": by_key,
                "unopened": unopened,
            })
        });
        let previous = self.previous.iter().map(|key| {
            let values = by_key.get(key).copied().unwrap_or_default();
            json!({"key": key.to_string(), "values": values, "can_be_removed": values == 0})
        });
        json!({
            "current": self.current.to_string(),
            "previous": previous.collect::<Vec<_>>(),
            "columns": columns.collect::<Vec<_>>(),
            "unopened": self.unopened(),
        })
    }
}

fn master_key(rng: &mut impl Rng) -> String {
    STANDARD.encode(rng.random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use longshore_store::Keys;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn keys_have_their_forms() {
        let mut rng = StdRng::seed_from_u64(1);

        assert!(Keys::parse(&master_key(&mut rng)).is_ok());
        let key = ApiKeyText::generate(&mut rng);
        let key = key.expose();
        let parts: Vec<_> = key.split('.').map(str::len).collect();
        assert_eq!((&key[..3], parts.as_slice()), ("CO.", &[2, 16, 64][..]));
        assert_ne!(master_key(&mut rng), master_key(&mut rng));
    }
}
