//! Settings become a source: the one `match` over the kinds of brokers.
//!
//! Declared sources come from two places, the configuration's file and the database; both go through
//! [`Broker::parse`].

use longshore_core::{ProjectId, SourceId, ids};
use longshore_source_rabbitmq::RabbitMqConfig;
use serde::Deserialize;
use serde_json::Value;

use crate::config::read_secret_file;

/// Every kind there is, for messages.
pub(crate) const KINDS: [&str; 1] = ["rabbitmq"];

/// Settings of a known broker, complete: secrets are read from their files.
#[derive(Clone, PartialEq)]
pub(crate) enum Broker {
    /// A RabbitMQ source.
    RabbitMq {
        /// The settings as written.
        settings: Value,
        /// The same, understood.
        config: RabbitMqConfig,
    },
}

impl Broker {
    /// Gives a broker's settings their type.
    ///
    /// # Errors
    /// A sentence that names the key and no secret.
    pub(crate) fn parse(kind: &str, settings: Option<&Value>) -> Result<Self, String> {
        let known = KINDS.contains(&kind);
        if !known {
            return Err(format!("`{kind}` is not a kind of source; known: {}", KINDS.join(", ")));
        }
        let settings = settings.ok_or_else(|| format!("a source of kind `{kind}` needs a `{kind}` table"))?;
        let mut settings = settings.clone();
        read_files(&mut settings)?;
        match kind {
            "rabbitmq" => {
                let config = RabbitMqConfig::deserialize(&settings)
                    .map_err(|error| without_value(&error.to_string()))?;
                config.validate().map_err(|error| error.to_string())?;
                Ok(Self::RabbitMq { settings, config })
            }
            other => Err(format!("`{other}` is not a kind of source")),
        }
    }

    /// The settings as they are stored (sealed).
    pub(crate) const fn settings(&self) -> &Value {
        match self {
            Self::RabbitMq { settings, .. } => settings,
        }
    }

    /// The kind's name.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::RabbitMq { .. } => "rabbitmq",
        }
    }

    /// Connects once and lets go again.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) async fn probe(&self) -> Result<(), String> {
        match self {
            Self::RabbitMq { config, .. } => {
                longshore_source_rabbitmq::check(config).await.map_err(|error| error.to_string())
            }
        }
    }
}

/// serde's sentence without the value it quotes, which may be a secret.
fn without_value(problem: &str) -> String {
    match problem.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => format!("expected {expected}"),
        _ => problem.to_owned(),
    }
}

/// The id of a source that is declared in the configuration's file: the same in every process, since event ids
/// are derived from it. Frozen: changing this causes duplicates.
pub(crate) fn declared_id(project: ProjectId, name: &str) -> SourceId {
    SourceId::from_u128(ids::digest(&[b"source", &project.as_u128().to_be_bytes(), name.as_bytes()]))
}

/// Replaces `password_file`, `url_file` and `urls_file`, wherever they are, by what the files hold.
fn read_files(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Object(entries) => {
            for key in ["password", "url", "urls"] {
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_come_from_files_at_any_depth() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hunter2").unwrap();
        let path = file.path().to_str().unwrap();

        let auth = json!({"user": "me", "password_file": path});
        let broker =
            Broker::parse("rabbitmq", Some(&json!({"host": "h", "queue": "q", "auth": auth}))).unwrap();

        let auth = json!({"user": "me", "password": "hunter2"});
        assert_eq!(broker.settings(), &json!({"host": "h", "queue": "q", "auth": auth}));
    }

    #[test]
    fn an_unknown_kind_or_a_missing_table_is_refused() {
        assert!(Broker::parse("rabbit", None).is_err_and(|problem| problem.contains("known: rabbitmq")));
        assert!(Broker::parse("rabbitmq", None).is_err_and(|problem| problem.contains("`rabbitmq` table")));
    }

    #[test]
    fn a_wrong_setting_is_named_without_its_value() {
        let problem = |settings: Value| Broker::parse("rabbitmq", Some(&settings)).err().unwrap();

        let password = problem(json!({"host": "h", "queue": "q", "auth": {"user": "me", "password": 4711}}));
        assert!(password.contains("expected") && !password.contains("4711"), "{password}");
        assert!(problem(json!({"host": "h", "queue": "q", "prefecth": 1})).contains("prefecth"));
        assert!(problem(json!({"host": "h", "queue": ""})).contains("queue"));
    }

    #[test]
    fn declared_ids_are_frozen() {
        let project = ProjectId::from_u128(7);

        assert_eq!(declared_id(project, "orders"), declared_id(project, "orders"));
        assert_ne!(declared_id(project, "orders"), declared_id(project, "orders2"));
    }
}
