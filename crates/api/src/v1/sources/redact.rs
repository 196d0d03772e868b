//! Credentials in a broker's settings: hidden when they are shown, and kept when what was shown comes back.

use serde_json::{Map, Value};

/// What stands in place of a credential.
pub(crate) const REDACTED: &str = "[REDACTED]";
/// The same where clients expect base64.
const REDACTED_BYTES: &str = "W1JFREFDVEVEXQ==";
/// Whose value is base64 on the wire.
const BYTES: &str = "service_account";

const SECRET_WORDS: [&str; 9] =
    ["password", "secret", "credential", "private", "passphrase", "api_key", "token", "external_id", ".pem"];
/// These hold no credential, in spite of their names.
const NOT_SECRET: [&str; 1] = ["token_endpoint"];

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key == BYTES || (!NOT_SECRET.contains(&&key[..]) && SECRET_WORDS.iter().any(|word| key.contains(word)))
}

/// The value with its credentials hidden.
pub(crate) fn redact(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let shown = match key.as_str() {
                    BYTES => Value::from(REDACTED_BYTES),
                    _ if is_secret(key) && !value.is_null() => Value::from(REDACTED),
                    _ => redact(value),
                };
                (key.clone(), shown)
            })
            .collect(),
        Value::Array(items) => items.iter().map(redact).collect(),
        Value::String(text) => Value::String(redact_url(text)),
        other => other.clone(),
    }
}

/// Everything between `://` and the last `@` goes, and so does a query.
fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, format!("?{REDACTED}")),
        None => (rest, String::new()),
    };
    match rest.rsplit_once('@') {
        Some((_, place)) => format!("{scheme}://{REDACTED}@{place}{query}"),
        None => format!("{scheme}://{rest}{query}"),
    }
}

/// Puts back what was hidden, from what is stored.
///
/// # Errors
/// The path of a hidden value for which nothing is stored.
pub(crate) fn restore(sent: &mut Value, stored: Option<&Value>) -> Result<(), String> {
    restore_at(sent, stored, "")
}

fn restore_at(sent: &mut Value, stored: Option<&Value>, path: &str) -> Result<(), String> {
    match sent {
        Value::Object(members) => restore_members(members, stored.and_then(Value::as_object), path),
        Value::Array(items) => {
            let known = stored.and_then(Value::as_array);
            for item in items {
                let found = known.and_then(|known| known.iter().find(|known| redact(known) == *item));
                restore_at(item, found, path)?;
            }
            Ok(())
        }
        Value::String(text) if text.contains(REDACTED) || text == REDACTED_BYTES => {
            *sent = stored.cloned().ok_or_else(|| path.to_owned())?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn restore_members(
    members: &mut Map<String, Value>,
    stored: Option<&Map<String, Value>>,
    path: &str,
) -> Result<(), String> {
    for (key, value) in members {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let stored = stored.and_then(|stored| stored.get(key)).filter(|stored| {
            // A URL is put back only where nothing else of it was changed.
            is_secret(key)
                || stored.as_str().is_none_or(|text| Some(redact_url(text).as_str()) == value.as_str())
        });
        restore_at(value, stored, &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_hidden_comes_back_as_it_was() {
        let stored = json!({
            "brokers": ["a:1"], "auth": {"username": "u", "password": "p"}, "service_account": "e30=",
            "urls": ["amqp://u:p@one/v?x=1", "amqp://u:q@two"], "properties": {"ssl.key.pem": "k"},
        });
        let shown = redact(&stored);
        for secret in ["\"p\"", "u:p", "u:q", "x=1", "e30=", "\"k\""] {
            assert!(!shown.to_string().contains(secret), "{secret} in {shown}");
        }
        assert_eq!(shown["auth"], json!({"username": "u", "password": REDACTED}));

        let mut back = shown.clone();
        restore(&mut back, Some(&stored)).unwrap();
        assert_eq!(back, stored);

        let mut changed = shown;
        changed["brokers"] = json!(["b:2"]);
        changed["urls"] = json!(["amqp://[REDACTED]@three"]);
        assert_eq!(restore(&mut changed, Some(&stored)), Err("urls".to_owned()));
        let mut fresh = json!({"auth": {"password": REDACTED}});
        assert_eq!(restore(&mut fresh, None), Err("auth.password".to_owned()));
    }
}
