//! `…_file` in a broker's settings: a secret from a file, wherever in the settings it stands.

use serde_json::Value;

use crate::config::read_secret_file;

/// What may come from a file by its `…_file` twin, in every kind of broker. Other keys that end so (`ca_file`) are paths
/// that the broker's client reads by itself.
const SECRETS: [&str; 14] = [
    "access_key_id",
    "client_id",
    "client_pkcs12_password",
    "client_secret",
    "key_password",
    "password",
    "secret",
    "secret_access_key",
    "secret_key",
    "service_account",
    "session_token",
    "url",
    "urls",
    "username",
];

/// Files that are renewed all the time and that the broker's client reads again by itself: no reason to connect anew.
const RENEWED: [&str; 2] = ["token_file", "profile_file"];

/// Replaces the twins by what their files hold.
///
/// # Errors
/// A sentence that names the key and the file.
pub(crate) fn read_files(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Object(entries) => {
            for key in SECRETS {
                let twin = format!("{key}_file");
                let Some(path) = entries.remove(&twin) else { continue };
                if entries.contains_key(key) {
                    return Err(format!("both `{key}` and `{twin}` are given; keep one"));
                }
                let path = path.as_str().ok_or_else(|| format!("`{twin}` is not a path"))?.to_owned();
                let secret = read_secret_file(&path)?;
                let value = match key {
                    // One address per line.
                    "urls" => secret.expose().lines().map(Value::from).collect(),
                    _ => Value::from(secret.expose().as_str()),
                };
                entries.insert(key.to_owned(), value);
            }
            entries.values_mut().try_for_each(read_files)
        }
        Value::Array(items) => items.iter_mut().try_for_each(read_files),
        _ => Ok(()),
    }
}

fn is_secret(key: &str) -> bool {
    key.strip_suffix("_file").is_some_and(|key| SECRETS.contains(&key))
}

/// The files that settings name, secrets and certificates: their content is a part of the declaration.
pub(crate) fn files_of(value: &Value) -> Vec<String> {
    match value {
        Value::Object(entries) => entries
            .iter()
            .flat_map(|(key, value)| match value {
                Value::String(_)
                    if RENEWED.iter().any(|renewed| key.ends_with(renewed)) && !is_secret(key) =>
                {
                    Vec::new()
                }
                Value::String(path) if key.ends_with("_file") => vec![path.clone()],
                value => files_of(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(files_of).collect(),
        _ => Vec::new(),
    }
}
