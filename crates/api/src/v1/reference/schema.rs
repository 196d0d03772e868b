//! A schema in words and tables.

use serde_json::Value;

use super::html::{anchor, escape, text};
use super::members;

/// Combinations of schemas, in words.
const COMBINED: [(&str, &str); 3] = [("allOf", " and "), ("oneOf", " or "), ("anyOf", " or ")];
/// What bounds a value, as it stands in the schema.
const BOUNDS: [&str; 9] =
    ["format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "default"];

/// A schema in a few words: its type, or a link to its name.
pub(super) fn summary(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("<a href=\"#{}\">{}</a>", anchor("schema", name), escape(name));
    }
    for (key, word) in COMBINED {
        if let Some(parts) = schema[key].as_array() {
            return parts.iter().map(summary).collect::<Vec<_>>().join(word);
        }
    }
    if let Some(choices) = schema["enum"].as_array() {
        let choices = choices.iter().map(|choice| format!("<code>{}</code>", escape(&choice.to_string())));
        return choices.collect::<Vec<_>>().join(" or ");
    }
    match kind(schema).as_str() {
        "array" => format!("array of {}", summary(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("object of {}", summary(&schema["additionalProperties"]))
        }
        kind => escape(kind),
    }
}

/// The members of a schema; for one that has none, its summary.
pub(super) fn table(schema: &Value) -> String {
    let mut table = String::new();
    let description = text(schema, "description");
    if !description.is_empty() {
        table.push_str(&format!("<p>{}</p>\n", escape(description)));
    }
    if !schema["properties"].is_object() {
        table.push_str(&format!("<p>{}</p>\n", summary(schema)));
        return table;
    }
    table.push_str("<table>\n<tr><th>Name</th><th>Type</th><th>Meaning</th></tr>\n");
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, member) in members(&schema["properties"]) {
        let mark = if required.iter().any(|known| known == name) { " <i>required</i>" } else { "" };
        table.push_str(&format!(
            "<tr><td><code>{}</code>{mark}</td><td>{}</td><td>{}{}</td></tr>\n",
            escape(name),
            summary(member),
            escape(text(member, "description")),
            bounds(member)
        ));
    }
    table.push_str("</table>\n");
    // Of an envelope: what it is around.
    for (name, member) in members(&schema["properties"]) {
        if member["properties"].is_object() {
            table.push_str(&format!("<p><code>{}</code>:</p>\n{}", escape(name), self::table(member)));
        }
    }
    table
}

fn kind(schema: &Value) -> String {
    match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

fn bounds(schema: &Value) -> String {
    let said = BOUNDS.iter().filter_map(|name| {
        let bound = schema.get(name)?;
        let bound = bound.as_str().map_or_else(|| bound.to_string(), str::to_owned);
        Some(format!(" <small>{name}: <code>{}</code></small>", escape(&bound)))
    });
    said.collect()
}
