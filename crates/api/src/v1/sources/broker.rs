//! `pub_sub` on the wire, and a broker's settings as they are stored.
//!
//! The settings have the contract's names already. What differs is here: the kinds' names, what the contract leaves out
//! by empty texts, the shape in which an AMQP source is read back; and what only those may say who own the machine.

use longshore_store::control::StoredSource;
use serde_json::{Map, Value, json};

use super::redact::{redact, restore};
use crate::v1::problem::Problem;

/// The contract's names, and ours.
const KINDS: [(&str, &str); 4] =
    [("sqs", "sqs"), ("google", "pubsub"), ("kafka", "kafka"), ("amqp", "rabbitmq")];
const MOST_WORKERS: u16 = 64;

/// A broker as it is stored.
pub(super) struct BrokerSettings {
    /// Our name of the kind.
    pub(super) kind: &'static str,
    pub(super) workers: u16,
    pub(super) settings: Value,
}

/// The contract's name of one of our kinds.
pub(super) fn contract_kind(kind: &str) -> &str {
    KINDS.iter().find(|(_, ours)| *ours == kind).map_or(kind, |(name, _)| name)
}

/// Reads `pub_sub`; `stored` is what the source has.
///
/// # Errors
/// `400` names the field.
pub(super) fn read(pub_sub: &Value, stored: Option<&StoredSource>) -> Result<BrokerSettings, Problem> {
    let members = pub_sub.as_object().ok_or_else(|| Problem::invalid("pub_sub", "write an object"))?;
    let named = members.get("type").and_then(Value::as_str).unwrap_or_default();
    let (name, kind) = *KINDS
        .iter()
        .find(|(name, ours)| *name == named || *ours == named)
        .ok_or_else(|| Problem::invalid("pub_sub.type", "write `sqs`, `google`, `kafka` or `amqp`"))?;
    let workers = match members.get("workers").filter(|value| !value.is_null()) {
        None => stored.map_or(1, |stored| stored.workers),
        Some(value) => value
            .as_u64()
            .and_then(|count| u16::try_from(count).ok())
            .filter(|count| (1..=MOST_WORKERS).contains(count))
            .ok_or_else(|| {
                let problem =
                    format!("write a number from 1 to {MOST_WORKERS}; `is_disabled` switches a source off");
                Problem::invalid("pub_sub.workers", problem)
            })?,
    };
    let field = format!("pub_sub.{name}");
    let table = members.get(name).or_else(|| members.get(kind)).and_then(Value::as_object);
    let table = table.ok_or_else(|| Problem::invalid(&field, "is required: how to reach the broker"))?;
    let mut settings = Value::Object(table.clone());
    without_nothing(&mut settings);
    let stored = stored.filter(|stored| stored.kind == kind);
    let known: Option<Value> = stored.and_then(|stored| serde_json::from_str(stored.config.expose()).ok());
    restore(&mut settings, known.as_ref()).map_err(|path| {
        Problem::invalid(
            &format!("{field}.{path}"),
            "there is nothing stored to keep; write the credential itself",
        )
    })?;
    of_tenants(&settings, &field)?;
    if let Value::Object(settings) = &mut settings {
        match kind {
            "rabbitmq" => amqp(settings, &field)?,
            "sqs" => require(settings, &field, &["access_key_id", "secret_key"])?,
            "pubsub" if !is_emulator(settings) => require(settings, &field, &["service_account"])?,
            _ => {}
        }
    }
    Ok(BrokerSettings { kind, workers, settings })
}

/// `pub_sub` as it is shown.
pub(super) fn show(source: &StoredSource) -> Value {
    let settings: Value = serde_json::from_str(source.config.expose()).unwrap_or_else(|_| json!({}));
    let mut settings = redact(&settings);
    if source.kind == "rabbitmq"
        && let Value::Object(settings) = &mut settings
    {
        show_amqp(settings);
    }
    let name = contract_kind(&source.kind);
    json!({"type": name, "workers": source.workers, name: settings})
}

