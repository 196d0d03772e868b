//! Shows a configuration as TOML, without secrets, each value with its origin.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::Config;
use super::load::Loaded;

/// The column at which origins stand, unless a value is longer.
const ORIGIN_COLUMN: usize = 44;

/// The configuration as text that could be read again, but for its secrets.
pub(crate) fn print(loaded: &Loaded) -> String {
    // Serialising a `Config` cannot fail: its keys are strings. Secrets serialise as `[redacted]`.
    let sections = serde_json::to_value::<&Config>(&loaded.config).unwrap_or_default();
    let mut out = String::new();
    for (section, keys) in sections.as_object().into_iter().flatten() {
        let Some(keys) = keys.as_object() else { continue };
        let _ = writeln!(out, "[{section}]");
        for (key, value) in keys {
            line(&mut out, &format!("{section}.{key}"), key, value, &loaded.origins);
        }
        out.push('\n');
    }
    let sources = sections["sources"].as_array();
    for source in sources.into_iter().flatten() {
        let origin = loaded.origins.get("sources").map_or("", String::as_str);
        let _ = writeln!(out, "[[sources]] # {origin}");
        for (key, value) in source.as_object().into_iter().flatten() {
            let _ = writeln!(out, "{key} = {}", toml(value));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn line(out: &mut String, path: &str, key: &str, value: &Value, origins: &BTreeMap<String, String>) {
    let setting = match value {
        Value::Null => format!("# {key} ="),
        value => format!("{key} = {}", toml(value)),
    };
    let origin = match (value, origins.get(path)) {
        (Value::Null, _) => "not set",
        // A secret that was read from its twin's file.
        (_, None) => origins.get(&format!("{path}_file")).map_or("", String::as_str),
        (_, Some(origin)) => origin,
    };
    let _ = writeln!(out, "{setting:<ORIGIN_COLUMN$} # {origin}");
}

/// A value as TOML on one line. JSON's escapes are TOML's too.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let entries: Vec<String> =
                entries.map(|(key, value)| format!("{} = {}", bare(key), toml(value))).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn bare(key: &str) -> String {
    let is_bare =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { key.to_owned() } else { Value::from(key).to_string() }
}
