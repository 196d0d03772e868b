//! Hides credentials in a broker's settings, whose keys this crate does not know one by one.
//!
//! Invariant: a value under a key that sounds secret, and the user information of anything that looks like a
//! URL, never get out.

use serde_json::Value;

use super::REDACTED;

const SECRET_WORDS: [&str; 7] =
    ["password", "secret", "token", "credential", "private", "passphrase", "api_key"];

/// The value with its credentials hidden. Names of files (`…_file`) stay.
pub(crate) fn redact(value: &Value) -> Value {
    match value {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| {
                let value = if is_secret(key) && !value.is_null() { REDACTED.into() } else { redact(value) };
                (key.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(redact).collect(),
        Value::String(text) => Value::String(redact_url(text)),
        other => other.clone(),
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !key.ends_with("_file") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Everything between `://` and the last `@` goes; so does a query, which may hold credentials too.
fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?[redacted]"),
        None => (rest, ""),
    };
    let place = match rest.rsplit_once('@') {
        Some((_, place)) => format!("{REDACTED}@{place}"),
        None => rest.to_owned(),
    };
    format!("{scheme}://{place}{query}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_hidden_wherever_they_are() {
        let settings = json!({
            "urls": ["amqp://user:p@ss@broker:5672/vhost?auth=x"],
            "auth": {"user": "me", "password": "hunter2"},
            "password_file": "/run/secrets/amqp",
            "queue": "orders",
            "prefetch": 5,
        });

        assert_eq!(
            redact(&settings),
            json!({
                "urls": ["amqp://[redacted]@broker:5672/vhost?[redacted]"],
                "auth": {"user": "me", "password": "[redacted]"},
                "password_file": "/run/secrets/amqp",
                "queue": "orders",
                "prefetch": 5,
            })
        );
    }
}