/// What the contract's clients leave out, they send as `null` or as an empty text.
fn without_nothing(value: &mut Value) {
    if let Value::Object(members) = value {
        members.values_mut().for_each(without_nothing);
        members.retain(|_, value| match value {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => true,
        });
    }
}

/// Files, profiles and commands are of the machine, not of whoever has a key.
fn of_tenants(settings: &Value, path: &str) -> Result<(), Problem> {
    let Value::Object(members) = settings else { return Ok(()) };
    for (key, value) in members {
        let field = format!("{path}.{key}");
        let is_of_machine = key.ends_with("_file") || key == "profile";
        if is_of_machine || (path.ends_with(".properties") && !is_harmless(key)) {
            let problem = "is of the gateway's own machine; write the value itself, or declare the source in a \
                           resource file";
            return Err(Problem::invalid(&field, problem));
        }
        of_tenants(value, &field)?;
    }
    Ok(())
}

/// Whether a setting of librdkafka names no file and runs no command.
fn is_harmless(property: &str) -> bool {
    let is_of_security =
        ["ssl.", "sasl.", "https.", "plugin."].iter().any(|start| property.starts_with(start));
    !is_of_security || property.ends_with(".pem") || property == "ssl.endpoint.identification.algorithm"
}

fn is_emulator(settings: &Map<String, Value>) -> bool {
    settings.get("endpoint").and_then(Value::as_str).is_some_and(|url| url.starts_with("http://"))
}

fn require(settings: &Map<String, Value>, field: &str, keys: &[&str]) -> Result<(), Problem> {
    match keys.iter().find(|key| !settings.contains_key(**key)) {
        Some(key) => Err(Problem::invalid(&format!("{field}.{key}"), "is required")),
        None => Ok(()),
    }
}

/// The contract's gateways declare the queue; so do we, unless `declare` is `false`. What is read back may be written.
fn amqp(settings: &mut Map<String, Value>, field: &str) -> Result<(), Problem> {
    let exchange = settings.remove("bindedExchange");
    let routing_key = settings.remove("routingKey");
    if let Some(exchange) = exchange
        && !settings.contains_key("bindExchange")
    {
        let routing_key = routing_key.unwrap_or_else(|| "".into());
        settings.insert("bindExchange".to_owned(), json!({"exchange": exchange, "routingKey": routing_key}));
    }
    let has_exchange = settings.get("bindExchange").is_some_and(|bind| bind.get("exchange").is_some());
    if !has_exchange {
        settings.remove("bindExchange");
    }
    match settings.get("declare") {
        None => drop(settings.insert("declare".to_owned(), json!({}))),
        Some(Value::Bool(false)) => drop(settings.remove("declare")),
        Some(Value::Bool(true)) => drop(settings.insert("declare".to_owned(), json!({}))),
        Some(Value::Object(_)) => {}
        Some(_) => {
            return Err(Problem::invalid(&format!("{field}.declare"), "write an object, or `false`"));
        }
    }
    Ok(())
}

fn show_amqp(settings: &mut Map<String, Value>) {
    if let Some(bind) = settings.remove("bindExchange").or_else(|| settings.remove("bind_exchange")) {
        let part = |name: &str| bind.get(name).cloned().unwrap_or_else(|| "".into());
        settings.insert("bindedExchange".to_owned(), part("exchange"));
        settings.insert("routingKey".to_owned(), part("routingKey"));
    }
    if let Some(port) = settings.get_mut("port").filter(|port| port.is_number()) {
        *port = port.to_string().into();
    }
    match settings.get("declare") {
        None => drop(settings.insert("declare".to_owned(), json!(false))),
        Some(Value::Object(declare)) if declare.is_empty() => drop(settings.remove("declare")),
        Some(_) => {}
    }
}
